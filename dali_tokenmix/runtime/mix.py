"""Kernels that mix: each of a plan's regions by the kernel of its geometry, in place, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..regions import (
    BlendShape,
    BoxShape,
    ChainsShape,
    ErasedBoxesShape,
    ErasedCellsShape,
    QuartersShape,
    RegionShape,
    ResizedShape,
    TokenGrid,
)
from .arrays import View
from .blend import blend
from .chains import chains
from .erase import erase_boxes, erase_cells
from .exchange import exchange_box, exchange_tokens
from .images import Images
from .launch import launch
from .quarters import quarters
from .resized import resized
from .work import Work

# shape -> function(images, rows, shape, region, threads); region: where in a row of the plan its data begins
GEOMETRIES: dict[type, Callable[[Images, View, Any, int, int | None], None]] = {
    TokenGrid: exchange_tokens,
    BoxShape: exchange_box,
    BlendShape: blend,
    ChainsShape: chains,
    QuartersShape: quarters,
    ErasedBoxesShape: erase_boxes,
    ErasedCellsShape: erase_cells,
    ResizedShape: resized,
}


def apply_plan(
    images: Images, rows: View, shapes: tuple[RegionShape, ...], offsets: tuple[int, ...], *, threads: int | None = None
) -> None:
    """Mixes images in place as packed plan rows say.

    rows: (N, bytes) uint8 on the images' device. shapes and offsets: of each region, and where in a row it begins.
    """
    if rows.shape[0] != images.samples:
        raise ValueError(f"plan is for {rows.shape[0]} samples, images are {images.samples}")
    if rows.device != images.view.device:
        raise ValueError(f"plan is on the {rows.device}, images are on the {images.view.device}")
    for shape, offset in zip(shapes, offsets, strict=True):
        if type(shape) not in GEOMETRIES:
            raise TypeError(f"no kernel mixes a {type(shape).__name__}")
        GEOMETRIES[type(shape)](images, rows, shape, offset, threads)


def mirror(images: Images, flips: View, *, threads: int | None = None) -> None:
    """Mirrors images left to right, in place, where flips, (N,) int32 on their device, is not 0."""
    work = Work(images.samples * images.planes * images.height, images.width // 2)
    pointers = (images.view.address, flips.address)
    launch(images.view.device, "mirror", "Mirror", pointers, work, threads=threads, image=images.struct)
