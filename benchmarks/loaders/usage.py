"""CPU time and memory of a group of processes, from Linux's own accounts: a loader with its workers."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

PROC = Path("/proc")
SAMPLED_EVERY = 0.05  # seconds; what is shorter than that may be missed


def members(group: int) -> list[int]:
    """Processes of a process group."""
    return [int(folder.name) for folder in PROC.iterdir() if folder.name.isdecimal() and _group(folder) == group]


def cpu_seconds(processes: list[int]) -> float:
    """What all their threads have used so far, those that have ended too."""
    return sum(time.clock_gettime(_clock(process)) for process in processes)


def memory_bytes(processes: list[int]) -> int:
    """Proportional set size: what is shared counts once. 0 for a process that has ended."""
    return sum(
        1024 * int(found[1]) for process in processes if (found := re.search(r"^Pss:\s+(\d+)", _rollup(process), re.M))
    )


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


def _group(folder: Path) -> int | None:
    """None where the process has ended meanwhile."""
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[2])
    except (FileNotFoundError, ProcessLookupError):
        return None


def _rollup(process: int) -> str:
    try:
        return (PROC / str(process) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _clock(process: int) -> int:
    """The CPU clock of another process, as clock_getcpuclockid(3) numbers it."""
    return ~process << 3 | 2
