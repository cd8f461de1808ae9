"""token_mix, and the label maps it can take, for pipelines that exist already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import do_not_convert

from . import nodes, op
from .checks import choice, integer, number
from .checks import mixer as check_mixer
from .labels import class_ids, crop_maps, scored
from .planner import boxes_of, seeded_plan
from .runtime.mix import Layout
from .settings import check_supervision

if TYPE_CHECKING:
    from .label_store import LabelStore


@do_not_convert
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
    supervision: Literal["imagenet", "tokenmix"] = "imagenet",
    teacher: Any = None,
    label_maps: DataNode | None = None,
) -> tuple:
    """Mixes a batch inside a DALI pipeline and makes its soft targets.

    Args:
        images: uint8, float16 or float32; every sample (H, W, C) or (C, H, W), all of one shape, on the CPU or the GPU.
        labels: class ids, whole numbers in [0, num_classes), one a sample, on the CPU.
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
            targets), blend () float32 (a MixUp partner's weight).

        supervision: "imagenet" weighs labels by area, "tokenmix" by how much of each object shows; that takes either
            teacher=, a Teacher that looks at the clean images here, or label_maps=, a CPU node of the samples'
            activation maps, (gh, gw) float32 >= 0, such as dtm.fn.label_maps gives.

    Returns (images, targets) or (images, targets, plan); targets are (C,) float32 a sample on the images' device.

    Mistakes in arguments raise ValueError or TypeError here. What only a batch shows (shapes that differ within it,
    another dtype, a label out of range) stops the pipeline with a RuntimeError that says the same. In a pipeline
    whose reader pads the last batch, padding may be a partner; Loader knows better.
    """
    for name, node in (("images", images), ("labels", labels)):
        if not isinstance(node, DataNode):
            raise TypeError(f"{name} must be a DALI node, got {type(node).__name__}")
    if labels.device != "cpu":
        raise ValueError(f"labels must be a CPU node, where they are checked, got one on the {labels.device}")
    check_mixer("mixer", mixer)
    choice("inplace", inplace, (False, True))
    num_classes = integer("num_classes", num_classes, at_least=1)
    number("smoothing", smoothing, at_least=0, at_most=1)
    choice("layout", layout, (None, "NHWC", "NCHW"))
    if seed is not None:
        seed = integer("seed", seed, at_least=0)

    check_supervision(supervision, teacher, label_maps)
    if label_maps is not None and (not isinstance(label_maps, DataNode) or label_maps.device != "cpu"):
        raise TypeError(f"label_maps must be a CPU node of maps, see dtm.fn.label_maps, got {label_maps!r:.60}")

    known = {"seeds": nodes.random_seeds(seed), "ids": labels, "shapes": images.shape(dtype=types.INT64)}
    if images.device == "cpu":
        known["layouts"] = fn.get_property(images, key="layout")
    if label_maps is not None:
        known["maps"] = label_maps

    def plan_batch(*arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        given = dict(zip(known, arrays, strict=True))
        checked = class_ids(given["ids"], num_classes)
        size = _image_size(given["shapes"], given.get("layouts"), layout)
        plan = seeded_plan(mixer, given["seeds"], size)
        return (plan if label_maps is None else scored(plan, given["maps"])).packed, checked

    rows, ids = op.host(plan_batch, *known.values(), outputs=2)
    scores = rows
    if teacher is not None:
        scores = nodes.score(rows, nodes.teacher_maps(teacher, images, ids), mixer, layout, images)
    # DALI merges equal nodes, and every copy of these images would be this one: what these two arguments prevent.
    copied = images if inplace else fn.copy(images, preserve=True, bytes_per_sample_hint=1)
    mixed = nodes.mix(copied, scores, mixer, layout)
    soft = nodes.soft_targets(ids, scores, num_classes, smoothing, images)
    if not return_plan:
        return mixed, soft
    return mixed, soft, nodes.plan_nodes(scores if scores.device == "cpu" else rows, known["shapes"], mixer, layout)


@do_not_convert
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
    crop = crop or {}
    if missing := {"start", "size", "full", "mirrored"} - set(crop) if crop else set():
        raise ValueError(f"crop must have start, size, full and mirrored, got no {', '.join(sorted(missing))}")

    def look_up(index: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray]:
        maps = store.maps(index.reshape(-1))
        whole = np.tile([0.0, 0.0, 1.0, 1.0], (len(maps), 1)), np.zeros(len(maps), bool)
        boxes, flips = boxes_of(**dict(zip(crop, arrays, strict=True))) if crop else whole
        return (crop_maps(maps, boxes, flips, grid),)

    return op.host(look_up, index, *crop.values())[0]


def _image_size(shapes: np.ndarray, layouts: np.ndarray | None, layout: Layout | None) -> tuple[int, int]:
    """Height and width of the batch. Raises ValueError for shapes that differ and layouts that contradict."""
    if shapes.shape[1] != 3:
        raise ValueError(f"images must be (H, W, C) or (C, H, W) a sample, got {shapes.shape[1]} dimensions")
    if (different := (shapes != shapes[0]).any(axis=1)).any():
        other = int(different.argmax())
        raise ValueError(
            f"images must all have one shape within a batch, got {tuple(map(int, shapes[0]))} for sample 0 "
            f"and {tuple(map(int, shapes[other]))} for sample {other}: resize or crop them first"
        )
    shape = (len(shapes), *map(int, shapes[0]))
    size = nodes.image_size_of(shape, layout)
    known = "" if layouts is None else "N" + bytes(layouts[0]).decode()
    if known in ("NHWC", "NCHW") and size != nodes.image_size_of(shape, known):  # type: ignore[arg-type]
        raise ValueError(f"images of shape {shape} are {known} to DALI: pass layout={known!r}")
    return size
