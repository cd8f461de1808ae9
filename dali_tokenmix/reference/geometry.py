"""The definitions of the kernels that make images before they are mixed: mirror, resize, normalise."""

from __future__ import annotations

import numpy as np


def mirrored(images: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """A copy of (N, H, W, C) images, left and right exchanged where flips, (N,), is not 0."""
    return np.where(flips.astype(bool)[:, None, None, None], images[:, :, ::-1], images)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, C) uint8: the triangle filter, wider where the image shrinks, one axis after the other.

    Rows to the new width first, but for images that lose more than twice as many rows as columns.
    """
    rows, columns = (resize_weights(*sides) for sides in zip(image.shape[:2], size, strict=True))
    lost = [side - new for side, new in zip(image.shape[:2], size, strict=True)]

    def whole(sums: np.ndarray) -> np.ndarray:
        return (sums + 2**14) >> 15

    pixels = image.astype(np.int64)
    if lost[0] > 0 and lost[0] > 2 * lost[1]:
        pixels = whole(np.einsum("ox,yxc->yoc", columns, whole(np.einsum("oy,yxc->oxc", rows, pixels))))
    else:
        pixels = whole(np.einsum("oy,yxc->oxc", rows, whole(np.einsum("ox,yxc->yoc", columns, pixels))))
    return pixels.astype(np.uint8)


def resize_weights(side: int, new: int) -> np.ndarray:
    """(new, side) int64: weights of inputs in units of 2^-15. A row's sum is 2^15, or 1 less for a single input."""
    scale = side / new
    reach = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    weights = np.maximum(1 - np.abs((np.arange(side) + 0.5 - centres[:, None]) / reach), 0)
    units = np.minimum((weights / weights.sum(1, keepdims=True) * 2**15 + 0.5).astype(np.int64), 2**15 - 1)
    heaviest = units.argmax(1)
    units[np.arange(new), heaviest] += 2**15 - units.sum(1)
    limited: np.ndarray = np.minimum(units, 2**15 - 1)
    return limited


def normalised(images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """(N, H, W, C) float32: (value - 255 * mean) * (1 / (255 * std)), each rounded to float32."""
    shift, scale = (255 * np.array(mean)).astype(np.float32), (1 / (255 * np.array(std))).astype(np.float32)
    return (images.astype(np.float32) - shift) * scale
