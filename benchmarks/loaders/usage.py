"""CPU time and memory of a group of processes, from Linux's own accounts: a loader with its workers."""

from __future__ import annotations

import threading
import time
from pathlib import Path

PROC = Path("/proc")
SAMPLED_EVERY = 0.05  # seconds; what is shorter than that may be missed


def members(group: int) -> list[int]:
    """Processes of a process group that have not ended."""
    return [int(folder.name) for folder in PROC.iterdir() if folder.name.isdecimal() and _lives_in(folder) == group]


def cpu_seconds(processes: list[int]) -> float:
    """What all their threads have used so far, those that have ended too."""
    return sum(time.clock_gettime(_clock(process)) for process in processes)


def memory_bytes(processes: list[int]) -> int:
    """Proportional set size, but what other programs share cannot lower it.

    Anonymous and shared memory in proportion, and the pages of files, libraries above all, of the process that has
    most of them: its forked workers have the same. On a machine where nobody else has them mapped that is the PSS.
    """
    private, files = 0, 0
    for process in processes:
        private += sum(_kilobytes(process, "smaps_rollup", "Pss_Anon", "Pss_Shmem"))
        files = max(files, sum(_kilobytes(process, "status", "RssFile")))
    return 1024 * (private + files)


class PeakMemory:
    """The most that a group takes while the block runs: `with PeakMemory(group) as peak: ...`, then peak.bytes."""

    def __init__(self, group: int) -> None:
        self.bytes = 0
        self._group, self._done = group, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLED_EVERY):
            self.bytes = max(self.bytes, memory_bytes(members(self._group)))


def _lives_in(folder: Path) -> int | None:
    """The process group; None of a process that has ended, waited for or not."""
    try:
        state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(group)


def _kilobytes(process: int, file: str, *names: str) -> list[int]:
    """Lines "name: number kB" of an account; none of a process that has ended."""
    try:
        lines = (PROC / str(process) / file).read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(line.split()[1]) for line in lines if line.partition(":")[0] in names]


def _clock(process: int) -> int:
    """The CPU clock of another process, as clock_getcpuclockid(3) numbers it."""
    return ~process << 3 | 2
