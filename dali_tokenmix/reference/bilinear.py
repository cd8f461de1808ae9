"""The definition of Resized: the partner between its pixels' centres."""

from __future__ import annotations

import numpy as np

from ..plan import Plan
from ..regions import Resized


def resized_partners(region: Resized, plan: Plan, images: np.ndarray, out: np.ndarray) -> None:
    """Into each box goes the part of the resized partner that lies there; nothing goes beyond the image."""
    for i, (y0, x0, y1, x1) in enumerate(region.visible(plan.image_size)):
        top, left, height, width = region.boxes[i]
        if y0 < y1 and x0 < x1:
            whole = bilinear(images[plan.partner[i]], (height, width))
            out[i, y0:y1, x0:x1] = whole[y0 - top : y1 - top, x0 - left : x1 - left]


def bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, C) resized to size, without antialiasing: torch's interpolate(mode="bilinear", align_corners=False).

    Between two rows first, then between two columns. float16 and float32 in float32; uint8 in whole numbers, with 15
    bits of a weight and 7 fractional bits between two rows: the nearest level, or, at what is nearly a tie, one of two.
    """
    (top, bottom, down), (left, right, across) = (
        neighbours(new, side) for new, side in zip(size, image.shape[:2], strict=True)
    )
    down, across = down[:, None, None], across[:, None]
    if image.dtype.kind == "u":
        down, across = ((weight * np.float32(2**15)).astype(np.int32) for weight in (down, across))
        units = image.astype(np.int32) << 7
        lines = units[top] + _part(units[bottom] - units[top], down)
        values = lines[:, left] + _part(lines[:, right] - lines[:, left], across)
        whole: np.ndarray = ((values + 64) >> 7).astype(image.dtype)
        return whole
    floats, one = image.astype(np.float32), np.float32(1)
    lines = (one - down) * floats[top] + down * floats[bottom]
    mixed: np.ndarray = (one - across) * lines[:, left] + across * lines[:, right]
    return mixed.astype(image.dtype)


def neighbours(outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of an axis: for each output the inputs on both sides of its centre, and the float32 weight of the second."""
    scale = np.float32(inputs) / np.float32(outputs)
    at = np.maximum((np.arange(outputs, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5), np.float32(0))
    low = np.minimum(at.astype(np.int32), inputs - 1)
    return low, np.minimum(low + 1, inputs - 1), at - low.astype(np.float32)


def _part(change: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """change * weight / 2**15, to the nearest, ties up."""
    part: np.ndarray = (change * weight + 2**14) >> 15
    return part
