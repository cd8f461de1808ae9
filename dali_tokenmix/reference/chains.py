"""The definition of AugMix's chains: operations on one image at a time, and their weighted sum.

Arithmetic is binary32; what becomes a byte is limited to [0, 255] and rounded to nearest, ties to even.
"""

from __future__ import annotations

import numpy as np

from ..plan import Plan
from ..regions import Chains
from ..regions.chains import OPERATIONS

ONE, HALF, WHITE = np.float32(1), np.float32(0.5), np.float32(255)


def chained(region: Chains, plan: Plan, images: np.ndarray, out: np.ndarray) -> None:
    """Every image that has a chain of any weight: the sum of what it is by now and of its chains."""
    for i, weights in enumerate(region.weights):
        ends, clean = [], True
        for k, operations in enumerate(region.operations[i]):
            end = out[i]
            for operation, parameters in zip(operations, region.parameters[i, k], strict=True):
                if operation == 0:
                    break
                end = operated(end, OPERATIONS[operation], parameters, region.fill)
            clean &= bool(weights[1 + k] == 0 or operations[0] == 0)
            ends.append(end)
        if not clean:
            total = weights[0] * out[i].astype(np.float32)
            for weight, end in zip(weights[1:], ends, strict=True):
                total += weight * end.astype(np.float32)
            out[i] = _bytes(total)


def operated(image: np.ndarray, operation: str, parameters: np.ndarray, fill: float) -> np.ndarray:
    """One operation on an (H, W, C) uint8 image."""
    values, factor = image.astype(np.float32), parameters[0]
    if operation == "affine":
        return warped(image, parameters, fill)
    if operation == "color":
        gray = _luma(*values.transpose(2, 0, 1))[..., None]
        return _bytes(gray + (values - gray) * factor)
    if operation == "sharpness":
        height, width, _ = image.shape
        rows, columns = (np.abs(side - 1 - np.abs(side - 1 - np.arange(-1, side + 1))) for side in (height, width))
        padded = values[np.minimum(rows, height - 1)[:, None], np.minimum(columns, width - 1)]  # mirrored at the edge
        around = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        blurred = (sum(around) + np.float32(4) * values) / np.float32(13)
        return _bytes(blurred + (values - blurred) * factor)
    if operation == "posterize":
        return image & np.uint8(factor)
    if operation == "solarize":
        return np.where(values < factor, image, 255 - image)
    if operation in ("brightness", "contrast"):
        means = image.mean((0, 1), np.float64).astype(np.float32)
        centre = _luma(*means) if operation == "contrast" else np.float32(0)
        return _bytes(centre + (values - centre) * factor)
    per_channel = {"auto_contrast": stretched, "equalize": equalized}[operation]
    changed: np.ndarray = np.stack([per_channel(channel) for channel in image.transpose(2, 0, 1)], axis=-1)
    return changed


def warped(image: np.ndarray, matrix: np.ndarray, fill: float) -> np.ndarray:
    """Bilinear: pixel (x, y) of the result shows the point where the matrix takes its centre; `fill` outside."""
    height, width, channels = image.shape
    m = np.asarray(matrix, np.float32)
    xc, yc = np.arange(width, dtype=np.float32) + HALF, (np.arange(height, dtype=np.float32) + HALF)[:, None]
    sx = np.clip((m[0] * xc + (m[1] * yc + m[2])) - HALF, -ONE, np.float32(width))
    sy = np.clip((m[3] * xc + (m[4] * yc + m[5])) - HALF, -ONE, np.float32(height))
    x0, y0 = np.floor(sx).astype(int), np.floor(sy).astype(int)
    tx, ty = (sx - x0.astype(np.float32))[..., None], (sy - y0.astype(np.float32))[..., None]
    framed = np.full((height + 3, width + 3, channels), fill, np.float32)  # from row and column -1 on
    framed[1 : height + 1, 1 : width + 1] = image
    rows = []
    for y in (y0, y0 + 1):
        left, right = framed[y + 1, x0 + 1], framed[y + 1, x0 + 2]
        rows.append(left + tx * (right - left))
    return _bytes(rows[0] + ty * (rows[1] - rows[0]))


def stretched(channel: np.ndarray) -> np.ndarray:
    """The least value to 0, the greatest to 255, in proportion; a channel of one value stays as it is."""
    low, high = np.float32(channel.min()), np.float32(channel.max())
    if low == high:
        return channel
    return _bytes((channel.astype(np.float32) - low) * (WHITE / (high - low)))


def equalized(channel: np.ndarray) -> np.ndarray:
    """Each value to the share of pixels that are at most as bright, where those of the least value count as none."""
    counts = np.bincount(channel.reshape(-1), minlength=256)
    least = int(channel.min())
    others = channel.size - counts[least]
    if others == 0:
        return channel
    counts[least] = 0
    table: np.ndarray = _bytes(counts.cumsum().astype(np.float32) * (WHITE / np.float32(others)))
    changed: np.ndarray = table[channel]
    return changed


def _luma(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """ITU-R BT.601."""
    gray: np.ndarray = (np.float32(0.299) * red + np.float32(0.587) * green) + np.float32(0.114) * blue
    return gray


def _bytes(values: np.ndarray) -> np.ndarray:
    limited: np.ndarray = np.rint(np.clip(values, np.float32(0), WHITE))
    return limited.astype(np.uint8)
