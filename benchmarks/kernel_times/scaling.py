"""How the kernels that mix scale: with the batch, the image, the patch and the CPU's threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gpu.cases import Ran, carried_out, compare, copies_of, moved_by
from gpu.images import mixing_case
from gpu.place import Cpu, interleaved
from results import say
from traffic import Shapes

from .each import CALLS, Timed, launches_and_copy, ways

Form = tuple[str, str, str]  # kernel, dtype, layout
FORMS = (("uint8", "NHWC"), ("float32", "NCHW"))
KERNELS = {  # and the curves of each: a patch is no matter to a blend
    "exchange_tokens": ("batch", "size", "patch", "threads"),
    "blend": ("batch", "size", "threads"),
}
POINTS = {"batch": (32, 64, 128, 256, 512), "size": (96, 160, 224, 288, 384), "patch": (8, 14, 16, 32)}
QUICK = {"batch": (4, 8), "size": (32, 64), "patch": (8, 16)}


@dataclass(frozen=True)
class Point:
    """Of a curve: one of the shapes, or the number of threads, is `value`."""

    curve: str
    value: int
    shapes: Shapes
    timed: Timed


def curves(place: Cpu, shapes: Shapes, rounds: int, quick: bool) -> Iterator[Point]:
    """One after the other. Raises AssertionError where a result is wrong."""
    for kernel, names in KERNELS.items():
        for curve in names:
            if curve == "threads" and place.device == "gpu":
                continue
            say(f"{kernel} by {curve}")
            for dtype, layout in FORMS:
                form = kernel, dtype, layout
                if curve == "threads":
                    yield from by_threads(place, shapes, rounds, form)
                    continue
                for value in (QUICK if quick else POINTS)[curve]:
                    changed = of(shapes, curve, value)
                    yield Point(curve, value, changed, timed(place, changed, rounds, form, ways(place)))


def of(shapes: Shapes, curve: str, value: int) -> Shapes:
    """The shapes with one of them changed."""
    changed = {"batch": {"batch": value}, "size": {"height": value, "width": value}, "patch": {"patch": value}}
    return replace(shapes, **changed[curve])


def timed(place: Cpu, shapes: Shapes, rounds: int, form: Form, on: dict[str, int]) -> Timed:
    """A copy, and the kernel on so many threads by name."""
    case = replace(mixing_case(*form, shapes), widths=())
    runs = [carried_out(case, place) for _ in range(copies_of(case, place))]
    assert case.expected is not None
    compare(f"{case.name}: kernel and definition", runs[0], Ran(list(case.expected()), [], []), case.atol)
    launches = [run.launches[0] for run in runs]
    work = launches_and_copy(case, place, launches, on)
    seconds = interleaved(place.measure, work, rounds, CALLS[place.device])
    return Timed(case.name, moved_by(case, launches[0]), seconds)


def by_threads(place: Cpu, shapes: Shapes, rounds: int, form: Form) -> Iterator[Point]:
    """1, 2, 4, .. threads, to twice the cores."""
    counts = [2**k for k in range((2 * len(os.sched_getaffinity(0))).bit_length())]
    found = timed(place, shapes, rounds, form, {str(count): count for count in counts})
    for count in counts:
        seconds = {"copy": found.seconds["copy"], "kernel": found.seconds[str(count)]}
        yield Point("threads", count, shapes, replace(found, seconds=seconds))
