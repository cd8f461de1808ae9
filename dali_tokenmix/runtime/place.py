"""Kernels that move what was drawn to where maps of the images say, in packed plan rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..regions import PeakBoxShape, RegionShape, Size, TopTokensShape
from .arrays import View, contiguous_strides
from .launch import launch
from .score import crop_maps
from .scratch import scratch
from .work import Work


def place(
    rows: View, maps: View, shape: RegionShape, region: int, image_size: Size, *, threads: int | None = None
) -> None:
    """Places one region of packed plan rows, (N, bytes) uint8, by maps (N, h, w) float32 of the samples.

    region: where in a row its data begins. Where it is not empty, own and other become 1 - and the share of the pixels
    that it covers now. Only a shape that PLACES knows can be placed.
    """
    if maps.shape[0] != rows.shape[0] or maps.device != rows.device:
        raise ValueError(
            f"maps must be of {rows.shape[0]} samples on the {rows.device}, got {maps.shape[0]} on the {maps.device}"
        )
    PLACES[type(shape)](rows, maps, shape, region, image_size, threads or 1)


def place_peak(rows: View, maps: View, _: PeakBoxShape, region: int, size: Size, threads: int) -> None:
    """A box, centred at the peak of the partner's map and cut off at the border."""
    samples, map_h = maps.shape[:2]
    peaks = _memory(maps, (samples, map_h), "int32")
    scalars = _scalars(rows, maps, region, size)
    launch(
        maps.device,
        "place_row_peaks",
        "Place",
        (maps.address, peaks.address),
        Work(samples * map_h, 1),
        threads=threads,
        **scalars,
    )
    pointers = (rows.address, maps.address, peaks.address)
    launch(rows.device, "place_peak", "Place", pointers, Work(samples, 1), threads=threads, **scalars)


def place_top(rows: View, maps: View, shape: TopTokensShape, region: int, size: Size, threads: int) -> None:
    """Tokens, as many as are set, where the partner's map is highest: ROI-aligned to the grid, if it has another."""
    maps = _on_grid(maps, shape.grid, threads)
    pointers = (rows.address, maps.address)
    work, scalars = Work(maps.shape[0], 1), _scalars(rows, maps, region, size)
    launch(rows.device, "place_top", "Place", pointers, work, threads=threads, **scalars)


PLACES: dict[type, Callable[[View, View, Any, int, Size, int], None]] = {
    PeakBoxShape: place_peak,
    TopTokensShape: place_top,
}


def _on_grid(maps: View, grid: Size, threads: int) -> View:
    if maps.shape[1:] == grid:
        return maps
    cut = _memory(maps, (maps.shape[0], *grid), "float32")
    crop_maps(maps, None, None, cut, threads=threads)
    return cut


def _scalars(rows: View, maps: View, region: int, size: Size) -> dict[str, Any]:
    samples, map_h, map_w = maps.shape
    names = ("samples", "height", "width", "map_h", "map_w")
    return {"rows": (rows.strides[0], region), **dict(zip(names, (samples, *size, map_h, map_w), strict=True))}


def _memory(like: View, shape: tuple[int, ...], dtype: str) -> View:
    """Of 4-byte elements, for the next launch on the same device."""
    address, owner = scratch(like.device, 4 * math.prod(shape))
    return View(address, shape, contiguous_strides(shape, 4), dtype, 4, like.device, True, owner)
