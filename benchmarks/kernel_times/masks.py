"""TokenMix's block mask (arXiv 2207.08409) as one writes it in Python and NumPy."""

from __future__ import annotations

import math

import numpy as np

LEAST_ASPECT = 0.3
ATTEMPTS = 10  # in vain, before rectangles may be smaller


def block_mask(rng: np.random.Generator, grid: tuple[int, int], total: int, min_area: int) -> np.ndarray:
    """(gh, gw) bool, `total` true: rectangles of min_area tokens or more are added unless that overshoots."""
    mask, least, refused = np.zeros(grid, bool), min_area, 0
    while (left := total - int(mask.sum())) > 0:
        area = rng.uniform(min(least, left), left)
        aspect = math.exp(rng.uniform(-1, 1) * math.log(LEAST_ASPECT))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        added = 0
        if min(least, left) <= h * w and h <= grid[0] and w <= grid[1]:
            y, x = rng.integers(grid[0] - h + 1), rng.integers(grid[1] - w + 1)
            block = mask[y : y + h, x : x + w]
            added = h * w - int(block.sum())
            if added <= left:
                block[:] = True
            else:
                added = 0
        least, refused = (min_area, 0) if added else (least, refused + 1)
        if refused == ATTEMPTS:
            least, refused = max(1, min(least, left) // 2), 0
    return mask
