"""The definitions of what looks at images before they are mixed, and of where regions are placed by it."""

from __future__ import annotations

import numpy as np

Size = tuple[int, int]


def luminance(images: np.ndarray, grid: Size) -> np.ndarray:
    """(N, h, w) float32: the mean luminance of (N, H, W, C) images in each cell of a grid, in their own values.

    A pixel is in one cell only. Sums go row by row in float64, which is exact for uint8.
    """
    out = np.zeros((len(images), *grid), np.float32)
    channels = images.shape[3]
    weights = (299, 587, 114) if channels == 3 else (1,) * channels
    for n, cell_y, cell_x in np.ndindex(*out.shape):
        total, pixels = 0.0, 0
        rows, columns = cell(cell_y, images.shape[1], grid[0]), cell(cell_x, images.shape[2], grid[1])
        for y in rows:
            sum_of_row = 0.0
            for x in columns:
                value = 0.0
                for weight, channel in zip(weights, images[n, y, x], strict=True):
                    value += weight * float(channel)
                sum_of_row, pixels = sum_of_row + value, pixels + 1
            total += sum_of_row
        out[n, cell_y, cell_x] = total / (float(sum(weights)) * pixels)
    return out


def cell(k: int, side: int, cells: int) -> range:
    """The pixels of cell k of a side."""
    return range(k * side // cells, (k + 1) * side // cells)


def placed_at_peak(boxes: np.ndarray, partner: np.ndarray, maps: np.ndarray, image_size: Size) -> np.ndarray:
    """(N, 4) int32 y0, x0, y1, x1: boxes of the same height and width, in the middle the peak of the partner's map.

    The peak is the first of the largest values, row by row, and its place the pixel in the middle of its cell. What
    lies outside is cut off. Boxes without pixels stay as they are. NaN is below all.
    """
    out = np.array(boxes, np.int32)
    for n, (y0, x0, y1, x1) in enumerate(boxes):
        if y0 == y1 or x0 == x1:
            continue
        values = maps[partner[n]]
        peak = np.unravel_index(np.argmax(np.where(np.isnan(values), -np.inf, values)), values.shape)
        for axis, length in enumerate((y1 - y0, x1 - x0)):
            side, cells = image_size[axis], values.shape[axis]
            start = (2 * int(peak[axis]) + 1) * side // (2 * cells) - length // 2
            out[n, axis], out[n, axis + 2] = max(0, start), min(side, start + length)
    return out


def placed_on_top(bits: np.ndarray, partner: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """(N, gh, gw) uint8: as many cells as bits has, where the partner's map on them is highest; of equals the first."""
    out = np.zeros_like(bits)
    for n, mask in enumerate(bits):
        values = maps[partner[n]].ravel()
        order = np.lexsort((np.arange(values.size), -values))  # NaN last
        out[n].ravel()[order[: int(mask.sum())]] = 1
    return out
