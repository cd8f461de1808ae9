"""Kernels that make soft labels of a teacher's top-k label maps: of whole crops, and of every token."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..regions import RegionShape, Size, TokenGrid
from .arrays import View, view
from .cells import cells
from .launch import launch
from .work import Work

Make = Callable[[tuple[int, ...], str], Any]  # (shape, dtype) -> a new array on the device of the maps


def crop_labels(
    ids: View,
    scores: View,
    boxes: View | None,
    num_classes: int,
    make: Make,
    *,
    threads: int | None = None,
) -> Any:
    """Soft labels (N, C) float32 of label maps: softmax over all classes of the map's mean over the crop.

    ids (N, k, h, w) int32, scores (N, k, h, w) float16, the logits; boxes (N, 4) float32, None: all of the map.
    """
    samples, k, h, w = ids.shape
    device, maps = ids.device, (samples, k, h, w, num_classes)
    weights = _roi_weights(ids, boxes, None, (1, 1), make, threads)
    logits, labels = (view("labels", make((samples, num_classes), "float32")) for _ in range(2))
    pointers = (ids.address, scores.address, weights.address, logits.address)
    work, threads = Work(samples, num_classes), threads or 1
    launch(device, "relabel_pool", "Pool", pointers, work, threads=threads, maps=maps, unknown=math.nan)
    scalars = {"samples": samples, "classes": num_classes}
    launch(device, "relabel_softmax", "Softmax", (logits.address, labels.address), work, threads=threads, **scalars)
    return labels.owner


def mix_labels(labels: View, rows: View, out: View, *, smoothing: float, threads: int | None = None) -> None:
    """Writes targets (N, C) float32 of soft labels (N, C) float32 and packed plan rows (N, bytes)."""
    samples, classes = out.shape
    launch(
        out.device,
        "relabel_mix",
        "MixLabels",
        (labels.address, rows.address, out.address),
        Work(samples, classes),
        threads=threads or 1,
        rows=(rows.strides[0], 0),
        samples=samples,
        classes=classes,
        keep=1.0 - smoothing,
        floor=smoothing / classes,
    )


def token_labels(
    ids: View,
    scores: View,
    boxes: View | None,
    flips: View | None,
    rows: View,
    shapes: tuple[RegionShape, ...],
    offsets: tuple[int, ...],
    image_size: Size,
    tokens: TokenGrid,
    num_classes: int,
    make: Make,
    *,
    sides: int,
    threads: int | None = None,
) -> tuple[Any, Any]:
    """Each token's classes (N, T, sides * k) int32 and their probabilities, float32. Maps as in crop_labels.

    flips: (N,) int32, not 0 where the crop was mirrored; None: nowhere. sides: 1 if each token is one sample's, else 2.
    """
    if any(shape.further for shape in shapes):
        raise ValueError(
            "plan must be of regions that mix two samples, whose tokens can be labelled, got crops of four"
        )
    samples, k, h, w = ids.shape
    weights = _roi_weights(ids, boxes, flips, tokens.grid, make, threads, image_size, tokens.patch_size)
    most = k
    for cells_along, side in zip((h, w), image_size, strict=True):
        most *= _reach(cells_along, tokens.patch_size / side)
    count = tokens.tokens
    scratch = view("scratch", make((samples * count, most, 2), "float32"))
    token_ids = view("token_ids", make((samples, count, sides * k), "int32"))
    probabilities = view("probabilities", make((samples, count, sides * k), "float32"))
    launch(
        ids.device,
        "token_labels",
        "TokenLabels",
        tuple(v.address for v in (ids, scores, weights, rows, scratch, token_ids, probabilities)),
        Work(samples * count, 1),
        threads=threads or 1,
        rows=(rows.strides[0], 0),
        cells=cells(tokens.grid, image_size, shapes, offsets, tokens.patch_size),
        maps=(samples, k, h, w, num_classes),
        most=most,
        sides=sides,
    )
    return token_ids.owner, probabilities.owner


def _roi_weights(
    ids: View,
    boxes: View | None,
    flips: View | None,
    grid: Size,
    make: Make,
    threads: int | None,
    image_size: Size = (0, 0),
    patch: int = 0,
) -> View:
    """(N, gh * h + gw * w) float32: what each map cell weighs in each row and each column of the grid.

    image_size, patch: where the grid is one of tokens, of which the last may be cut off.
    """
    samples, _, h, w = ids.shape
    weights = view("weights", make((samples, grid[0] * h + grid[1] * w), "float32"))
    pointers = (boxes.address if boxes else 0, flips.address if flips else 0, weights.address)
    work = Work(samples * sum(grid), max(h, w))
    scalars = {"samples": samples, "map_h": h, "map_w": w, "grid_h": grid[0], "grid_w": grid[1]}
    scalars |= {"height": image_size[0], "width": image_size[1], "patch": patch}
    launch(ids.device, "roi_weights", "RoiWeights", pointers, work, threads=threads or 1, **scalars)
    return weights


def _reach(cells_along: int, share: float) -> int:
    """Cells along one axis that a bin of so large a share of any crop can have a part of."""
    return min(cells_along, math.ceil(cells_along * share) + 2)
