"""Seconds of mixing, row by row, ours and the usual way in turns; and of a training step, apart from it.

Whole steps with and without mixing differ by less than two runs of the same step do, so the parts are timed apart. A
step, and a teacher, leave the caches cold for whoever comes next: they take turns among themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from gpu.place import Cpu
from results import say

from .clock import Taken, interleaved
from .given import Given
from .ours import Ours
from .rows import Row
from .steps import Step


@dataclass(frozen=True)
class Measured:
    """mixing: by (row's name, way). steps: by name; none without training."""

    mixing: dict[tuple[str, str], Taken]
    steps: dict[str, Taken]

    def share(self, row: str, way: str, step: str) -> np.ndarray:
        """Of a step, in %, for each round."""
        return 100 * self.mixing[row, way].main / np.median(self.steps[step].main)

    def against(self, base: str, row: str, way: str, step: str) -> float:
        """How much longer than row `base` this one is, step and mixing after one another, in %; medians."""
        one, other = (float(np.median(self.mixing[name, way].main)) for name in (row, base))
        return 100 * (one - other) / (float(np.median(self.steps[step].main)) + other)

    @property
    def late(self) -> list[str]:
        """What the GPU may have waited for the host in."""
        named = {" ".join(key): taken for key, taken in self.mixing.items()} | self.steps
        return [name for name, taken in named.items() if taken.late]


def measured(
    table: list[Row], batches: list[Given], steps: dict[str, Step], place: Cpu, *, rounds: int, step_rounds: int
) -> Measured:
    """All ways to mix of all rows; those with a teacher take turns with the steps."""
    work = {(row.name, way): make(row, batches, place) for row in table for way, make in ways(row).items()}
    slow = {row.name for row in table if row.teacher is not None}
    apart = {key: function for key, function in work.items() if key[0] not in slow}
    together = {key: function for key, function in work.items() if key[0] in slow}
    found = interleaved(place, apart, rounds, counted("mixing", rounds))
    found |= interleaved(place, together | steps, step_rounds, counted("steps and teachers", step_rounds))
    return Measured({key: found[key] for key in work}, {name: found[name] for name in steps})


def ways(row: Row) -> dict[str, Callable]:
    """The usual way needs timm and torchvision; it is left out without them, and where there is none."""
    if not row.usual:
        return {"ours": Ours}
    try:
        from .usual import Usual
    except ModuleNotFoundError as error:
        if error.name not in ("timm", "torchvision"):
            raise
        return {"ours": Ours}
    return {"ours": Ours, "usual": Usual}


def counted(what: str, rounds: int) -> Callable[[int], None]:
    """Says which round it is; the first is not counted."""

    def told(number: int) -> None:
        say(f"\r{what}: round {number} of {rounds}", end="" if number < rounds else "\n")

    return told
