"""Loaders and ceilings looked at one by one, then timed in turns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
from results import say

from .output import Output
from .process import Process
from .task import CEILINGS, PREPARED, Task
from .usage import PeakMemory


@dataclass(frozen=True)
class Entrant:
    """name: in LOADERS or CEILINGS. every: it takes part in every so manieth round."""

    name: str
    workers: int
    every: int = 1

    @property
    def process(self) -> tuple[str, int]:
        """Which it is in: a loader in one of its own, all ceilings in one."""
        return ("ceilings" if self.name in CEILINGS else self.name), self.workers


@dataclass
class Alone:
    """A loader while nobody else was there. imports: seconds. memory: bytes at its largest, from the start on."""

    imports: float
    memory: int
    output: Output


@dataclass
class Timed:
    """first: seconds to the first batch, one a process. rate: images a second, cpu: its seconds an image; by round."""

    first: list[float] = field(default_factory=list)
    rate: dict[int, float] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)


def alone(name: str, task: Task, batches: int, classes: int) -> Alone | str:
    """What a loader makes of some batches, and takes; or why it cannot be had."""
    with Process(task) as process:
        loaded = process.ask("load", name=name)
        if "missing" in loaded:
            return loaded["missing"]
        if name not in PREPARED:
            return _seen(process, name, loaded["seconds"], batches, classes)
        process.ask("prepare", name=name)
    with Process(task) as process:
        return _seen(process, name, process.ask("load", name=name)["seconds"], batches, classes)


def _seen(process: Process, name: str, imports: float, batches: int, classes: int) -> Alone:
    with PeakMemory(process.group) as peak:
        process.begin(name)
        seen = process.ask("look", batches=batches, classes=classes)
    return Alone(imports, peak.bytes, Output(**seen))


def amounts(names: Sequence[str], task: Task, batches: int) -> dict[str, float]:
    """Bytes or pixels that ceilings make of an image, on the average of some batches."""
    found = {}
    with Process(task) as process:
        for name in names:
            process.begin(name)
            found[name] = process.ask("count", batches=batches)["amount"] / batches / task.batch_size
    return found


def timed(entrants: Sequence[Entrant], task: Task, batches: int, rounds: int, processes: int) -> dict[Entrant, Timed]:
    """Everybody's turns; the order is drawn in each round. All get new processes `processes` times.

    Where in memory a loader happens to lie, or on which cores its workers, is worth some per cent.
    """
    found = {entrant: Timed() for entrant in entrants}
    rng = np.random.default_rng(0)
    for numbers in np.array_split(np.arange(rounds), processes):
        with ExitStack() as stack:
            running = started(entrants, task, stack, found)
            for number in numbers:
                for k in rng.permutation(len(entrants)):
                    if number % entrants[k].every == 0:
                        tell(f"round {number + 1} of {rounds}: {entrants[k].name}")
                        turn(running[entrants[k].process], entrants[k].name, found[entrants[k]], int(number), batches)
    tell("\n")
    return found


def started(
    entrants: Sequence[Entrant], task: Task, stack: ExitStack, found: dict[Entrant, Timed]
) -> dict[tuple[str, int], Process]:
    """All processes; they import all at once, and begin one after the other."""
    tell("starting all")
    asked = {entrant.process: entrant for entrant in entrants}
    running = {key: stack.enter_context(Process(replace(task, workers=key[1]))) for key in asked}
    for key, process in running.items():
        process.send("load", name=asked[key].name)
    for process in running.values():
        process.answer()
    for entrant in entrants:
        tell(f"beginning {entrant.name}")
        found[entrant].first.append(running[entrant.process].begin(entrant.name))
    return running


def turn(process: Process, name: str, found: Timed, number: int, batches: int) -> None:
    """Batches made ahead are used up before the clock starts: two a worker, as torch has it, and two more."""
    if process.loader != name:
        process.begin(name)
    spent = process.ask("run", ahead=2 * process.task.workers + 2, batches=batches)
    images = batches * process.task.batch_size
    found.rate[number], found.cpu[number] = images / spent["seconds"], spent["cpu"] / images


def tell(text: str) -> None:
    """In place of what was told before."""
    say(f"\r{text:60}", end="")
