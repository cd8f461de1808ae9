"""The steps inside a graph that make targets: a teacher's or a store's maps, scores, soft labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

from . import op, runtime
from .arguments import image_size_of
from .label_maps import TokenTargets, check_ids, token_grid, token_sides
from .nodes import on_device_of
from .placing import needed
from .placing_nodes import attention_maps, one_cell, placed
from .plan import region_offsets
from .planner import boxes_of
from .regions import RegionShape, Size, placed_shapes
from .runtime.arrays import View, view
from .runtime.images import Layout
from .supervision import BY_LABELS
from .teacher_seen import maps_and_attention_seen, maps_seen, top_labels_seen


class TopLabels(NamedTuple):
    """Nodes of label maps by their k strongest classes, a sample each: what supervision by them takes.

    ids: (k, h, w) int32. scores: (k, h, w) float16 logits. boxes: (4,) float32 y0, x0, y1, x1, the crop in fractions of
    what the map covers; flips: () int32, not 0 where it was mirrored. None, None: the map is of the image as it is.
    """

    ids: DataNode
    scores: DataNode
    boxes: DataNode | None = None
    flips: DataNode | None = None


@dataclass(frozen=True)
class Labelling:
    """How targets are made: by which supervision, for plans of which mixer (None: untouched), on which images."""

    supervision: str
    num_classes: int
    smoothing: float
    mixer: Any
    layout: Layout | None
    images: DataNode  # clean; only what makes maps looks at their memory
    threads: int = 1  # of a CPU

    def targets(
        self,
        ids: DataNode,
        rows: DataNode,
        teacher: Any,
        stored: TopLabels | None,
        wanted: Callable[[], bool] = lambda: True,
        maps: DataNode | None = None,
    ) -> tuple[DataNode, DataNode | TokenTargets, Sequence[DataNode]]:
        """The rows to mix by, the targets, and nodes that what mixes has to wait for: they look at clean images.

        ids: () int32 class ids, or (C,) float32 rows of labels. rows: packed plans, on the CPU, as the mixer draws
        them. teacher: a Teacher, for what `stored` labels or `maps`, (h, w) float32 on the CPU, do not say of the
        classes, and for the mixer's attention. wanted: whether the batch at hand is mixed.
        """
        scores = self.supervision == "tokenmix" and teacher is not None and maps is None
        attention = None
        if "attention" in needed(self.mixer):
            if scores:
                maps, attention = teacher_views(teacher, self.images, ids, self.layout, wanted)
            else:
                attention = attention_maps(teacher, self.images, self.layout, wanted)
        elif scores:
            maps = teacher_maps(teacher, self.images, ids, self.layout, wanted)
        if needed(self.mixer):
            rows = placed(rows, self.mixer, self.images, self.layout, attention, wanted, self.threads)
        if self.supervision in BY_LABELS:
            top = stored or teacher_labels(teacher, self.images, self.layout, self.num_classes)
            return rows, self.by_labels(top, rows), () if stored else top[:1]
        if maps is not None:
            rows = self.scored(rows, on_device_of(self.images, maps))
        return rows, self.by_area(ids, rows), ()

    def by_area(self, ids: DataNode, rows: DataNode) -> DataNode:
        """(C,) float32 targets of class ids or rows of labels, weighed by own and other of the rows of plans."""

        def fill(make: Any, labels: View, plan: View) -> Sequence[Any]:
            out = make((plan.shape[0], self.num_classes), "float32")
            fill_targets(labels, plan, view("targets", out), self.smoothing)
            return (out,)

        return self._made(fill, ids, rows, outputs=1)[0]

    def by_labels(self, top: TopLabels, rows: DataNode) -> DataNode | TokenTargets:
        """Targets of label maps: (C,) float32, or TokenTargets for token labelling."""
        tokens = self.supervision == "tokenlabeling"

        def fill(make: Any, plan: View, images: View, ids: View, scores: View, *crop: View) -> Sequence[Any]:
            boxes, flips = crop or (None, None)
            labels = view("labels", runtime.crop_labels(ids, scores, boxes, self.num_classes, make))
            out = make((plan.shape[0], self.num_classes), "float32")
            runtime.mix_labels(labels, plan, view("targets", out), smoothing=self.smoothing)
            if not tokens:
                return (out,)
            shapes, size = self._layout(images)
            patches = token_grid(shapes, size)
            where = (shapes, region_offsets(shapes), size, patches)
            sides = token_sides(shapes, patches)
            of_tokens = runtime.token_labels(
                ids, scores, boxes, flips, plan, *where, self.num_classes, make, sides=sides
            )
            return (out, *of_tokens)

        given = [node for node in top if node is not None]
        made = self._made(fill, rows, self.images, *given, outputs=3 if tokens else 1)
        return TokenTargets(*made) if tokens else made[0]

    def scored(self, rows: DataNode, maps: DataNode) -> DataNode:
        """The rows, with own and other from maps of the images' own classes, where the maps are.

        Maps are cut to the token grid, as stored ones are. What is mixed by these rows waits for the maps.
        """

        def score_batch(plan: View, seen: View, images: View) -> None:
            shapes, size = self._layout(images)
            cut = view("maps", op.empty(seen.device, (plan.shape[0], *token_grid(shapes, size).grid), "float32"))
            runtime.crop_maps(seen, None, None, cut)
            runtime.score(plan, cut, shapes, region_offsets(shapes), size)

        # a copy, for the rows are changed; preserve: DALI takes equal copies for one
        on_device = rows.gpu() if maps.device == "gpu" else fn.copy(rows, preserve=True)
        return op.in_place(score_batch, on_device, maps, self.images)

    def _layout(self, images: View) -> tuple[tuple[RegionShape, ...], Size]:
        size = image_size_of(images.shape, self.layout)
        return (() if self.mixer is None else placed_shapes(self.mixer.shapes(size))), size

    def _made(self, fill: Callable[..., Sequence[Any]], *inputs: DataNode, outputs: int) -> tuple[DataNode, ...]:
        made = op.new_outputs(fill, *(on_device_of(self.images, node) for node in inputs), outputs=outputs)
        # CuPy's memory is free for reuse as soon as its owner lets go, whatever stream still reads it; DALI's is not.
        return tuple(fn.copy(node) for node in made) if self.images.device == "gpu" else made


def fill_targets(labels: View, rows: View, targets: View, smoothing: float) -> None:
    """Targets (N, C) float32 of class ids (N, 1) int32, or rows of labels (N, C) float32, by own and other of plans."""
    fill = runtime.targets if labels.dtype == "int32" else runtime.mix_labels
    fill(labels, rows, targets, smoothing=smoothing)


def teacher_maps(
    teacher: Any,
    images: DataNode,
    ids: DataNode,
    layout: Layout | None,
    wanted: Callable[[], bool] = lambda: True,
) -> DataNode:
    """(h, w) float32 activation maps of each sample's class, by a Teacher on clean images, where the images are.

    wanted: asked for each batch; where nothing will be mixed, the teacher is spared and a map is one cell.
    """

    def look(batch: Any, labels: Any) -> Sequence[Any]:
        return (maps_seen(teacher, batch, labels, layout) if wanted() else one_cell(batch),)

    return op.torch_function(look, images, on_device_of(images, ids))[0]


def teacher_views(
    teacher: Any, images: DataNode, ids: DataNode, layout: Layout | None, wanted: Callable[[], bool]
) -> tuple[DataNode, DataNode]:
    """teacher_maps() and placing_nodes.attention_maps(), of one look at the images."""

    def look(batch: Any, labels: Any) -> Sequence[Any]:
        if not wanted():
            return one_cell(batch), one_cell(batch)
        return maps_and_attention_seen(teacher, batch, labels, layout)

    maps, attention = op.torch_function(look, images, on_device_of(images, ids), outputs=2)
    return maps, attention


def teacher_labels(teacher: Any, images: DataNode, layout: Layout | None, num_classes: int) -> TopLabels:
    """Label maps by a Teacher on clean images, where the images are; scores are rounded as a store rounds them."""

    def look(batch: Any) -> Sequence[Any]:
        return top_labels_seen(teacher, batch, layout, num_classes)

    return TopLabels(*op.torch_function(look, images, outputs=2))


def stored_labels(store: Any, index: DataNode, crop: dict[str, DataNode], num_classes: int | None = None) -> TopLabels:
    """Label maps of a store by the samples' index, CPU nodes. crop: as boxes_of() takes it; empty: whole images.

    num_classes: ids are held against it where the store is read.
    """

    def look_up(index: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        ids, scores = store.topk(index.reshape(-1))
        if num_classes is not None:
            check_ids(f"class ids of {getattr(store, 'path', 'the store')}", ids, num_classes)
        found = ids.astype(np.int32, copy=False), scores.astype(np.float16)
        if not arrays:
            return found
        boxes, flips = boxes_of(**dict(zip(crop, arrays, strict=True)))
        return (*found, boxes, flips.astype(np.int32))

    return TopLabels(*op.host(look_up, index, *crop.values(), outputs=4 if crop else 2))
