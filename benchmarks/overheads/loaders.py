"""The real Loader, row by row: seconds a batch, those within the graph's callbacks, and whole steps on its batches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from gpu.place import Cpu
from results import say

import dali_tokenmix as dtm
from dali_tokenmix import streams
from dali_tokenmix.label_maps import flat

from .rows import BY_AREA, STORED, Row
from .steps import Step

WARM_UP, TURN, WITH_TEACHER = 4, 8, 2  # batches of a turn: more than a Loader makes ahead, then by the clock
STEPS = {"cpu": 3, "gpu": 20}  # of a turn of whole steps


@dataclass(frozen=True)
class Turns:
    """Seconds a batch, by turn: of the wall, of CPU time, and of CPU time in the callbacks of op.py.

    callbacks: planner, look-up, mixing and targets, on the threads they are called on. A teacher has more threads.
    """

    wall: np.ndarray
    cpu: np.ndarray
    callbacks: np.ndarray


def loader_of(row: Row, root: Path, store: dtm.LabelStore, **options: Any) -> dtm.Loader:
    """The Loader that makes a row's batches."""
    source: dict[str, Any] = {}
    if row.teacher is not None:
        source["teacher"] = row.teacher
    elif row.stored:
        source["label_maps"] = store
    return dtm.Loader(root, mixer=row.mixer, supervision=row.supervision, **source, **options)


def check(loaders: dict[str, dtm.Loader]) -> None:
    """By area and by a store images are the same; targets are finite, and rows by area sum to 1."""
    first = {}
    for name, loader in loaders.items():
        say(f"  {name}")
        images, targets = next(iter(loader))
        dense = flat(targets)[0]
        assert images.isfinite().all(), name
        assert (dense.isfinite() & (dense >= 0)).all(), name
        first[name] = images.clone(), dense.clone()
        loader.close()
    (images, by_area), (same, by_map) = first[BY_AREA], first[STORED]
    assert torch.equal(images, same), "another supervision changes the images"
    assert torch.allclose(by_area.sum(1), torch.ones_like(by_area[:, 0])), "rows by area do not sum to 1"
    assert not torch.allclose(by_area, by_map, atol=1e-3), "labels of a store change nothing"


def measured(
    table: list[Row], loaders: dict[str, dtm.Loader], place: Cpu, rounds: int, slow_rounds: int
) -> dict[str, Turns]:
    """Turns of all loaders; those with a teacher have slow_rounds of them."""
    taken: dict[str, list[np.ndarray]] = {row.name: [] for row in table}
    sources = endless(loaders)
    with counted_callbacks() as clock:
        for row in turns(table, rounds, slow_rounds, "loaders"):
            batches = TURN if row.teacher is None else WITH_TEACHER
            begin_afresh(loaders[row.name], sources[row.name])
            start = now(place, clock)
            for _ in range(batches):
                next(sources[row.name])
            taken[row.name].append((now(place, clock) - start) / batches)
            loaders[row.name].close()
    return {name: Turns(*np.array(found).T) for name, found in taken.items()}


def whole_steps(
    table: list[Row], loaders: dict[str, dtm.Loader], step: Step, place: Cpu, rounds: int
) -> dict[str, np.ndarray]:
    """Seconds of a step on batches of the Loader, by the wall; the GPU is waited for at the ends of a turn alone."""
    taken: dict[str, list[float]] = {row.name: [] for row in table}
    sources, steps = endless(loaders), STEPS[place.device]
    for row in turns(table, rounds, rounds, "whole steps"):
        begin_afresh(loaders[row.name], sources[row.name])
        place.wait()
        start = time.perf_counter()
        for _ in range(steps):
            images, targets = next(sources[row.name])
            step.take(images, flat(targets)[0])
        place.wait()
        taken[row.name].append((time.perf_counter() - start) / steps)
        loaders[row.name].close()
    return {name: np.array(found) for name, found in taken.items()}


def turns(table: list[Row], rounds: int, slow_rounds: int, what: str) -> Iterator[Row]:
    """Rows in an order that is drawn anew each round; those with a teacher only in the first slow_rounds."""
    rng = np.random.default_rng(0)
    for number in range(rounds):
        say(f"\r{what}: round {number + 1} of {rounds}", end="" if number + 1 < rounds else "\n")
        for k in rng.permutation(len(table)):
            if table[k].teacher is None or number < slow_rounds:
                yield table[k]


def endless(loaders: dict[str, dtm.Loader]) -> dict[str, Iterator]:
    """Batches of each, epoch after epoch."""
    return {name: chain.from_iterable(repeat(loader)) for name, loader in loaders.items()}


def begin_afresh(loader: dtm.Loader, source: Iterator) -> None:
    """A new pipeline, past its start: where in memory one happens to lie is worth some per cent."""
    loader.close()
    for _ in range(WARM_UP):
        next(source)


def now(place: Cpu, clock: list[float]) -> np.ndarray:
    """Wall, CPU time and the callbacks' seconds so far, once the GPU is done."""
    place.wait()
    return np.array([time.perf_counter(), time.process_time(), clock[0]])


@contextlib.contextmanager
def counted_callbacks() -> Iterator[list[float]]:
    """[seconds]: adds up the CPU time of all callbacks of the graphs that are run inside, each on its thread."""
    seconds, call = [0.0], streams.call

    def timed(*arguments: Any) -> tuple[Any, ...]:
        start = time.thread_time()
        try:
            return call(*arguments)
        finally:
            seconds[0] += time.thread_time() - start

    with mock.patch.object(streams, "call", timed):
        yield seconds
