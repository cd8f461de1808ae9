"""Kernels that make floats of bytes. On the CPU."""

from __future__ import annotations

import numpy as np

from .launch import launch
from .work import Work


def normalise(
    images: np.ndarray,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    out: np.ndarray,
    *,
    planar: bool,
    threads: int | None = None,
) -> np.ndarray:
    """out, (value - mean) / std of each channel, mean and std for values in [0, 1].

    images: (N, H, W, 3) uint8. out: float32 or float16, (N, 3, H, W) if planar, else (N, H, W, 3). Both in C order.
    """
    samples, height, width, channels = images.shape
    shape = (samples, channels, height, width) if planar else images.shape
    _check("images", images, (samples, height, width, 3))
    _check("out", out, shape)
    if images.dtype != np.uint8 or out.dtype not in (np.float32, np.float16):
        raise TypeError(f"images must be uint8, out float32 or float16, got {images.dtype} and {out.dtype}")
    launch(
        "cpu",
        f"normalise_{out.dtype.name}",
        "Normalise",
        (images.ctypes.data, out.ctypes.data),
        Work(samples * height, width),
        threads=threads,
        samples=samples,
        height=height,
        width=width,
        planar=int(planar),
        mean=255 * np.array(mean),
        scale=1 / (255 * np.array(std)),
    )
    return out


def _check(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(f"{name} must be {shape} in C order, got {array.shape}")
