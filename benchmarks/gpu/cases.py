"""A case: some of the package's functions on given arrays. Checked against the CPU and NumPy, then timed by kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from traffic import Traffic

from .launches import Launch, recorded
from .place import Cpu, interleaved, quantiles

MOST_COPIES, REPEAT = 16, 4
SAME = 1e-6  # what results of a GPU may be off from the CPU's; the report says where it is less than bit for bit


@dataclass(frozen=True)
class Case:
    """run(place, arrays, make) -> results, on arrays that were put there; it may change them.

    make(shape, dtype) is new memory. expected: results by a slow NumPy definition, within atol; None: not compared.
    traffic: of a sample, by kernel; of all kernels, if devices go about it differently. widths: of an access in bytes,
    that the kernel's name may end in.
    """

    name: str
    arrays: tuple[np.ndarray, ...]
    run: Callable[[Cpu, list[Any], Callable[..., Any]], Sequence[Any]]
    traffic: dict[str, Traffic]
    samples: int
    expected: Callable[[], Sequence[np.ndarray]] | None = None
    atol: float = 0.0
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ran:
    """Results, the launches that made them, and all memory that these point to."""

    results: list[np.ndarray]
    launches: list[Launch]
    kept: list[Any]


def carried_out(case: Case, place: Cpu, width: int | None = None) -> Ran:
    """The case on fresh copies of its arrays."""
    arrays: list[Any] = [place.put(array) for array in case.arrays]
    kept = list(arrays)

    def make(shape: tuple[int, ...], dtype: str) -> Any:
        kept.append(place.empty(shape, dtype))
        return kept[-1]

    with recorded(width) as launches:
        results = case.run(place, arrays, make)
    return Ran([place.get(result) for result in results], launches, kept)


def check(case: Case, place: Cpu) -> dict[str, Any]:
    """How results here compare with the CPU's and the definition's; "bits" where they are equal bit for bit.

    Raises AssertionError where they differ by more than may be, or where widths of access differ at all.
    """
    here = carried_out(case, place)
    kernels = {launch.kernel for launch in here.launches}
    assert set() < kernels <= set(case.traffic), f"{case.name}: launches {kernels}, traffic of {set(case.traffic)}"
    said = {"like the CPU's": compare(f"{case.name}: {place.device} and CPU", here, carried_out(case, Cpu()), SAME)}
    if case.expected is not None:
        defined = Ran(list(case.expected()), [], [])
        said["like NumPy's"] = compare(f"{case.name}: kernel and definition", here, defined, case.atol)
    for width in case.widths:
        compare(f"{case.name}: accesses of {width} bytes", carried_out(case, place, width), here, 0.0)
    return said


def timed(case: Case, place: Cpu, rounds: int) -> list[dict[str, Any]]:
    """A row a kernel: milliseconds, GB/s of the bytes it must move, and those of a copy that moves as many."""
    checked = check(case, place)
    copies = copies_of(case, place)
    rows = []
    for width in case.widths or (None,):
        runs = [carried_out(case, place, width) for _ in range(copies)]
        for number, launch in enumerate(runs[0].launches):
            moved = moved_by(case, launch)
            buffers = copy_buffers(place, moved, copies)
            work: dict[str, Callable[[int], object]] = {
                "copy": lambda call, buffers=buffers: place.copy(*buffers[call % len(buffers)]),
                "kernel": lambda call, n=number, runs=runs: runs[call % len(runs)].launches[n].again(),
            }
            seconds = interleaved(place.measure, work, rounds, REPEAT)
            rows.append(
                {
                    "kernel": launch.name,
                    "on": case.traffic[launch.kernel].what,
                    **checked,
                    "us": quantiles(seconds["kernel"] * 1e6),
                    "MB": moved / 1e6,
                    "GB/s": quantiles(moved / seconds["kernel"] / 1e9),
                    "copy GB/s": quantiles(moved / seconds["copy"] / 1e9),
                    "of a copy": quantiles(seconds["copy"] / seconds["kernel"]),
                }
            )
    return rows


def copies_of(case: Case, place: Cpu, least: int = 2) -> int:
    """How many copies of a case, taken in turn, come from memory and not from a cache."""
    return min(MOST_COPIES, max(least, math.ceil(2 * place.cache / sum(array.nbytes for array in case.arrays))))


def moved_by(case: Case, launch: Launch) -> int:
    """Bytes that a launch must read and write."""
    return int(case.traffic[launch.kernel].bytes * case.samples)


def copy_buffers(place: Cpu, moved: int, copies: int) -> list[Any]:
    """Pairs of buffers; to copy the second to the first moves so many bytes."""
    return [place.put(np.ones((2, max(1, moved // 2)), np.uint8)) for _ in range(copies)]


def compare(what: str, found: Ran, expected: Ran, atol: float) -> str:
    """ "bits", or the largest difference. Raises AssertionError where it is above atol or not a number."""
    worst = 0.0
    for one, other in zip(found.results, expected.results, strict=True):
        assert one.shape == other.shape, f"{what}: shapes {one.shape} and {other.shape}"
        if one.dtype == other.dtype and one.tobytes() == other.tobytes():
            continue
        difference = float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())
        assert difference <= atol, f"{what}: results differ by {difference:.3g}, more than {atol:g}"
        worst = max(worst, difference)
    return f"to {worst:.1g}" if worst else "bits"
