"""Interleaved timing: what is compared takes turns, so that a machine's moods hit all alike."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np


def interleaved(work: dict[str, Callable[[int], object]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each call: {name: (rounds,)}. Every function is called once a round, after one uncounted round.

    A function gets the number of the call, to pick fresh memory with.
    """
    seconds = {name: np.zeros(rounds) for name in work}
    for call, (number, name) in enumerate(turns(work, rounds)):
        start = time.perf_counter()
        work[name](call)
        if number >= 0:
            seconds[name][number] = time.perf_counter() - start
    return seconds


def turns(names: Iterable[str], rounds: int) -> Iterator[tuple[int, str]]:
    """(round, name): each name once a round, in an order drawn anew, the same in every run. Round -1 is to warm up.

    What always follows the same neighbour would always find the caches as that one leaves them.
    """
    rng, drawn = np.random.default_rng(0), list(names)
    for number in range(-1, rounds):
        for k in rng.permutation(len(drawn)):
            yield number, drawn[k]


def spread(values: np.ndarray, scale: float = 1.0, digits: int = 2) -> str:
    """Median and p20..p80."""
    low, middle, high = np.percentile(values * scale, (20, 50, 80))
    return f"{middle:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def verdict(line: str, holds: bool) -> None:
    """Prints whether a target is met."""
    print(f"  {'holds ' if holds else 'MISSED'}  {line}", flush=True)


def describe_machine() -> str:
    """Processor, cores, versions and commit, in one line."""
    return f"{machine()}; {versions()}; commit {commit()}"


def machine(device: str = "cpu") -> str:
    """Processor and cores of this process, and with "gpu" the card."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    processor = f"{model}, {len(os.sched_getaffinity(0))} cores"
    if device == "cpu":
        return processor
    import torch

    return f"{torch.cuda.get_device_name()}; {processor}"


def versions() -> str:
    """Python and the packages that matter."""
    names = ("nvidia-dali-cuda120", "nvidia-dali-cuda130", "torch", "torchvision", "timm", "pillow", "numpy")
    packages = ", ".join(f"{name} {found}" for name in names if (found := _version(name)))
    return f"Python {platform.python_version()}, {packages}"


def commit() -> str:
    """The short hash, "+" behind it where the tree has been changed; "unknown" without git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        said = [
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said[0] + "+" * bool(said[1])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []
