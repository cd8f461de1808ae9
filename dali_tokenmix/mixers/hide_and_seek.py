"""HideAndSeek: cells of a grid are hidden at random (Singh & Lee, ICCV 2017, arXiv 1704.04232)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import integer, number
from ..plan import Batch, Plan
from ..regions import ErasedCells, ErasedCellsShape, Size
from .cutting import Cutting


@dataclass(frozen=True, kw_only=True)
class HideAndSeek(Cutting):
    """Cells of a grid are hidden at random, and the label stays (Singh & Lee, ICCV 2017, arXiv 1704.04232).

    Args:
        sizes: sides of a cell in pixels, >= 0, of which one is drawn for each sample, all as likely; 0 hides nothing.
            The grid begins in the upper left corner, and the last cells of a row or column are cut off where the image
            ends.
        hide_prob: probability in [0, 1] that a cell is hidden.
        fill, value: as in Cutout. The paper fills with the mean of the data set, so that what a network sees of hidden
            pixels is on average what it sees of others.
        mode: as in Cutout.
        prob: probability that a sample (a pair, a batch: see mode) gets a grid at all.

    The released code for ImageNet draws from sizes and hides as here. A size above the image's side hides all of it, or
    nothing.

    Raises ValueError or TypeError for an argument that makes no sense, and where images are hidden whose channels or
    dtype `value` does not fit.
    """

    sizes: Sequence[int] = (0, 16, 32, 44, 56)
    hide_prob: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.sizes, tuple | list) or len(self.sizes) == 0:
            raise ValueError(f"sizes must be a list of at least one side in pixels, got {self.sizes!r}")
        sizes = tuple(integer(f"sizes[{k}]", side, at_least=0) for k, side in enumerate(self.sizes))
        if not any(sizes):
            raise ValueError(f"sizes must not all be 0, got {self.sizes!r}")
        object.__setattr__(self, "sizes", sizes)
        number("hide_prob", self.hide_prob, at_least=0, at_most=1)

    def shapes(self, image_size: Size) -> tuple[ErasedCellsShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels: a bit for each of the smallest cells."""
        smallest = min(side for side in self.sizes if side)
        height, width = (-(-side // smallest) for side in image_size)
        return (ErasedCellsShape((height, width), self.filling),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws sizes and cells for a batch."""
        cuts = self.cuts(rng, batch)
        (shape,) = self.shapes(batch.image_size)
        sides = rng.choice(np.array(self.sizes, np.int32), cuts.groups)
        hidden = (rng.random((cuts.groups, *shape.grid)) < self.hide_prob) & _cells(sides, shape.grid, batch.image_size)
        bits, group = hidden.astype(np.uint8), cuts.group
        region = ErasedCells(sides[group], bits[group], cuts.seeds[group], self.filling).only(cuts.cut)
        return Plan(np.arange(batch.samples), (region,), batch.image_size)


def _cells(sides: np.ndarray, grid: Size, image_size: Size) -> np.ndarray:
    """(groups, gh, gw) bool: the rows and columns that a grid of cells of these sides has."""
    rows, columns = (
        np.arange(most) * sides[:, None] < np.where(sides > 0, pixels, 0)[:, None]
        for most, pixels in zip(grid, image_size, strict=True)
    )
    cells: np.ndarray = rows[:, :, None] & columns[:, None, :]
    return cells
