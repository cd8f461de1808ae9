"""Plan, labels and maps -> targets: the only place a target is made."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from . import runtime
from .checks import choice, integer, number
from .plan import Plan, packed, region_offsets
from .runtime.arrays import view

OFFICIAL_EPSILON = 1e-8  # what the released code adds to a map's sum


def soft_targets(
    plan: Plan,
    labels: Any,
    num_classes: int,
    smoothing: float = 0.1,
    maps: Any = None,
    *,
    compat: Literal["official"] | None = None,
) -> np.ndarray:
    """Dense soft targets, (N, C) float32 on the CPU.

    For a sample of class a whose partner is of class b: (1 - s) * (own * onehot(a) + other * onehot(b)) + s / C, with s
    the label smoothing; each further sample of the plan (RICAP) adds its own term in the same way. Terms of one class
    add. With weights that sum to 1 a row sums to 1.
    Rows of soft or multi-hot labels take the place of the one-hot ones, as they are: one that sums to 3 makes targets
    that sum to more than 1.

    Args:
        plan: of draw(); its own and other are the weights, unless there are maps.
        labels: (N,) or (N, 1) class ids, whole numbers; or (N, num_classes) rows of numbers >= 0 of any dtype, such as
            crop_labels() gives. Of any array library on the CPU. One whole number a sample is always a class id.
        num_classes: C >= 1.
        smoothing: s in [0, 1].
        maps: (N, gh, gw) activation maps, see scored(): the weights are then the shares of the maps that show.
        compat: "official" gives the released code's targets, own * onehot(a) + other * onehot(b) - s / 2 at each of the
            two classes, and s / C everywhere; they can be negative. It takes class ids.

    Raises TypeError for class ids that are no whole numbers, ValueError for those outside [0, num_classes), for rows
    that are negative, infinite or NaN, and for shapes that do not fit.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan must be a Plan, got {plan!r}")
    num_classes = integer("num_classes", num_classes, at_least=1)
    number("smoothing", smoothing, at_least=0, at_most=1)
    choice("compat", compat, (None, "official"))
    known = ids_or_rows(labels, num_classes)
    if len(known) != len(plan):
        raise ValueError(f"labels must be ({len(plan)},), one for each sample of the plan, got {len(known)}")
    if maps is not None:
        plan = scored(plan, maps, compat=compat)
    out = np.empty((len(plan), num_classes), np.float32)
    if known.ndim == 2:
        if compat is not None:
            raise ValueError("compat='official' takes class ids, got soft labels")
        runtime.mix_labels(view("labels", known), view("plan", plan.packed), view("targets", out), smoothing=smoothing)
        return out
    runtime.targets(
        view("labels", known),
        view("plan", plan.packed),
        view("targets", out),
        smoothing=smoothing,
        official=compat == "official",
    )
    return out


def scored(plan: Plan, maps: Any, *, compat: Literal["official"] | None = None) -> Plan:
    """The plan with TokenMix's label weights: how much of each side's object shows (ECCV 2022, arXiv 2207.08409).

    With A a sample's map divided by its sum, and m the partner's share of a cell: own = sum((1 - m) * A_own),
    other = sum(m * A_partner). They need not sum to 1. Where a plan patches crops (RICAP), each weight, further_weights
    too, is the share of its sample's map that lies inside the crop.

    Args:
        plan: of draw().
        maps: (N, gh, gw) >= 0, each sample's activation map of its own class, on its crop: see crop_maps(). Its cells
            are of one size and cover the image; m is the share of a cell's area that is the partner's. On the plan's
            token grid that is the mask, where the patch size divides height and width.
        compat: "official" adds 1e-8 to the sums, as the released code does; else an all-zero map counts as uniform.

    Raises ValueError for maps that are negative, not finite or of another shape, TypeError for what is no array.
    """
    rows = scored_rows(plan, maps, compat=compat)
    further = rows["further_weights"].copy() if plan.further.size else None
    return plan.with_weights(rows["own"].copy(), rows["other"].copy(), further)


def scored_rows(plan: Plan, maps: Any, *, compat: Literal["official"] | None = None) -> np.ndarray:
    """The rows of scored(plan, maps), as Plan.rows() gives them, without checking that plan once more."""
    array = checked_maps("maps", maps, len(plan))
    shapes = tuple(region.shape for region in plan.regions)
    rows = plan.rows()
    runtime.score(
        view("plan", packed(rows)),
        view("maps", array),
        shapes,
        region_offsets(shapes),
        plan.image_size,
        epsilon=OFFICIAL_EPSILON if compat == "official" else 0.0,
    )
    return rows


