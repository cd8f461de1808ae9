"""Loaders and ceilings checked one by one, then timed in turns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
from results import say

from .output import Output, amount_bounds
from .process import Process
from .task import LOADERS, SCORED, Task
from .usage import PeakMemory


@dataclass(frozen=True)
class Entrant:
    """name: in LOADERS or CEILINGS. every: it takes part in every so manieth round."""

    name: str
    workers: int
    every: int = 1

    def task(self, task: Task) -> Task:
        return replace(task, workers=self.workers)


@dataclass
class Alone:
    """A process while nobody else was there. imports, first: seconds; memory: bytes at its largest.

    made: a loader's output; of a ceiling, bytes or pixels an image.
    """

    imports: float
    first: float
    memory: int
    made: Output | float

    def wrong(self, name: str, task: Task, base: Alone) -> list[str]:
        """What a loader makes otherwise than `base`, or a ceiling otherwise than the files have it."""
        if isinstance(self.made, Output):
            assert isinstance(base.made, Output)
            return self.made.differences(base.made, scored=name in SCORED)
        low, high = amount_bounds(name, task)
        return [] if low <= self.made <= high else [f"{self.made:.0f} an image, expected {low:.0f} to {high:.0f}"]


@dataclass
class Timed:
    """first: seconds to the first batch, one a process. rate: images a second, cpu: its seconds an image; by round."""

    first: list[float] = field(default_factory=list)
    rate: dict[int, float] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)


def alone(entrant: Entrant, task: Task, batches: int, classes: int) -> Alone | str:
    """What it makes of some batches, and takes; or why it cannot be loaded."""
    task = entrant.task(task)
    with Process(entrant.name, task) as process:
        loaded = process.ask("load")
        if "missing" in loaded:
            return loaded["missing"]
        process.ask("prepare")
    with Process(entrant.name, task) as process, PeakMemory(process.group) as peak:
        imports = process.ask("load")["seconds"]
        first = process.ask("begin")["seconds"]
        seen = process.ask("look", batches=batches, classes=classes)
    if entrant.name in LOADERS:
        return Alone(imports, first, peak.bytes, Output(**seen))
    return Alone(imports, first, peak.bytes, seen["amount"] / batches / task.batch_size)


def timed(entrants: Sequence[Entrant], task: Task, batches: int, rounds: int, processes: int) -> dict[Entrant, Timed]:
    """Everybody's turns; the order is drawn in each round. All get new processes `processes` times.

    Where in memory a loader happens to lie, or on which cores its workers, is worth some per cent.
    """
    found = {entrant: Timed() for entrant in entrants}
    rng = np.random.default_rng(0)
    for numbers in np.array_split(np.arange(rounds), processes):
        with ExitStack() as stack:
            running = {entrant: stack.enter_context(Process(entrant.name, entrant.task(task))) for entrant in entrants}
            for entrant, process in running.items():
                say(f"\r{'starting ' + entrant.name:60}", end="")
                process.ask("load")
                found[entrant].first.append(process.ask("begin")["seconds"])
            for number in numbers:
                for k in rng.permutation(len(entrants)):
                    if number % entrants[k].every == 0:
                        say(f"\r{f'round {number + 1} of {rounds}: {entrants[k].name}':60}", end="")
                        turn(running[entrants[k]], found[entrants[k]], int(number), batches)
    say("")
    return found


def turn(process: Process, found: Timed, number: int, batches: int) -> None:
    """Batches made ahead are used up before the clock starts: two a worker, as torch has it, and two more."""
    spent = process.ask("run", ahead=2 * process.task.workers + 2, batches=batches)
    images = batches * process.task.batch_size
    found.rate[number], found.cpu[number] = images / spent["seconds"], spent["cpu"] / images
