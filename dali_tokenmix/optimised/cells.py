"""A grid of cells on an image: edges, neighbours, and what lies in a cell. Cells are numbered row by row."""

from __future__ import annotations

import numpy as np

Grid = tuple[int, int]


def edges(side: int, cells: int) -> np.ndarray:
    """(cells + 1,) where the cells of a side begin and end, in pixels: as equal as whole pixels allow."""
    return np.arange(cells + 1) * side // cells


def cell_of(side: int, cells: int) -> np.ndarray:
    """(side,) the cell that each pixel of a side lies in."""
    return np.repeat(np.arange(cells), np.diff(edges(side, cells)))


def neighbours(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """(E,) and (E,), the two cells of each border: a cell and the one below it, then one and that to its right."""
    cell = np.arange(grid[0] * grid[1]).reshape(grid)
    pairs = (cell[:-1], cell[1:]), (cell[:, :-1], cell[:, 1:])
    first, second = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    return first, second


def averaging(side: int, cells: int, length: int | None = None) -> np.ndarray:
    """(cells, length) weights, each row of sum 1: the mean over a cell of what `length` equal steps of a side say."""
    length = side if length is None else length
    begins, ends = edges(side, cells)[:-1, None], edges(side, cells)[1:, None]
    steps = np.arange(length + 1) * side / length
    inside = np.clip(np.minimum(ends, steps[1:]) - np.maximum(begins, steps[:-1]), 0, None)
    return np.asarray(inside / (ends - begins))


def areas(grid: Grid, image_size: tuple[int, int]) -> np.ndarray:
    """(cells,) the share of the image's pixels that each cell has."""
    rows, columns = (np.diff(edges(side, cells)) / side for side, cells in zip(image_size, grid, strict=True))
    return np.outer(rows, columns).ravel()


def salience(maps: np.ndarray, grid: Grid, image_size: tuple[int, int]) -> np.ndarray:
    """(N, cells) float64, each row of sum 1: maps (N, h, w) >= 0 pooled to the grid. Zeros only count as uniform."""
    rows, columns = (averaging(*of) for of in zip(image_size, grid, maps.shape[1:], strict=True))
    pooled = (rows @ maps.astype(np.float64) @ columns.T).reshape(len(maps), -1)
    total = pooled.sum(1, keepdims=True)
    return np.asarray(np.where(total > 0, pooled / np.where(total > 0, total, 1), 1 / pooled.shape[1]))