def crop_maps(
    full_maps: Any,
    boxes: Any,
    flips: Any,
    grid: tuple[int, int],
    *,
    compat: Literal["official"] | None = None,
) -> np.ndarray:
    """Maps of whole images, cut to crop boxes: (N, gh, gw) float32 on the CPU.

    Bilinear ROI-align as torchvision.ops.roi_align(aligned=True, sampling_ratio=-1) on the boxes in map cells.

    Args:
        full_maps: (N, h, w) finite numbers, each of a whole image.
        boxes: (N, 4) y0, x0, y1, x1 in fractions of the full image, in [0, 1], y0 < y1 and x0 < x1.
        flips: (N,) bool, True where the crop was mirrored left to right.
        grid: (gh, gw) >= 1, cells of the result.
        compat: "official" swaps the axes of the boxes, as the released TokenMix, TokenLabeling and ReLabel code does:
            the map is then that of the crop mirrored at the diagonal.

    Raises ValueError for arrays that do not fit.
    """
    choice("compat", compat, (None, "official"))
    maps = checked_maps("full_maps", full_maps, None, negative=True)
    boxes = checked_boxes(boxes, len(maps), compat)
    flips = (np.ascontiguousarray(flips) != 0).astype(np.uint8)
    if flips.shape != (len(maps),):
        raise ValueError(f"flips must be ({len(maps)},), one for each map, got shape {flips.shape}")
    if not isinstance(grid, tuple | list) or len(grid) != 2:
        raise ValueError(f"grid must be (rows, columns), got {grid!r}")
    out = np.empty((len(maps), *(integer("grid", side, at_least=1) for side in grid)), np.float32)
    runtime.crop_maps(view("full_maps", maps), view("boxes", boxes), view("flips", flips), view("out", out))
    return out


def checked_boxes(boxes: Any, samples: int, compat: str | None) -> np.ndarray:
    """(N, 4) float32 y0, x0, y1, x1, the axes swapped for compat="official". Raises ValueError as crop_maps() says."""
    boxes = np.ascontiguousarray(boxes, np.float32)
    if boxes.shape != (samples, 4):
        raise ValueError(f"boxes must be ({samples}, 4), one for each map, got shape {boxes.shape}")
    y0, x0, y1, x1 = boxes.T
    inside = (y0 >= 0) & (y0 < y1) & (y1 <= 1) & (x0 >= 0) & (x0 < x1) & (x1 <= 1)
    if not inside.all():
        raise ValueError(f"boxes must be y0 < y1 and x0 < x1 in [0, 1], got {boxes[~inside][0]}")
    return np.ascontiguousarray(boxes[:, [1, 0, 3, 2]]) if compat == "official" else boxes


def ids_or_rows(labels: Any, num_classes: int) -> np.ndarray:
    """(N,) int32 class ids or (N, num_classes) float32 rows, whichever these labels are; see soft_targets()."""
    array = np.asarray(labels)
    if array.ndim != 2 or array.shape[1] != num_classes or (num_classes == 1 and array.dtype.kind in "iu"):
        return class_ids(array, num_classes)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"labels must be numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(rows).all() or (rows < 0).any():
        raise ValueError(f"rows of labels must be finite and >= 0, got {rows.min()} to {rows.max()}")
    return rows


def class_ids(labels: Any, num_classes: int) -> np.ndarray:
    """Labels as (N,) int32. Raises TypeError unless they are whole numbers, ValueError unless in [0, num_classes)."""
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"labels must be class ids, (N,) or (N, 1), or rows (N, num_classes={num_classes}), got shape {array.shape}"
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels must be whole numbers, got {array.dtype}")
    if array.size and not (array.min() >= 0 and array.max() < num_classes):
        wrong = array[(array < 0) | (array >= num_classes)][0]
        raise ValueError(f"labels must be in [0, num_classes={num_classes}), got {wrong}")
    return np.ascontiguousarray(array, np.int32)


def checked_maps(name: str, maps: Any, samples: int | None, *, negative: bool = False) -> np.ndarray:
    """Maps as (N, h, w) float32. Raises TypeError or ValueError by `name` for what is none, or not of `samples`."""
    expected = "(N, h, w)" if samples is None else f"({samples}, gh, gw), one for each sample of the plan"
    try:
        array = np.ascontiguousarray(maps, np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be an array {expected}, got {maps!r:.80}: a LabelStore has them, see store.maps(index)"
        ) from error
    if array.ndim != 3 or 0 in array.shape or (samples is not None and len(array) != samples):
        raise ValueError(f"{name} must be {expected}, got shape {array.shape}")
    if not np.isfinite(array).all() or (not negative and (array < 0).any()):
        raise ValueError(f"{name} must be finite{'' if negative else ' and >= 0'}, got {array.min()} to {array.max()}")
    return array
