"""Soft labels from a teacher's top-k label maps: of a crop (ReLabel), and of each of its tokens (TokenLabeling)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from . import runtime
from .checks import choice, integer
from .labels import checked_boxes
from .plan import Plan, region_offsets
from .regions import RegionShape, Size, TokenGrid, erases
from .runtime.arrays import view

DEFAULT_PATCH = 16  # of the token grid where a mixer has none


class TokenTargets(NamedTuple):
    """What token labelling trains on: in the order that losses.TokenLabelingLoss takes them.

    targets: (N, C) float32, of whole images. token_ids: (N, T, k) int32 classes of each token, row by row of the grid,
    and token_probabilities: (N, T, k) float32. Tensors, or DALI nodes in a pipeline.
    """

    targets: Any
    token_ids: Any
    token_probabilities: Any


def flat(targets: Any) -> tuple[Any, ...]:
    """The parts of TokenTargets, or other targets as the only part."""
    return targets if isinstance(targets, TokenTargets) else (targets,)


def crop_labels(
    ids: Any,
    scores: Any,
    boxes: Any = None,
    *,
    num_classes: int,
    compat: Literal["official"] | None = None,
) -> np.ndarray:
    """Soft labels of crops, (N, C) float32: rows sum to 1. For soft_targets(labels=).

    Re-labeling ImageNet (Yun et al., CVPR 2021, arXiv 2101.05022): softmax over all classes of the label map's mean
    over the crop. A map is known by the k strongest classes of each cell; the logits of all others count as 0. The mean
    is ROI-align to one bin, as torchvision.ops.roi_align(aligned=True, sampling_ratio=-1) has it.

    Args:
        ids: (N, k, h, w) class ids in [0, num_classes), such as LabelStore.topk() or Teacher.topk() gives.
        scores: (N, k, h, w) their logits; rounded to float16, as a store keeps them.
        boxes: (N, 4) y0, x0, y1, x1 in fractions of the full image; None: whole images.
        num_classes: C.
        compat: "official" swaps the axes of the boxes, as the released code does.

    Raises ValueError or TypeError for arrays that do not fit.
    """
    ids, scores = _top_k(ids, scores, num_classes)
    boxes = _boxes(boxes, len(ids), compat)
    labels: np.ndarray = runtime.crop_labels(view("ids", ids), view("scores", scores), boxes, num_classes, np.empty)
    return labels


def token_labels(
    plan: Plan,
    ids: Any,
    scores: Any,
    boxes: Any = None,
    flips: Any = None,
    *,
    num_classes: int,
    compat: Literal["official"] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The classes of every token of mixed images: ids (N, T, m) int32 and probabilities (N, T, m) float32.

    Token labelling (Jiang et al., NeurIPS 2021, arXiv 2104.10858): a token has the label of whoever shows there,
    softmax over all classes of that sample's label map, cut to its crop by ROI-align on the tokens. Of the classes that
    the map has there the k most probable are kept, with the probability that they have among all num_classes, best
    first.

    The T tokens are the cells of the plan's token grid, row by row, or patches of 16 pixels where it has none. For
    token masks m is k. Boxes and blends let two samples share a token: then m is 2 k, first the sample's own classes,
    then the partner's, each side's probabilities times its share of the token. An entry of probability 0 is none.

    Args:
        plan: of draw(), for N samples.
        ids, scores, boxes, num_classes, compat: as in crop_labels().
        flips: (N,) bool, True where the crop was mirrored left to right; None: nowhere.

    Raises ValueError or TypeError for arrays that do not fit.
    """
    ids, scores = _top_k(ids, scores, num_classes)
    if not isinstance(plan, Plan) or len(plan) != len(ids):
        raise ValueError(f"plan must be of as many samples as ids, {len(ids)}, got {plan!r:.80}")
    checked = _boxes(boxes, len(ids), compat)
    mirrored = None
    if flips is not None:
        mirrored = view("flips", (np.ascontiguousarray(flips) != 0).astype(np.int32))
        if mirrored.shape != (len(ids),):
            raise ValueError(f"flips must be ({len(ids)},), one for each map, got shape {mirrored.shape}")
    shapes = tuple(region.shape for region in plan.regions)
    tokens = token_grid(shapes, plan.image_size)
    return runtime.token_labels(
        view("ids", ids),
        view("scores", scores),
        checked,
        mirrored,
        view("plan", plan.packed),
        shapes,
        region_offsets(shapes),
        plan.image_size,
        tokens,
        num_classes,
        np.empty,
        sides=token_sides(shapes, tokens),
    )


def token_grid(shapes: tuple[RegionShape, ...], image_size: Size) -> TokenGrid:
    """The tokens that label maps are cut to for plans of these shapes: the mask's, or patches of 16 pixels."""
    grids = [shape for shape in shapes if isinstance(shape, TokenGrid) and shape.patch_size]
    return grids[0] if grids else TokenGrid.of(DEFAULT_PATCH, image_size)


def token_sides(shapes: tuple[RegionShape, ...], tokens: TokenGrid) -> int:
    """1 where plans of these shapes give every token to one sample, 2 where two may share it."""
    return 1 if all(shape == tokens for shape in shapes if not erases(shape)) else 2


def _top_k(ids: Any, scores: Any, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    num_classes = integer("num_classes", num_classes, at_least=1)
    ids, scores = np.asarray(ids), np.asarray(scores)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids must be whole numbers, got {ids.dtype}")
    if ids.ndim != 4 or 0 in ids.shape or scores.shape != ids.shape:
        raise ValueError(f"ids and scores must both be (N, k, h, w), got shapes {ids.shape} and {scores.shape}")
    check_ids("ids", ids, num_classes)
    with np.errstate(over="ignore"):
        halves = np.ascontiguousarray(scores, np.float16)
    if not np.isfinite(halves).all():
        raise ValueError(f"scores must be finite and at most 65504, got {scores[~np.isfinite(halves)][0]}")
    return np.ascontiguousarray(ids, np.int32), halves


def check_ids(name: str, ids: np.ndarray, num_classes: int) -> None:
    """Raises ValueError unless all class ids are in [0, num_classes)."""
    if ids.min() < 0 or ids.max() >= num_classes:
        wrong = ids[(ids < 0) | (ids >= num_classes)][0]
        raise ValueError(f"{name} must be in [0, num_classes={num_classes}), got {wrong}")


def _boxes(boxes: Any, samples: int, compat: str | None) -> Any:
    choice("compat", compat, (None, "official"))
    return None if boxes is None else view("boxes", checked_boxes(boxes, samples, compat))
