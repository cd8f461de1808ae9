"""The kernels that make targets: crop, score, targets, relabel, token labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import traffic
from traffic import Shapes

import dali_tokenmix as dtm
from dali_tokenmix import reference, runtime
from dali_tokenmix.plan import Plan, region_offsets
from dali_tokenmix.regions import TokenGrid
from dali_tokenmix.runtime.arrays import view

from .cases import Case
from .place import Cpu

SMOOTHING = 0.1


@dataclass(frozen=True)
class Given:
    """A batch's crops, plan and a teacher's numbers, drawn."""

    shapes: Shapes
    plan: Plan
    labels: np.ndarray
    boxes: np.ndarray
    flips: np.ndarray
    maps: np.ndarray
    ids: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, s: Shapes) -> Given:
        rng = np.random.default_rng(2)
        plan = dtm.draw(dtm.TokenMix(patch_size=s.patch), s.batch, (s.height, s.width), seed=3)
        corners = np.sort(rng.random((s.batch, 2, 2)), axis=1) * 0.8 + [[[0.0], [0.2]]]
        boxes = np.concatenate([corners[:, 0], corners[:, 1]], 1).astype(np.float32)
        band = s.classes // s.k  # the k classes of a cell differ
        ids = rng.integers(0, band, (s.batch, s.k, *s.map_size)) + band * np.arange(s.k)[:, None, None]
        maps = rng.exponential(1, (s.batch, *s.map_size)).astype(np.float32)
        labels = rng.integers(0, s.classes, s.batch).astype(np.int32)
        flips = (rng.random(s.batch) < 0.5).astype(np.int32)
        scores = rng.normal(4, 2, ids.shape).astype(np.float16)
        return cls(s, plan, labels, boxes, flips, maps, ids.astype(np.int32), scores)


def cases(shapes: Shapes) -> Iterator[Case]:
    """All kernels that make targets, each function a case."""
    g, moved, s = Given.of(shapes), traffic.labels(shapes), shapes
    kinds = tuple(region.shape for region in g.plan.regions)
    where = (kinds, region_offsets(kinds), g.plan.image_size)
    cut = reference.roi_align(g.maps, g.boxes, g.flips, s.grid).astype(np.float32)

    def crop(place: Cpu, arrays: list[Any], make: Any) -> list[Any]:
        out = make((s.batch, *s.grid), "float32")
        runtime.crop_maps(*(view("array", array) for array in (*arrays, out)))
        return [out]

    def score(place: Cpu, arrays: list[Any], make: Any) -> list[Any]:
        rows, maps = arrays
        runtime.score(view("rows", rows), view("maps", maps), *where)
        return [place.get(rows)[:, 4:12].copy().view(np.float32)]

    def targets(place: Cpu, arrays: list[Any], make: Any) -> list[Any]:
        out = make((s.batch, s.classes), "float32")
        runtime.targets(*(view("array", array) for array in (*arrays, out)), smoothing=SMOOTHING)
        return [out]

    def relabel(place: Cpu, arrays: list[Any], make: Any) -> list[Any]:
        ids, scores, boxes, rows = (view("array", array) for array in arrays)
        labels = runtime.crop_labels(ids, scores, boxes, s.classes, make)
        out = make((s.batch, s.classes), "float32")
        runtime.mix_labels(view("labels", labels), rows, view("targets", out), smoothing=SMOOTHING)
        return [labels, out]

    tokens = TokenGrid.of(s.patch, (s.height, s.width))

    def token_labels(place: Cpu, arrays: list[Any], make: Any) -> list[Any]:
        ids, scores, boxes, flips, rows = (view("array", array) for array in arrays)
        return runtime.token_labels(ids, scores, boxes, flips, rows, *where, tokens, s.classes, make, sides=1)

    def weights() -> list[np.ndarray]:
        own, other = reference.scored(reference.cell_shares(g.plan, s.grid), cut, g.plan.partner)
        return [np.stack([own, other], 1).astype(np.float32)]

    def soft() -> list[np.ndarray]:
        return [reference.soft_targets(g.plan, g.labels, s.classes, SMOOTHING)]

    def of_crops() -> list[np.ndarray]:
        dense = reference.dense_maps(g.ids, g.scores, s.classes)
        labels = reference.crop_labels(dense, g.boxes, 0 * g.flips, (1, 1))[:, 0, 0]
        mixed = g.plan.own[:, None] * labels + g.plan.other[:, None] * labels[g.plan.partner]
        return [labels, (1 - SMOOTHING) * mixed + SMOOTHING / s.classes]

    def some(*kernels: str) -> dict[str, traffic.Traffic]:
        return {kernel: moved[kernel] for kernel in kernels}

    rows, flips = g.plan.packed, g.flips.astype(np.uint8)
    yield Case("crop_maps", (g.maps, g.boxes, flips), crop, some("crop_maps"), s.batch, lambda: [cut], 1e-5)
    yield Case("score", (rows, cut), score, some("score"), s.batch, weights, 1e-6)
    yield Case("targets", (g.labels, rows), targets, some("targets"), s.batch, soft, 1e-6)
    yield Case(
        "relabel",
        (g.ids, g.scores, g.boxes, rows),
        relabel,
        some("relabel_pool", "relabel_softmax", "relabel_mix") | {"roi_weights": traffic.roi_weights(s, (1, 1))},
        s.batch,
        of_crops,
        1e-5,
    )
    yield Case(
        "token_labels",
        (g.ids, g.scores, g.boxes, g.flips, rows),
        token_labels,
        some("roi_weights", "token_labels"),
        s.batch,
    )
