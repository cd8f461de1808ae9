"""Mixing as the graph does it: what its callbacks call, in their order, on arrays. Needs no DALI.

The planner is the graph's own. nodes.py and label_nodes.py import DALI; each of their callbacks has its method here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gpu.place import Cpu

from dali_tokenmix import runtime
from dali_tokenmix.label_maps import check_ids, token_grid, token_sides
from dali_tokenmix.plan import region_offsets
from dali_tokenmix.planner import BatchPlanner, boxes_of
from dali_tokenmix.regions import kinds, placed_shapes
from dali_tokenmix.runtime.arrays import View, view
from dali_tokenmix.runtime.images import images_of
from dali_tokenmix.supervision import BY_LABELS

from .given import Given
from .rows import Row

SMOOTHING = 0.1
DRAWS, SEED_WORDS = 64, 4


@dataclass(frozen=True)
class Planned:
    """As much of pipeline.Graph as the planner reads."""

    mixer: Any
    image_size: tuple[int, int]
    labels: np.ndarray
    label_maps: Any
    scores_by_store: bool
    last_batch: str = "drop"


class Ours:
    """Calls mix the batches in turn, in place, and give their targets: (N, C), or with the tokens' ids and shares."""

    def __init__(self, row: Row, batches: list[Given], place: Cpu) -> None:
        self.row, self.batches, self.place = row, batches, place
        self.shapes = s = batches[0].shapes
        self.size = (s.height, s.width)
        self.images = [place.put(given.pixels) for given in batches]
        self.kinds = () if row.mixer is None else row.mixer.shapes(self.size)
        self.where = (self.kinds, region_offsets(self.kinds), self.size)
        by_store = row.supervision == "tokenmix" and row.stored
        first = batches[0]
        known: Any = Planned(row.mixer, self.size, first.labels, first.store, by_store)
        self.planner = BatchPlanner(known, mixing=True, depth=1)
        self.seeds = np.random.default_rng(1).integers(0, 2**16, (DRAWS, s.batch, SEED_WORDS), np.int32)

    def __call__(self, call: int) -> tuple[Any, ...]:
        given, images = (of[call % len(of)] for of in (self.batches, self.images))
        crop = given.crop if self.planner.graph.scores_by_store else {}
        packed, classes = self.planner(self.seeds[call % DRAWS], given.index, **crop)
        rows, ids = view("rows", self.place.send(packed)), self.place.send(classes)
        if kinds(self.kinds):
            rows = self.placed(packed, images)
        elif self.row.teacher is not None:
            rows = self.scored(packed, self.row.teacher(self.place.tensor(images), self.place.tensor(ids)))
        if self.row.supervision in BY_LABELS:
            targets = self.by_labels(given, rows)
        else:
            targets = self.by_area(view("ids", ids), rows)
        if self.row.mixer is not None:  # on one thread, as nodes.mix
            seen = images_of(view("images", images), layout="NHWC")
            runtime.apply_plan(seen, rows, placed_shapes(self.kinds), self.where[1], threads=1)
        return targets

    def by_area(self, ids: View, rows: View) -> tuple[Any, ...]:
        """label_nodes.by_area."""
        out = self.place.empty((self.shapes.batch, self.shapes.classes), "float32")
        runtime.targets(ids, rows, view("targets", out), smoothing=SMOOTHING)
        return self.handed_on(out)

    def scored(self, packed: np.ndarray, maps: Any) -> View:
        """label_nodes.scored: a copy of the rows, with weights by maps that a teacher has just made."""
        rows = view("rows", self.place.put(packed))
        cut = view("cut", self.place.empty((len(packed), *token_grid(self.kinds, self.size).grid), "float32"))
        runtime.crop_maps(view("maps", maps.float()), None, None, cut)
        runtime.score(rows, cut, *self.where)
        return rows

    def placed(self, packed: np.ndarray, images: Any) -> View:
        """placing_nodes.placed: a copy of the rows, placed by maps that a teacher, or a Saliency, has just made."""
        rows, tensor = view("rows", self.place.put(packed)), self.place.tensor(images)
        for shape, offset in zip(*self.where[:2], strict=True):
            if hasattr(shape, "maps"):
                maps = self.row.teacher.attention(tensor) if shape.maker is None else shape.maker.maps(tensor, 1)
                runtime.place(rows, view("maps", maps), shape, offset, self.size)
        return rows

    def by_labels(self, given: Given, rows: View) -> tuple[Any, ...]:
        """label_nodes.stored_labels and by_labels."""
        classes, make = self.shapes.classes, self.place.empty
        found, scores = given.store.topk(given.index)
        check_ids("class ids", found, classes)
        boxes, flips = boxes_of(**given.crop)
        looked_up = (found.astype(np.int32, copy=False), scores.astype(np.float16), boxes, flips.astype(np.int32))
        top = [view("top", self.place.send(array)) for array in looked_up]
        labels = view("labels", runtime.crop_labels(*top[:3], classes, make))
        out = make((self.shapes.batch, classes), "float32")
        runtime.mix_labels(labels, rows, view("targets", out), smoothing=SMOOTHING)
        if self.row.supervision == "relabel":
            return self.handed_on(out)
        tokens = token_grid(self.kinds, self.size)
        sides = token_sides(self.kinds, tokens)
        return self.handed_on(out, *runtime.token_labels(*top, rows, *self.where, tokens, classes, make, sides=sides))

    def handed_on(self, *outputs: Any) -> tuple[Any, ...]:
        """On a GPU what leaves the graph is copied to memory of DALI's: streams.py, rule 5."""
        if self.place.device == "cpu":
            return outputs
        copies = tuple(self.place.empty(output.shape, output.dtype.name) for output in outputs)
        for copy, output in zip(copies, outputs, strict=True):
            self.place.copy(copy, output)
        return copies
