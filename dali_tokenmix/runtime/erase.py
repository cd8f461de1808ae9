"""Erase: boxes or cells of images are filled with a colour or with noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..regions.erased import ErasedBoxesShape, ErasedCellsShape
from ..regions.fill import Fill
from .arrays import View
from .images import Images
from .launch import launch
from .params import MOST_TILES
from .work import Work

TILE = 16  # bytes of one, in erase.cu


def erase_boxes(images: Images, rows: View, shape: ErasedBoxesShape, region: int, threads: int | None) -> None:
    """The boxes that lie in each row of the plan from byte `region` on."""
    _erase("boxes", images, rows, region, shape.fill, shape.boxes, threads)


def erase_cells(images: Images, rows: View, shape: ErasedCellsShape, region: int, threads: int | None) -> None:
    """The cells whose bits lie in each row of the plan from byte `region` on."""
    _erase("cells", images, rows, region, shape.fill, shape.grid[1], threads)


def _erase(kind: str, images: Images, rows: View, region: int, fill: Fill, parts: int, threads: int | None) -> None:
    item = images.view.itemsize
    channels = images.planes * images.pixel_bytes // item
    if channels > MOST_TILES:
        raise ValueError(f"images that are erased must have at most {MOST_TILES} channels, got {channels}")
    noise = fill.kind == "noise"
    tiles, colour = (1, 0) if noise else _colour(fill, images.view.dtype, images.planes, images.pixel_bytes // item)
    launch(
        images.view.device,
        f"erase_{kind}_{images.view.dtype if noise else 'colour'}",
        "Erase",
        (images.view.address, rows.address),
        Work(images.samples * images.height, -(-images.width * images.pixel_bytes // TILE)),
        threads=threads,
        image=images.struct,
        rows=(rows.strides[0], region),
        channels=channels,
        parts=parts,
        wide=images.widest(1) == TILE,
        tiles=tiles,
        colour=colour,
    )


@lru_cache
def _colour(fill: Fill, dtype: str, planes: int, channels: int) -> tuple[int, np.ndarray]:
    """How many tiles a pixel's pattern takes, and the words of all tiles: of one pattern, or of each plane's.

    channels: that lie side by side in a pixel.
    """
    pixel = fill.pixel(dtype, planes * channels).reshape(planes, channels)
    size = pixel.itemsize * channels
    tiles = size // int(np.gcd(size, TILE))
    words = np.zeros(2 * MOST_TILES, np.uint64)
    pattern = np.tile(pixel, tiles * TILE // size).view(np.uint64).reshape(-1)
    words[: len(pattern)] = pattern
    words.setflags(write=False)
    return tiles, words
