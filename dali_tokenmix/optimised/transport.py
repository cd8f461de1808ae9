"""PuzzleMix's transport: cells move to where the mask shows them (Kim et al., ICML 2020, arXiv 2009.06962)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .cells import Grid, cell_of, edges


def best_moves(salience: np.ndarray, visible: np.ndarray, grid: Grid, xi: float) -> np.ndarray:
    """(N, cells) int: the cell whose content goes to each cell; a permutation, the cheapest there is.

    A move from i to j costs xi * distance(i, j) - salience[i] * visible[j]: what is salient goes to where the image is
    visible, unless that is far. distance is the squared one in cells, over the square of the longer side's last cell.

    Args:
        salience: (N, cells) of the image that is moved. visible: (N, cells) in [0, 1], its part in the mixed image.

    The assignment problem is solved exactly (scipy.optimize.linear_sum_assignment), with the graded `visible`; the
    paper's own iteration is an approximation of it for GPUs, with visible > 0 for visible.
    """
    moves = np.tile(np.arange(salience.shape[1]), (len(salience), 1))
    far = xi * distances(grid)
    for sample in np.flatnonzero(visible.any(1)):  # an invisible image stays: moving only costs
        _, moves[sample] = linear_sum_assignment(far - np.outer(visible[sample], salience[sample]))
    return moves


def distances(grid: Grid) -> np.ndarray:
    """(cells, cells), symmetric, see best_moves()."""
    y, x = (axis.ravel() for axis in np.indices(grid))
    squares = np.subtract.outer(y, y) ** 2 + np.subtract.outer(x, x) ** 2
    return np.asarray(squares / max(max(grid) - 1, 1) ** 2)


def moved(pixels: Tensor, moves: np.ndarray, grid: Grid) -> Tensor:
    """(N, C, H, W) images with their cells moved as best_moves() says.

    Cells differ by a pixel where the grid does not divide a side: content keeps its upper left corner, what a larger
    cell lacks is taken from beyond the source cell's edge, or at the image's edge repeated.
    """
    height, width = pixels.shape[2:]
    row, column = (
        torch.from_numpy(cell_of(side, cells)).to(pixels.device)
        for side, cells in zip((height, width), grid, strict=True)
    )
    from_row, from_column = np.divmod(moves.reshape(-1, *grid), grid[1])
    y = _sources(height, from_row).to(pixels.device)  # (N, height, columns of cells)
    x = _sources(width, from_column.swapaxes(1, 2)).to(pixels.device).transpose(1, 2)  # (N, rows of cells, width)
    index = y.mul_(width).index_select(2, column).add_(x.index_select(1, row)).flatten(1)
    return pixels.flatten(2).gather(2, index[:, None].expand(-1, pixels.shape[1], -1)).reshape(pixels.shape)


def _sources(side: int, cells: np.ndarray) -> Tensor:
    """(N, side, others): where each pixel of a side comes from: cells (N, cells of that side, others)."""
    begin, here = edges(side, cells.shape[1]), cell_of(side, cells.shape[1])
    offset = np.arange(side) - begin[here]
    return torch.from_numpy(np.clip(begin[cells[:, here]] + offset[:, None], 0, side - 1))
