"""The kernels of further methods: images looked at, regions placed, crops patched together, each method a case."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from method_times.measure import layout
from method_times.traffic_of import copied
from traffic import BOX, FLOAT, HEAD, ID, Shapes, Traffic

import dali_tokenmix as dtm
from dali_tokenmix import reference, runtime
from dali_tokenmix.mixing import drawn
from dali_tokenmix.runtime.arrays import view
from dali_tokenmix.runtime.images import images_of
from dali_tokenmix.runtime.luminance import luminance as luminance_of
from dali_tokenmix.runtime.work import Work

from .cases import Case
from .images import noise
from .place import Cpu

SIDE = 64  # cells along a saliency map
MIXERS: dict[str, tuple[Any, tuple[str, ...]]] = {  # with all the kernels that carry a plan out, on either device
    "RandomErasing, mean": (dtm.RandomErasing(prob=1.0, fill="mean"), ("erase_boxes_colour",)),
    "RandomErasing, noise": (dtm.RandomErasing(prob=1.0), ("erase_boxes",)),
    "HideAndSeek, mean": (dtm.HideAndSeek(sizes=(8, 16, 32)), ("erase_cells_colour",)),
    "HideAndSeek, noise": (dtm.HideAndSeek(sizes=(8, 16, 32), fill="noise"), ("erase_cells",)),
    "ResizeMix": (dtm.ResizeMix(), ("resized_pairs", "resized_take", "resized_paste")),
    "RICAP": (dtm.RICAP(), ("quarters_by_group", "quarters_compose", "quarters_store")),
    "AugMix": (dtm.AugMix(), ("chains_tables_count", "chains_tables", "chains_apply", "chains_sum")),
}


def cases(shapes: Shapes) -> Iterator[Case]:
    """Every kernel that is not in images.py or labels.py."""
    yield luminance(shapes)
    yield placed(dtm.SaliencyMix(), (SIDE, SIDE), ("place_row_peaks", "place_peak"), shapes)
    yield placed(dtm.AttentiveCutMix(), (7, 7), ("place_top",), shapes)
    for name, (mixer, kernels) in MIXERS.items():
        yield carried_out(name, mixer, kernels, shapes)


def luminance(s: Shapes) -> Case:
    """One plane of each image, whose cells a spectral residual is made of."""
    images, side = noise(s), min(SIDE, s.height, s.width)

    def run(place: Cpu, arrays: list[Any], make: Any) -> list[Any]:
        planes = make((s.batch, side, side), "float32")
        luminance_of(view("images", arrays[0]), view("planes", planes), "NHWC")
        return [planes]

    cells = FLOAT * side * side
    what = f"{s.height} x {s.width} x {s.channels} uint8 to {side} x {side}"
    moved = traffic("luminance", what, s.image("uint8"), cells, s, s.batch * side, side)
    return Case("luminance", (images,), run, moved, s.batch, lambda: [reference.luminance(images, (side, side))])


def placed(mixer: Any, map_size: tuple[int, int], kernels: tuple[str, ...], s: Shapes) -> Case:
    """A plan's regions moved to where maps of noise are highest."""
    size, maps = (s.height, s.width), np.random.default_rng(4).random((s.batch, *map_size), np.float32)
    plan = drawn(mixer, s.batch, size, 1)
    (shape,), (offset,) = layout(plan)

    def run(place: Cpu, arrays: list[Any], make: Any) -> list[Any]:
        rows, seen = (view("array", array) for array in arrays)
        runtime.place(rows, seen, shape, offset, size)
        return arrays[:1]

    row, cells, peaks = plan.packed.shape[1], FLOAT * map_size[0] * map_size[1], ID * map_size[0]
    what = f"maps of {map_size[0]} x {map_size[1]}"
    moved = {  # by kernel: what is read and written of a sample
        "place_row_peaks": (cells, peaks),
        "place_peak": (HEAD + BOX + peaks + FLOAT * map_size[0], BOX + 8),
        "place_top": (row + cells, row - HEAD + 8),
    }
    of_kernels: dict[str, Traffic] = {}
    for kernel in kernels:
        of_kernels |= traffic(kernel, what, *moved[kernel], s, s.batch, 1)
    return Case(
        type(mixer).__name__,
        (plan.packed, maps),
        run,
        of_kernels,
        s.batch,
        lambda: [dtm.draw(mixer, s.batch, size, 1, maps=maps).packed],
    )


def carried_out(name: str, mixer: Any, kernels: tuple[str, ...], s: Shapes) -> Case:
    """A method's plan on a batch of noise."""
    images, plan = noise(s), dtm.draw(mixer, s.batch, (s.height, s.width), seed=1)
    kinds, offsets = layout(plan)

    def run(place: Cpu, arrays: list[Any], make: Any) -> list[Any]:
        batch, rows = arrays
        runtime.apply_plan(
            images_of(view("images", batch), plan.image_size, "NHWC"), view("rows", rows), kinds, offsets
        )
        return [batch]

    moved = copied(plan, images, s) / s.batch
    of_kernels: dict[str, Traffic] = {}
    for kernel in kernels:
        what = f"{name} of {s.height} x {s.width} x {s.channels} uint8 NHWC"
        of_kernels |= traffic(kernel, what, moved, moved, s, s.batch * s.height, s.width)
    return Case(
        name,
        (images, plan.packed),
        run,
        of_kernels,
        s.batch,
        lambda: [reference.mixed(plan, images)],
    )


def traffic(
    kernel: str, what: str, read: float, written: float, s: Shapes, rows: int, lanes: int
) -> dict[str, Traffic]:
    return {kernel: Traffic(kernel, what, read, written, 0.0, Work(rows, lanes))}
