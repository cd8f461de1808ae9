"""Kernels that draw: block masks and the generator behind them."""

from __future__ import annotations

import numpy as np

from .launch import launch
from .work import Work

ATTEMPTS = 10  # refused rectangles in a row before the rules give way


def block_mask(
    seeds: np.ndarray,
    grid: tuple[int, int],
    *,
    total: int,
    min_area: int,
    log_aspect: float,
    official: bool,
    threads: int | None = None,
) -> np.ndarray:
    """(N, gh, gw) uint8 masks of `total` ones, one for each of the seeds, (N,) uint64. Drawn on the CPU.

    min_area: least tokens of a rectangle; log_aspect: its aspect lies in [exp(-log_aspect), exp(log_aspect)], at most
    log(1/0.3), the range the kernel's exp is good for. official: the released code's rules, which may fall short.
    """
    height, width = grid
    seeds = np.ascontiguousarray(seeds, np.uint64)
    if seeds.ndim != 1:
        raise ValueError(f"seeds must be (N,), got shape {seeds.shape}")
    if not 0 < total <= height * width:
        raise ValueError(f"total must be in 1..{height * width} tokens, got {total}")
    if min_area < 1 or not 0 <= log_aspect <= 1.21:
        raise ValueError(f"min_area must be >= 1 and log_aspect in [0, 1.21], got {min_area} and {log_aspect}")
    masks = np.empty((len(seeds), height, width), np.uint8)
    launch(
        "cpu",
        "block_mask",
        "BlockMask",
        (seeds.ctypes.data, masks.ctypes.data),
        Work(len(seeds), 1),
        threads=threads or 1,
        log_aspect=log_aspect,
        masks=len(seeds),
        grid_h=height,
        grid_w=width,
        total=total,
        min_area=min_area,
        attempts=ATTEMPTS,
        official=official,
    )
    return masks


def philox(counters: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Philox4x32-10: (N, 4) uint32 words for counters (N, 4) uint32 and keys (N, 2) uint32."""
    inputs = np.ascontiguousarray(np.concatenate([counters, keys], axis=1), np.uint32)
    outputs = np.empty((len(inputs), 4), np.uint32)
    pointers = (inputs.ctypes.data, outputs.ctypes.data)
    launch("cpu", "philox", "Words", pointers, Work(len(inputs), 1), threads=1, count=len(inputs))
    return outputs
