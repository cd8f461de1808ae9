"""Seconds of a method and of its copy, in turns, on memory that the turns before have pushed out of the caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gpu.place import Cpu, interleaved
from traffic import Shapes

import dali_tokenmix as dtm
from dali_tokenmix import runtime
from dali_tokenmix.plan import Plan, region_offsets
from dali_tokenmix.runtime.arrays import view
from dali_tokenmix.runtime.images import images_of

from .rows import Row
from .traffic_of import copied

COPIES = 4  # of a batch of images, taken in turn


@dataclass(frozen=True)
class Timed:
    """Seconds by way, (rounds,) each; moved: bytes that the copy writes, by round."""

    seconds: dict[str, np.ndarray]
    moved: np.ndarray

    def ratio(self, way: str) -> np.ndarray:
        """Of a way's time to the copy's, round by round; rounds whose plan changes nothing are left out."""
        some = self.moved > 0
        return self.seconds[way][some] / self.seconds["copy"][some]


def timed(row: Row, shapes: Shapes, place: Cpu, rounds: int) -> Timed:
    """Mixing, draw and mixing, the copy, and for a method that is placed by maps the maps."""
    batches = Batches(row, shapes, place, rounds)
    work: dict[str, Callable[[int], object]] = {
        "mixing": batches.mix,
        "draw and mixing": batches.draw_and_mix,
        "copy": batches.copy,
    }
    if row.maps is not None and not row.stand_in:
        work["maps"] = batches.look
    found = interleaved(place.measure, work, rounds)
    return Timed(found, np.array(batches.moved[1:]))


class Batches:
    """A plan for each round, and COPIES batches of noise. Calls are numbered from 0, the round that warms up."""

    def __init__(self, row: Row, shapes: Shapes, place: Cpu, rounds: int) -> None:
        self.row, self.shapes, self.place = row, shapes, place
        shape = (shapes.batch, shapes.height, shapes.width, shapes.channels)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self.images = [place.put(noise) for _ in range(COPIES)]
        self.maps = None if row.maps is None else row.maps(noise)
        plans = [drawn(row, noise, seed, self.maps) for seed in range(rounds + 1)]
        self.sent = [(place.put(plan.packed), *layout(plan)) for plan in plans]
        self.moved = [copied(plan, noise, shapes) for plan in plans]
        self.pairs = [tuple(place.empty((noise.nbytes,), "uint8") for _ in range(2)) for _ in range(COPIES)]

    def mix(self, call: int) -> None:
        self.carry_out(call, *self.sent[call])

    def draw_and_mix(self, call: int) -> None:
        plan = drawn(self.row, self.images[call % COPIES], call, self.maps)
        self.carry_out(call + 1, self.place.send(plan.packed), *layout(plan))

    def copy(self, call: int) -> None:
        target, source = self.pairs[call % COPIES]
        self.place.copy(target[: self.moved[call]], source[: self.moved[call]])

    def look(self, call: int) -> None:
        self.row.maps(self.images[call % COPIES])

    def carry_out(self, call: int, packed: Any, shapes: tuple, offsets: tuple) -> None:
        size = (self.shapes.height, self.shapes.width)
        images = images_of(view("images", self.images[call % COPIES]), size, "NHWC")
        runtime.apply_plan(images, view("rows", packed), shapes, offsets, threads=1)


def drawn(row: Row, images: Any, seed: int, maps: Any = None) -> Plan:
    """The plan for these images; maps: what row.maps makes of them, if they are known."""
    samples, size = images.shape[0], images.shape[1:3]
    if row.maps is None:
        return dtm.draw(row.mixer, samples, size, seed)
    return dtm.draw(row.mixer, samples, size, seed, maps=row.maps(images) if maps is None else maps)


def layout(plan: Plan) -> tuple[tuple, tuple]:
    """Shapes of its regions, and where their data are in a row."""
    shapes = tuple(region.shape for region in plan.regions)
    return shapes, region_offsets(shapes)
