"""token_mix, and the stored labels it can take, for pipelines that exist already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from . import arguments, decorators, nodes, op
from .checks import integer
from .label_nodes import Labelling, TopLabels, fill_targets, stored_labels
from .labels import checked_maps, crop_maps, ids_or_rows, scored_rows
from .placing import needed
from .plan import packed
from .planner import boxes_of, seeded_plan
from .runtime.arrays import View, view
from .runtime.images import Layout
from .runtime.pool import Pool
from .supervision import BY_LABELS, check_labels, check_store

if TYPE_CHECKING:
    from .label_store import LabelStore


@decorators.do_not_convert
def token_mix(
    images: DataNode,
    labels: DataNode,
    *,
    num_classes: int,
    mixer: Any,
    smoothing: float = 0.1,
    seed: int | None = None,
    inplace: bool = False,
    layout: Layout | None = None,
    return_plan: bool = False,
    supervision: Literal["imagenet", "tokenmix", "relabel", "tokenlabeling"] = "imagenet",
    teacher: Any = None,
    label_maps: DataNode | TopLabels | None = None,
) -> tuple[Any, ...]:
    """Mixes a batch inside a DALI pipeline and makes its soft targets.

    Args:
        images: uint8, float16 or float32; every sample (H, W, C) or (C, H, W), all of one shape, on the CPU or the GPU.
        labels: on the CPU, for each sample a class id, () or (1,), a whole number in [0, num_classes); or a row of
            (num_classes,) numbers >= 0, soft or multi-hot labels, which are mixed as they are. "tokenmix" takes ids.
        num_classes: C of the targets.
        mixer: TokenMix(...), CutMix(...), MixUp(...) or Choice(...).
        smoothing: label smoothing in [0, 1].
        seed: of the draws, in [0, 2**31); left out, DALI derives it from the pipeline's seed.
        inplace: False copies the images first. True spares that copy and changes the node `images` itself: only where
            nothing else in the pipeline, not even an output, reads it or a reshaped view of it. Mind that DALI merges
            equal nodes: the same operator on the same inputs, written twice, is one node.
        layout: "NHWC" or "NCHW". Left out, the axis of 1, 3 or 4 is taken for the channels; where that leaves
            it open, or DALI's own layout says otherwise, an error asks for it.
        return_plan: also return a dict of CPU nodes, per sample: partner () int32, mask (gh, gw) uint8 (1 = partner
            shows; see Plan.mask), own and other () float32 label weights (by area, if a teacher on the GPU scores the
            targets), blend () float32 (a MixUp partner's weight). Of a mixer that mixes four (RICAP) also further (2,)
            int32 and further_weights (2,) float32. Not inside a DALI `if`.
        supervision: "imagenet" weighs labels by area, "tokenmix" by how much of each object shows. "relabel" replaces
            labels by what a teacher sees in the crop, mixed by area; "tokenlabeling" does so too, and labels every
            token. See Loader for the papers.
        teacher: a Teacher that looks at the clean images here; for every supervision but "imagenet", or label_maps, and
            for a mixer that cuts by its attention (AttentiveCutMix). A Saliency does as one for "tokenmix". Floating
            images have to be normalised as the teacher wants them; uint8 ones it normalises itself.
        label_maps: for "tokenmix" a CPU node of the samples' activation maps, (gh, gw) float32 >= 0, such as
            dtm.fn.label_maps gives; for the other two what dtm.fn.top_labels gives.

    Returns (images, targets) or (images, targets, plan); targets are (C,) float32 a sample on the images' device. With
    supervision="tokenlabeling" they are TokenTargets, a tuple of three nodes: `return images, *targets`.

    Mistakes in arguments raise ValueError or TypeError here. What only a batch shows (shapes that differ within it,
    another dtype, a label out of range) stops the pipeline with a RuntimeError that says the same. In a pipeline
    whose reader pads the last batch, padding may be a partner; Loader knows better. Inside a DALI `if` the samples of
    the branch are mixed with each other.
    """
    for name, node in (("images", images), ("labels", labels)):
        if not isinstance(node, DataNode):
            raise TypeError(f"{name} must be a DALI node, got {type(node).__name__}")
    if labels.device != "cpu":
        raise ValueError(f"labels must be a CPU node, where they are checked, got one on the {labels.device}")
    num_classes = arguments.checked(
        num_classes=num_classes,
        mixer=mixer,
        smoothing=smoothing,
        inplace=inplace,
        return_plan=return_plan,
        layout=layout,
        supervision=supervision,
        teacher=teacher,
        label_maps=label_maps,
    )
    if seed is not None:
        seed = integer("seed", seed, at_least=0)
    if label_maps is not None:
        _check_label_maps(supervision, label_maps)
    if return_plan and op.inside_if():
        raise ValueError(
            "return_plan must be False inside a DALI `if`, where partner would be a number in the branch and not in "
            "the batch: call token_mix after the `if`, with the mixer's prob= for mixing only some"
        )
    if return_plan and images.device == "gpu" and (kinds := needed(mixer)):
        raise ValueError(
            f"return_plan must be False for images on the GPU and a mixer that cuts by {' and '.join(kinds)}: the plan "
            "is placed there, and stays there. Leave it out, or mix on the CPU"
        )
    batch = _Batch(images, labels, num_classes, mixer, smoothing, layout, supervision)
    maps = [label_maps] if supervision == "tokenmix" and isinstance(label_maps, DataNode) else []
    # DALI merges equal nodes, and every copy of these images would be this one: what these two arguments prevent.
    copied = images if inplace else fn.copy(images, preserve=True, bytes_per_sample_hint=1)
    seeds = nodes.random_seeds(seed)
    if images.device == "cpu" and teacher is None and supervision not in BY_LABELS and not needed(mixer):
        mixed, targets, rows = batch.at_once(copied, seeds, maps)
    else:
        rows, ids, *to_score = batch.planned(seeds, maps)
        labelling = Labelling(supervision, num_classes, smoothing, mixer, layout, images)
        stored = label_maps if isinstance(label_maps, TopLabels) else None
        scores, targets, seen = labelling.targets(ids, rows, teacher, stored, maps=next(iter(to_score), None))
        mixed = nodes.mix(copied, scores, mixer, layout, *seen)
        rows = scores if scores.device == "cpu" else rows
    return (mixed, targets, nodes.plan_nodes(rows, batch.shapes, mixer, layout)) if return_plan else (mixed, targets)


class _Batch:
    """What token_mix works on, and how it plans and mixes it."""

    def __init__(
        self,
        images: DataNode,
        labels: DataNode,
        num_classes: int,
        mixer: Any,
        smoothing: float,
        layout: Layout | None,
        supervision: str,
    ) -> None:
        self.labels, self.num_classes, self.mixer, self.smoothing = labels, num_classes, mixer, smoothing
        self.layout, self.supervision = layout, supervision
        self.shapes = images.shape(dtype=types.INT64)
        layouts = [fn.get_property(images, key="layout")] if images.device == "cpu" else []
        (self._sizes,) = op.host(self._common_size, self.shapes, *layouts)

    def planned(self, seeds: DataNode, maps: Sequence[DataNode]) -> tuple[DataNode, ...]:
        """Packed rows of a plan, and class ids or rows of labels, on the CPU; and maps, if they are yet to score it."""
        outputs = 2 + (len(maps) if needed(self.mixer) else 0)
        return op.host(self._plan, self._sizes, seeds, self.labels, *maps, outputs=outputs)

    def at_once(self, images: DataNode, seeds: DataNode, maps: Sequence[DataNode]) -> tuple[DataNode, ...]:
        """Images on the CPU mixed in their own memory, targets and packed rows, by one operator: each has its price."""
        pool = Pool()

        def mix_batch(batch: View, *arrays: np.ndarray) -> Sequence[np.ndarray]:
            rows, labels = self._plan(*arrays)
            targets = pool.take((len(rows), self.num_classes), "float32")
            nodes.apply_rows(batch, view("plan", rows), self.mixer, self.layout, threads=1)
            fill_targets(view("labels", labels), view("plan", rows), view("targets", targets), self.smoothing)
            return targets, rows

        return op.in_place_on_host(mix_batch, images, self._sizes, seeds, self.labels, *maps, outputs=2)

    def _common_size(self, shapes: np.ndarray, layouts: np.ndarray | None = None) -> tuple[np.ndarray]:
        known = None if layouts is None else bytes(layouts[0]).decode()
        size = np.array([arguments.common_size(shapes, known, self.layout)], np.int32)
        return (size.repeat(len(shapes), axis=0),)

    def _plan(
        self, sizes: np.ndarray, seeds: np.ndarray, labels: np.ndarray, *maps: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        checked = ids_or_rows(labels, self.num_classes)
        check_labels(self.supervision, checked)
        height, width = map(int, sizes[0])
        plan = seeded_plan(self.mixer, seeds, (height, width))
        if not maps:
            return plan.packed, checked
        known = checked_maps("label_maps", maps[0], len(plan))
        return (plan.packed, checked, known) if needed(self.mixer) else (packed(scored_rows(plan, known)), checked)


@decorators.do_not_convert
def label_maps(
    store: LabelStore, index: DataNode, crop: dict[str, DataNode] | None = None, *, grid: tuple[int, int] = (14, 14)
) -> DataNode:
    """Stored activation maps of the samples' crops: (gh, gw) float32 a sample, on the CPU, for token_mix(label_maps=).

    Args:
        store: a LabelStore with ground-truth maps.
        index: the samples' positions in the store, one whole number a sample, on the CPU.
        crop: where each image was cut from, CPU nodes: start (y, x) and size (h, w) in pixels, full (the image's shape,
            of fn.peek_image_shape), mirrored (not 0 where the crop was flipped). None: the whole image.
        grid: rows and columns of the result: the tokens of the mixed images.
    """
    crop = _checked_crop(crop)
    check_store("tokenmix", store)

    def look_up(index: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray]:
        maps = store.maps(index.reshape(-1))
        whole = np.tile([0.0, 0.0, 1.0, 1.0], (len(maps), 1)), np.zeros(len(maps), bool)
        boxes, flips = boxes_of(**dict(zip(crop, arrays, strict=True))) if crop else whole
        return (crop_maps(maps, boxes, flips, grid),)

    return op.host(look_up, index, *crop.values())[0]


@decorators.do_not_convert
def top_labels(
    store: LabelStore, index: DataNode, crop: dict[str, DataNode] | None = None, *, num_classes: int | None = None
) -> TopLabels:
    """Stored label maps of the samples and their crops, for token_mix(label_maps=) with relabel or tokenlabeling.

    Args:
        store: a LabelStore with top-k labels.
        index, crop: as in label_maps().
        num_classes: of the targets; a class id that has no column there is refused where it is read.
    """
    check_store("relabel", store)
    return stored_labels(store, index, _checked_crop(crop), num_classes)


@decorators.do_not_convert
def look_up(table: Any, index: DataNode) -> DataNode:
    """Rows of a table by index, on the CPU: the class ids of samples whose reader gives their position in a data set.

    Args:
        table: (rows, ...) numbers; of (rows,) a sample gets (1,).
        index: one whole number a sample, on the CPU.
    """
    rows = np.ascontiguousarray(table)
    rows = rows[:, None] if rows.ndim == 1 else rows

    def take(index: np.ndarray) -> tuple[np.ndarray]:
        at = index.reshape(-1)
        if at.min() < 0 or at.max() >= len(rows):
            wrong = at[(at < 0) | (at >= len(rows))][0]
            raise IndexError(f"index must be in [0, {len(rows)}), the rows of the table, got {wrong}")
        return (rows[at],)

    return op.host(take, index)[0]


def _checked_crop(crop: dict[str, DataNode] | None) -> dict[str, DataNode]:
    crop = crop or {}
    if missing := {"start", "size", "full", "mirrored"} - set(crop) if crop else set():
        raise ValueError(f"crop must have start, size, full and mirrored, got no {', '.join(sorted(missing))}")
    return crop


def _check_label_maps(supervision: str, label_maps: Any) -> None:
    if supervision == "tokenmix":
        fits, wanted = isinstance(label_maps, DataNode), "a CPU node of maps, see dtm.fn.label_maps"
        places = [label_maps.device] if fits else []
    else:
        fits, wanted = isinstance(label_maps, TopLabels), "CPU nodes of top-k labels, see dtm.fn.top_labels"
        places = [node.device for node in label_maps if node is not None] if fits else []
    if not fits or set(places) != {"cpu"}:
        raise TypeError(f"label_maps must be {wanted}, with supervision={supervision!r}, got {label_maps!r:.60}")
