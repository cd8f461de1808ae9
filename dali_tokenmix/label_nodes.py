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
from .plan import region_offsets
from .planner import boxes_of
from .regions import RegionShape, Size
from .runtime.arrays import View, view
from .runtime.images import Layout, find_layout
from .supervision import BY_LABELS


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
    images: DataNode  # clean; only a teacher looks at their memory

    def targets(
        self,
        ids: DataNode,
        rows: DataNode,
        teacher: Any,
        stored: TopLabels | None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> tuple[DataNode, DataNode | TokenTargets, Sequence[DataNode]]:
        """The rows to mix by, the targets, and nodes that what mixes has to wait for: they look at clean images.

        ids: () int32 class ids, or (C,) float32 rows of labels. rows: packed plans, on the CPU. teacher: a Teacher, or
        None where `stored` labels, or nothing but area, make the targets. wanted: whether scores are of use in the
        batch at hand.
        """
        if self.supervision in BY_LABELS:
            top = teacher_labels(teacher, self.images, self.layout, self.num_classes) if teacher is not None else stored
            assert top is not None  # the arguments were checked
            return rows, self.by_labels(top, rows), top[:1] if teacher is not None else ()
        if teacher is not None:
            rows = self.scored(rows, teacher_maps(teacher, self.images, ids, self.layout, wanted))
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
        return (() if self.mixer is None else self.mixer.shapes(size)), size

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
        if not wanted():
            return (batch.new_ones((len(batch), 1, 1)).float(),)
        return (maps_seen(teacher, batch, labels, layout),)

    return op.torch_function(look, images, on_device_of(images, ids))[0]


def teacher_labels(teacher: Any, images: DataNode, layout: Layout | None, num_classes: int) -> TopLabels:
    """Label maps by a Teacher on clean images, where the images are; scores are rounded as a store rounds them."""

    def look(batch: Any) -> Sequence[Any]:
        return top_labels_seen(teacher, batch, layout, num_classes)

    return TopLabels(*op.torch_function(look, images, outputs=2))


def maps_seen(teacher: Any, batch: Any, labels: Any, layout: Layout | None) -> Any:
    """(N, h, w) float32 tensor: a Teacher's activation maps of a batch of clean images."""
    maps = _given("maps", teacher(_as_taken(batch, layout), labels), len(batch), 3).float()
    if maps.device.type == "cpu" and not ((maps >= 0) & (maps < float("inf"))).all():
        raise ValueError(f"maps of the teacher must be finite and >= 0, got {maps.min()} to {maps.max()}")
    return maps


def top_labels_seen(teacher: Any, batch: Any, layout: Layout | None, num_classes: int) -> tuple[Any, Any]:
    """(N, k, h, w) int32 ids and float16 scores: a Teacher's label maps of a batch of clean images."""
    ids, scores = (_given("topk", part, len(batch), 4) for part in teacher.topk(_as_taken(batch, layout)))
    if ids.is_floating_point() or ids.shape != scores.shape:
        raise ValueError(
            f"topk of the teacher must be whole ids and scores, both (N, k, h, w), got {ids.dtype} of shape "
            f"{tuple(ids.shape)} and {scores.dtype} of shape {tuple(scores.shape)}"
        )
    rounded = scores.half()
    if rounded.device.type == "cpu":  # on a GPU, looking would be waiting
        check_ids("ids of the teacher", ids.numpy(), num_classes)
        if not rounded.isfinite().all():
            raise ValueError("scores of the teacher must be finite and at most 65504")
    return ids.int(), rounded


def _given(name: str, result: Any, samples: int, dimensions: int) -> Any:
    """A teacher's tensor, without its history. Raises ValueError unless it has a row for each sample."""
    if getattr(result, "ndim", 0) != dimensions or len(result) != samples or 0 in result.shape:
        form = tuple(result.shape) if hasattr(result, "shape") else type(result).__name__
        raise ValueError(
            f"{name} of the teacher must be a tensor of {dimensions} dimensions, {samples} samples, got {form}"
        )
    return result.detach()


def _as_taken(batch: Any, layout: Layout | None) -> Any:
    """A view of a batch as a Teacher takes it: uint8 as (N, H, W, 3), floating as (N, 3, H, W)."""
    found = layout or find_layout(tuple(batch.shape), None)
    if batch.is_floating_point():
        return batch.permute(0, 3, 1, 2) if found == "NHWC" else batch
    return batch.permute(0, 2, 3, 1) if found == "NCHW" else batch


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
