"""Times of what takes turns, on the clocks of a place: wall and CPU time, or GPU time between events and the host's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gpu.place import LEAD, Cpu

Work = dict[Any, Callable[[int], object]]


@dataclass(frozen=True)
class Taken:
    """Seconds of each round. main: by the wall, or on the GPU. other: of CPU time, or by the host until it was free."""

    main: np.ndarray
    other: np.ndarray

    @property
    def late(self) -> bool:
        """Of a GPU: the host took longer than the copies ahead of it, so that the GPU may have waited for the host."""
        return bool(np.median(self.other) > LEAD)


def interleaved(place: Cpu, work: Work, rounds: int, told: Callable[[int], None] = lambda _: None) -> dict[Any, Taken]:
    """All functions are called once a round, in an order that is drawn, after one uncounted round.

    A function gets the number of the round. Nothing here waits for a GPU until all rounds are through. told: is called
    with the number of each round.
    """
    rng, names = np.random.default_rng(0), list(work)
    marks: dict[Any, list[tuple]] = {name: [] for name in names}
    for number in range(rounds + 1):
        told(number)
        for name in (names[k] for k in rng.permutation(len(names))):
            place.ahead()
            begin, start = place.mark(), time.perf_counter()
            work[name](number)
            stop, end = time.perf_counter(), place.mark()
            marks[name].append((begin, end, stop - start))
    place.wait()
    return {name: taken(place, counted[1:]) for name, counted in marks.items()}


def taken(place: Cpu, marks: list[tuple]) -> Taken:
    between = np.array([place.between(begin, end) for begin, end, _ in marks])
    host = np.array([seconds for _, _, seconds in marks])
    return Taken(host, between) if place.device == "cpu" else Taken(between, host)
