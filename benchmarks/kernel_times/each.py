"""Every kernel alone, in turns with a copy that moves as many bytes and with its NumPy and torch forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gpu import images, labels, methods
from gpu.cases import Case, carried_out, check, copies_of, copy_buffers, moved_by
from gpu.launches import Launch
from gpu.place import Cpu, interleaved
from results import say
from traffic import Shapes

from dali_tokenmix.runtime.host import default_threads

from . import numpy_forms, problems, torch_forms

COPIES = 4  # of a batch of images, taken in turn: each call gets memory that the calls before have pushed out
CALLS = {"cpu": 1, "gpu": 4}  # in a row between two events: a GPU is to find them waiting
Work = dict[str, Callable[[int], object]]


@dataclass(frozen=True)
class Timed:
    """Seconds of a call by way, (rounds,) each, on bytes read and written. "copy" is one of the ways."""

    name: str
    moved: int
    seconds: dict[str, np.ndarray]

    def share(self, way: str) -> np.ndarray:
        """Of the copy's bandwidth, round by round."""
        return self.seconds["copy"] / self.seconds[way]


def ways(place: Cpu) -> dict[str, int]:
    """How a kernel is run: {name: CPU threads}. There is one way on a GPU, where threads are no matter."""
    return {"kernel": 1} if place.device == "gpu" else {"one thread": 1, "all threads": default_threads()}


def every_kernel(place: Cpu, shapes: Shapes, rounds: int) -> Iterator[Timed]:
    """The kernels that run on both devices. Raises AssertionError where a result is wrong."""
    for module, problem_of in ((images, problems.of_mixing), (methods, None), (labels, problems.of_labels)):
        for case in module.cases(shapes):
            say(f"{case.name}: checking, timing")
            yield from of_case(case, place, shapes, rounds, problem_of)


def of_case(
    case: Case, place: Cpu, shapes: Shapes, rounds: int, problem_of: Callable[..., problems.Problem] | None
) -> Iterator[Timed]:
    """Each kernel of a case, in the order of its launches; problem_of: None has no NumPy and torch forms."""
    check(case, place)
    runs = [carried_out(case, place) for _ in range(copies_of(case, place, COPIES))]
    kept = [place.get(array) for array in runs[0].kept]
    for number, launch in enumerate(runs[0].launches):
        work = launches_and_copy(case, place, [run.launches[number] for run in runs], ways(place))
        others = forms(problem_of(case, launch.kernel, kept, shapes), place) if problem_of else {}
        name = case.name if case.name.startswith(launch.kernel) else f"{launch.kernel}, {case.name}"
        yield Timed(name, moved_by(case, launch), in_turns(place, work, others, rounds))


def in_turns(place: Cpu, work: Work, others: Work, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of all. The forms have turns of their own: torch's threads spin on, in the way of who comes next."""
    calls = CALLS[place.device]
    seconds = interleaved(place.measure, work, rounds, calls)
    return seconds | interleaved(place.measure, others, rounds, calls)


def launches_and_copy(case: Case, place: Cpu, same: list[Launch], on: dict[str, int]) -> Work:
    """A copy, and the launch on so many threads by name; `same` is that launch on several copies of its arrays."""
    buffers = copy_buffers(place, moved_by(case, same[0]), len(same))
    work: Work = {"copy": lambda call: place.copy(*buffers[call % len(buffers)])}
    for way, threads in on.items():
        set_up = [one.on_threads(threads) for one in same]
        work[way] = lambda call, set_up=set_up: set_up[call % len(set_up)].again()
    return work


def forms(problem: problems.Problem, place: Cpu) -> Work:
    """The NumPy form, on a CPU only, and the torch form where the place is, both checked. Torch has all threads."""
    work: Work = {}
    if place.device == "cpu":
        problem.check(numpy_forms, place)
        work["NumPy"] = called(getattr(numpy_forms, problem.kernel), problem.arguments)
    problem.check(torch_forms, place)
    return work | {"torch": called(getattr(torch_forms, problem.kernel), problem.tensors(place))}


def called(form: Callable[..., Any], arguments: Any) -> Callable[[int], object]:
    return lambda _: form(*arguments)
