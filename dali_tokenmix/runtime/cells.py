"""A plan's regions on a grid of cells laid over the image, as the kernels that count shares take them."""

from __future__ import annotations

from typing import Any

from ..regions import BlendShape, BoxShape, QuartersShape, RegionShape, Size, TokenGrid, erases
from .params import MOST_REGIONS

KINDS = {TokenGrid: 0, BoxShape: 1, BlendShape: 2, QuartersShape: 3}  # RegionKind of shares.cuh


def cells(
    grid: Size, image_size: Size, shapes: tuple[RegionShape, ...], offsets: tuple[int, ...], patch: int = 0
) -> tuple[Any, ...]:
    """Cells of shares.cuh. patch: 0 for cells of one size. Raises ValueError for more regions than it holds.

    What is erased counts for nobody: such regions are left out.
    """
    counted = [(shape, offset) for shape, offset in zip(shapes, offsets, strict=True) if not erases(shape)]
    if len(counted) > MOST_REGIONS:
        raise ValueError(f"a plan that is scored has at most {MOST_REGIONS} regions, got {len(counted)}")
    if strangers := [type(shape).__name__ for shape, _ in counted if type(shape) not in KINDS]:
        raise ValueError(
            f"a plan that is scored has regions of tokens, boxes, blends or quarters, got {', '.join(strangers)}"
        )
    regions = [_region(shape, offset) for shape, offset in counted]
    return (*image_size, *grid, patch, len(regions), regions + [(0,) * 5] * (MOST_REGIONS - len(regions)))


def _region(shape: RegionShape, offset: int) -> tuple[int, ...]:
    tokens = (shape.patch_size, *shape.grid) if isinstance(shape, TokenGrid) else (0, 0, 0)
    return KINDS[type(shape)], offset, *tokens
