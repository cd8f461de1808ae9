"""Kernels that resize: images of any sizes to one, antialiased, mirrored on the way. On the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..regions import Size
from .launch import Work, launch


def resize(images: Sequence[np.ndarray], flips: np.ndarray, size: Size, *, threads: int | None = None) -> np.ndarray:
    """(N, H, W, 3) uint8: images, each (h, w, 3) uint8 in C order, by the triangle filter, scaled for antialiasing.

    flips: (N,), an image is mirrored left to right where it is not 0. size: (H, W). Within one level of Pillow's
    BILINEAR.

    Raises ValueError for images of another form.
    """
    count, (out_h, out_w) = len(images), size
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.flags.c_contiguous:
            raise ValueError(f"images must be (h, w, 3) uint8 in C order, got {image.shape} {image.dtype}")
    sizes = np.array([image.shape[:2] for image in images], np.int32)
    sources = np.array([image.__array_interface__["data"][0] for image in images], np.uint64)
    flips = np.ascontiguousarray(flips, np.int32)
    most_h = int(sizes[:, 0].max())
    scale = max(float((sizes / np.array(size)).max()), 1.0)
    taps = 2 * math.ceil(scale) + 1
    where = np.empty((count, out_h + out_w, 2), np.int32)
    weights = np.empty((count, out_h + out_w, taps), np.int32)
    middle = np.empty((count, most_h, out_w, 3), np.uint8)
    out = np.empty((count, out_h, out_w, 3), np.uint8)
    scalars = {"samples": count, "out_h": out_h, "out_w": out_w, "most_h": most_h, "taps": taps}
    for name, arrays, rows in (
        ("resize_taps", (sizes, where, weights), count * (out_h + out_w)),
        ("resize_rows", (sources, sizes, flips, where, weights, middle), count * most_h),
        ("resize_columns", (where, weights, middle, out), count * out_h),
    ):
        pointers = tuple(array.ctypes.data for array in arrays)
        launch("cpu", name, "Resize", pointers, Work(rows, out_w), threads=threads, **scalars)
    return out
