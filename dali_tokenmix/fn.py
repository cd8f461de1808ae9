"""token_mix for pipelines that exist already."""

from __future__ import annotations

from typing import Any

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from . import nodes, op
from .checks import choice, integer, number
from .labels import class_ids
from .planner import seeded_plan
from .runtime.mix import Layout


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
            shows; see Plan.mask), own and other () float32 label weights, blend () float32 (a MixUp partner's weight).

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
    if not hasattr(mixer, "draw"):
        raise TypeError(f"mixer must be a mixer such as TokenMix(), got {mixer!r}")
    num_classes = integer("num_classes", num_classes, at_least=1)
    number("smoothing", smoothing, at_least=0, at_most=1)
    choice("layout", layout, (None, "NHWC", "NCHW"))
    if seed is not None:
        seed = integer("seed", seed, at_least=0)

    def plan_batch(seeds: np.ndarray, ids: np.ndarray, shapes: np.ndarray, *layouts: np.ndarray) -> tuple:
        checked = class_ids(ids, num_classes)
        size = _image_size(shapes, layouts[0] if layouts else None, layout)
        return seeded_plan(mixer, seeds, size).packed, checked

    sizes = images.shape(dtype=types.INT64)
    layouts = (fn.get_property(images, key="layout"),) if images.device == "cpu" else ()
    rows, ids = op.host(plan_batch, nodes.random_seeds(seed), labels, sizes, *layouts, outputs=2)
    # DALI merges equal nodes, and every copy of these images would be this one: what these two arguments prevent.
    copied = images if inplace else fn.copy(images, preserve=True, bytes_per_sample_hint=1)
    mixed = nodes.mix(copied, rows, mixer, layout)
    soft = nodes.soft_targets(ids, rows, num_classes, smoothing, images)
    if not return_plan:
        return mixed, soft
    return mixed, soft, nodes.plan_nodes(rows, sizes, mixer, layout)


def _image_size(shapes: np.ndarray, layouts: np.ndarray | None, layout: Layout | None) -> tuple[int, int]:
    """Height and width of the batch. Raises ValueError for shapes that differ and layouts that contradict."""
    if shapes.shape[1] != 3:
        raise ValueError(f"images must be (H, W, C) or (C, H, W) a sample, got {shapes.shape[1]} dimensions")
    if (different := (shapes != shapes[0]).any(axis=1)).any():
        other = int(different.argmax())
        raise ValueError(
            f"images must all have one shape within a batch, got {tuple(shapes[0])} for sample 0 "
            f"and {tuple(shapes[other])} for sample {other}: resize or crop them first"
        )
    shape = (len(shapes), *map(int, shapes[0]))
    size = nodes.image_size_of(shape, layout)
    known = "" if layouts is None else "N" + bytes(layouts[0]).decode()
    if known in ("NHWC", "NCHW") and size != nodes.image_size_of(shape, known):  # type: ignore[arg-type]
        raise ValueError(f"images of shape {shape} are {known} to DALI: pass layout={known!r}")
    return size
