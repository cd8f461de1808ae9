"""How much a mixed image changes across the borders of its cells: PuzzleMix's data smoothness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .cells import Grid, averaging, edges


def contrasts(pixels: Tensor, partner: np.ndarray, grid: Grid, scale: Tensor) -> np.ndarray:
    """(N, 2, 2, E) in [0, 1]: [a, b] is where a border's first cell shows a, its second b: 0 the sample, 1 its partner.

    The mean absolute difference of the pixels that touch across the border, over channels and the border's length.
    Borders are in the order of cells.neighbours().

    Args:
        pixels: (N, C, H, W). partner: (N,), an involution. scale: as inputs.unit_scale() gives it.
    """
    height, width = pixels.shape[2:]
    below, right = edges(height, grid[0])[1:-1], edges(width, grid[1])[1:-1]
    columns, rows = (
        torch.from_numpy(averaging(side, cells)).to(pixels.device, torch.float32)
        for side, cells in ((width, grid[1]), (height, grid[0]))
    )
    lines = pixels[:, :, below - 1].float() * scale, pixels[:, :, below].float() * scale
    vertical = _by_source(*lines, partner, lambda difference: difference @ columns.T)
    lines = pixels[..., right - 1].float() * scale, pixels[..., right].float() * scale
    horizontal = _by_source(*lines, partner, lambda difference: rows @ difference)
    return np.concatenate([vertical, horizontal], axis=3)


def _by_source(first: Tensor, second: Tensor, partner: np.ndarray, pooled: Callable[[Tensor], Tensor]) -> np.ndarray:
    """(N, 2, 2, borders) from the lines of pixels on both sides of borders, each (N, C, ...)."""
    others = torch.from_numpy(partner).long().to(first.device)
    same, mixed = (pooled((first - line).abs().mean(1)).flatten(1) for line in (second, second[others]))
    # An involution: a border from partner to sample is the partner's border from sample to partner
    by_source = torch.stack([same, mixed, mixed[others], same[others]], 1).clamp_(max=1)
    return by_source.reshape(len(same), 2, 2, -1).double().cpu().numpy()
