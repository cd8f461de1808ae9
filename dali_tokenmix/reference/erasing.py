"""The definition of the kernels that erase, and of the noise that they fill with."""

from __future__ import annotations

import numpy as np

from ..plan import Plan
from ..regions import ErasedBoxes, ErasedCells


def erase(region: ErasedBoxes | ErasedCells, plan: Plan, images: np.ndarray, out: np.ndarray) -> None:
    """The region's pixels in its colour, or in the noise of the sample's seed."""
    for i, erased in enumerate(region.erased(plan.image_size)):
        if region.fill.kind == "noise":
            out[i][erased] = noise(int(region.seeds[i]), out[i].shape, out.dtype)[erased]
        else:
            out[i][erased] = region.fill.pixel(out.dtype.name, out.shape[-1])


def noise(seed: int, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
    """An image (H, W, C) of noise: row y is made of the Philox blocks (b, y, 0, 0), b = 0, 1, ..., of the seed.

    uint8: the bytes of their words, the lowest first. float32 and float16: normal() of each word.
    """
    height, width, channels = shape
    each = 4 if dtype == np.uint8 else 1  # elements a word
    blocks = -(-width * channels // (4 * each))
    words = philox_blocks(seed, height, blocks).reshape(height, -1)
    elements = words.astype("<u4").view(np.uint8) if dtype == np.uint8 else normal(words).astype(dtype)
    return elements[:, : width * channels].reshape(shape)


def philox_blocks(seed: int, rows: int, blocks: int) -> np.ndarray:
    """(rows, blocks, 4) uint32: the words of counters (block, row, 0, 0); philox4x32() for many of them."""
    c0, c1 = (grid.astype(np.uint64) for grid in np.meshgrid(np.arange(blocks), np.arange(rows)))
    c2, c3 = np.zeros_like(c0), np.zeros_like(c0)
    k0, k1 = np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & low, (p0 >> half) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def normal(words: np.ndarray) -> np.ndarray:
    """float32 standard normal numbers by the inverse of their distribution, of uint32 words.

    The lowest 23 bits are the probability p in (0, 1/2) of the tail, the highest bit is the sign. With
    w = -log(4 p (1 - p)) the number is (1 - 2 p) q(w), q a quotient of two cubic polynomials; its relative error is
    below 2e-5, and it is at most 5.42.
    """
    f = np.float32
    p = ((words & 0x7FFFFF).astype(f) + f(0.5)) * f(2**-24)
    w = minus_log(f(4) * p * (f(1) - p))
    top = f(1.2533258) + w * (f(0.42345750) + w * (f(0.075861392) + w * f(0.0079030340)))
    bottom = f(1) + w * (f(0.076037971) + w * (f(0.027805367) + w * f(0.00041048919)))
    size = (f(1) - f(2) * p) * top / bottom
    signed: np.ndarray = (size.view(np.uint32) ^ (words & 0x80000000)).view(f)
    return signed


def minus_log(a: np.ndarray) -> np.ndarray:
    """-log(a) for a in (0, 1], float32: four terms of the series of the area tangent."""
    f = np.float32
    power = (a.view(np.int32) - np.int32(0x3F3504F3)) >> 23  # the mantissa is then in [sqrt(1/2), sqrt(2))
    mantissa = (a.view(np.int32) - (power << 23)).view(f)
    s = (mantissa - f(1)) / (mantissa + f(1))
    square = s * s
    total = f(1) + square * (f(0.33333334) + square * (f(0.2) + square * f(0.14285715)))
    log: np.ndarray = power.astype(f) * f(0.6931472) + (s + s) * total
    return -log
