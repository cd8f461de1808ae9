"""Kernels that make targets: crop the teacher's maps, score a plan by them, write dense rows from its weights."""

from __future__ import annotations

import math

from ..regions import RegionShape, Size
from .arrays import View
from .cells import cells
from .launch import launch
from .work import Work


def targets(
    labels: View, rows: View, out: View, *, smoothing: float, official: bool = False, threads: int | None = None
) -> None:
    """Writes dense soft targets: labels (N,) int32, packed plan rows (N, bytes), out (N, C) float32, on one device."""
    samples, classes = out.shape
    launch(
        out.device,
        "targets",
        "Targets",
        (labels.address, rows.address, out.address),
        Work(samples, classes),
        threads=threads or 1,
        rows=(rows.strides[0], 0),
        samples=samples,
        classes=classes,
        keep=1.0 if official else 1.0 - smoothing,
        shift=-smoothing / 2 if official else 0.0,
        floor=smoothing / classes,
        unknown=math.nan,
    )


def crop_maps(maps: View, boxes: View | None, flips: View | None, out: View, *, threads: int | None = None) -> None:
    """ROI-align: float32 maps (N, h, w), boxes (N, 4) y0 x0 y1 x1 in fractions, uint8 flips (N,) -> out (N, gh, gw).

    boxes, flips: None for whole maps as they are.
    """
    samples, map_h, map_w = maps.shape
    _, grid_h, grid_w = out.shape
    launch(
        out.device,
        "crop_maps",
        "CropMaps",
        (maps.address, boxes.address if boxes else 0, flips.address if flips else 0, out.address),
        Work(samples * grid_h, grid_w),
        threads=threads or 1,
        samples=samples,
        map_h=map_h,
        map_w=map_w,
        grid_h=grid_h,
        grid_w=grid_w,
    )


def score(
    rows: View,
    maps: View,
    shapes: tuple[RegionShape, ...],
    offsets: tuple[int, ...],
    image_size: Size,
    *,
    epsilon: float = 0.0,
    threads: int | None = None,
) -> None:
    """Writes own and other of packed plan rows, (N, bytes) uint8, from the samples' maps, (N, h, w) float32 >= 0."""
    samples, *grid = maps.shape
    launch(
        rows.device,
        "score",
        "Score",
        (rows.address, maps.address),
        Work(samples, 1),
        threads=threads or 1,
        rows=(rows.strides[0], 0),
        samples=samples,
        cells=cells((grid[0], grid[1]), image_size, shapes, offsets),
        epsilon=epsilon,
    )
