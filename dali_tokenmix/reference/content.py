"""The definitions of what looks at images before they are mixed."""

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
