"""Kernels that resize: images of any sizes to one, antialiased, mirrored on the way. On the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..regions import Size
from .host import default_threads
from .launch import launch
from .work import Work

BANDS = 2  # a thread at least: so many that a batch of few images keeps all of them busy


GROUP, SLACK, CHANNELS = 4, 64, 3  # as resize_lines.cuh has them


def resize(
    images: Sequence[np.ndarray],
    flips: np.ndarray,
    size: Size,
    *,
    threads: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """(N, H, W, 3) uint8: images, each (h, w, 3) uint8 in C order, by the triangle filter, scaled for antialiasing.

    flips: (N,), an image is mirrored left to right where it is not 0. size: (H, W). out: where the result goes, if not
    to new memory. Within one level of Pillow's BILINEAR, for images up to 700 times as large.

    Raises ValueError for images, flips, size or out of another form.
    """
    count, (out_h, out_w) = len(images), size
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != CHANNELS or not image.flags.c_contiguous:
            raise ValueError(f"images must be (h, w, 3) uint8 in C order, got {image.shape} {image.dtype}")
        if not image.size:
            raise ValueError(f"images must have pixels, got shape {image.shape}")
    if not count or min(size) < 1:
        raise ValueError(f"images and size must not be empty, got {count} images and size {size}")
    shape = (count, out_h, out_w, CHANNELS)
    if out is None:
        out = np.empty(shape, np.uint8)
    if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out must be writable, {shape} uint8 in C order, got {out.shape} {out.dtype}")
    if np.shape(flips) != (count,):
        raise ValueError(f"flips must be ({count},), one an image, got shape {np.shape(flips)}")
    sizes = np.array([image.shape[:2] for image in images], np.int32)
    sources = np.array([image.__array_interface__["data"][0] for image in images], np.uint64)
    flips = np.ascontiguousarray(flips, np.int32)
    taps = _up(math.ceil(2 * max(float((sizes / np.array(size)).max()), 1.0)), GROUP)
    padded_w = _up(out_w, GROUP)
    bands = min(out_h, math.ceil(BANDS * (threads or default_threads()) / count))
    scratch = _pitch(int(sizes[:, 1].max()) * CHANNELS) + taps * _pitch(out_w * CHANNELS)
    firsts = np.empty((count, out_h + padded_w), np.int32)
    weights = np.empty((count, out_h + padded_w, taps), np.int16)
    lines = np.empty((count, bands, scratch), np.uint8)
    scalars = {"samples": count, "out_h": out_h, "out_w": out_w, "padded_w": padded_w, "taps": taps, "bands": bands}
    for name, arrays, rows in (
        ("resize_taps", (sizes, flips, firsts, weights), firsts.size),
        ("resize", (sources, sizes, firsts, weights, lines, out), count * bands),
    ):
        pointers = tuple(array.ctypes.data for array in arrays)
        launch("cpu", name, "Resize", pointers, Work(rows, 1), threads=threads, scratch=scratch, **scalars)
    return out


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _pitch(size: int) -> int:
    """pitch() of resize_lines.cuh."""
    return _up(size + SLACK, 32)
