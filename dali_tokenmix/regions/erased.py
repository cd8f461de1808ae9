"""ErasedBoxes, ErasedCells: pixels that show nobody, but a colour or noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import RegionShape, Size, require
from .chains import ChainsShape
from .fill import Fill

if TYPE_CHECKING:
    from ..plan import Plan


@dataclass(frozen=True)
class ErasedBoxesShape:
    """At most so many boxes a sample."""

    boxes: int
    fill: Fill
    further = 0

    def field(self) -> tuple[Any, ...]:
        return "<i4", (2 + 4 * self.boxes,)

    def unpack(self, packed: np.ndarray) -> ErasedBoxes:
        words = np.ascontiguousarray(packed)
        boxes = words[:, 2:].reshape(len(words), self.boxes, 4)
        return ErasedBoxes(boxes, _seeds(words[:, :2]), self.fill)

    def neutral(self, samples: int) -> ErasedBoxes:
        return ErasedBoxes(np.zeros((samples, self.boxes, 4), np.int32), np.zeros(samples, np.uint64), self.fill)


@dataclass(frozen=True)
class ErasedBoxes:
    """boxes: (N, K, 4) int32 y0, x0, y1, x1 in pixels, half-open; empty where y0 == y1 or x0 == x1. They may overlap.

    seeds: (N,) uint64, of each sample's noise, if the fill is noise.
    """

    boxes: np.ndarray
    seeds: np.ndarray
    fill: Fill

    @property
    def shape(self) -> ErasedBoxesShape:
        return ErasedBoxesShape(self.boxes.shape[1], self.fill)

    def pack(self) -> np.ndarray:
        return np.concatenate([_words(self.seeds).view("<i4"), self.boxes.reshape(len(self.boxes), -1)], axis=1)

    def shares(self, samples: int, image_size: Size) -> np.ndarray:
        require(self.boxes, (samples, *self.boxes.shape[1:2], 4), "erased boxes", np.int32)
        require(self.seeds, (samples,), "seeds", np.uint64)
        y0, x0, y1, x1 = np.moveaxis(self.boxes, -1, 0)
        height, width = image_size
        if not ((y0 >= 0) & (y0 <= y1) & (y1 <= height) & (x0 >= 0) & (x0 <= x1) & (x1 <= width)).all():
            raise ValueError(f"erased boxes must lie inside the image of {height} x {width} pixels, got {self.boxes}")
        return np.zeros((samples, 1))

    def mask(self, image_size: Size) -> None:
        """No other sample shows."""

    def erased(self, image_size: Size) -> np.ndarray:
        """(N, H, W) bool."""
        y, x = (np.arange(side, dtype=np.int32) for side in image_size)
        y0, x0, y1, x1 = (edge[..., None] for edge in np.moveaxis(self.boxes, -1, 0))
        inside = ((y0 <= y) & (y < y1))[..., :, None] & ((x0 <= x) & (x < x1))[..., None, :]
        found: np.ndarray = inside.any(axis=1)
        return found

    def show(self, sources: np.ndarray, plan: Plan) -> None:
        sources[self.erased(plan.image_size)] = -1

    def only(self, samples: np.ndarray) -> ErasedBoxes:
        return ErasedBoxes(self.boxes * samples[:, None, None].astype(np.int32), self.seeds * samples, self.fill)


@dataclass(frozen=True)
class ErasedCellsShape:
    """Cells of any side on a grid of at most so many rows and columns."""

    grid: Size
    fill: Fill
    further = 0

    @property
    def cells(self) -> int:
        return self.grid[0] * self.grid[1]

    def field(self) -> tuple[Any, ...]:
        return "<u4", (3 + -(-self.cells // 32),)

    def unpack(self, packed: np.ndarray) -> ErasedCells:
        words = np.ascontiguousarray(packed)
        octets = np.ascontiguousarray(words[:, 3:]).view(np.uint8)
        bits = np.unpackbits(octets, axis=1, count=self.cells, bitorder="little")
        return ErasedCells(words[:, 2].astype(np.int32), bits.reshape(-1, *self.grid), _seeds(words[:, :2]), self.fill)

    def neutral(self, samples: int) -> ErasedCells:
        bits = np.zeros((samples, *self.grid), np.uint8)
        return ErasedCells(np.zeros(samples, np.int32), bits, np.zeros(samples, np.uint64), self.fill)


@dataclass(frozen=True)
class ErasedCells:
    """sides: (N,) int32 of a sample's cells in pixels, the last of a row or column perhaps cut off; 0: none are erased.

    bits: (N, gh, gw) uint8, 1 where a cell is erased; a sample uses as many rows and columns as it has cells.
    seeds: (N,) uint64, of each sample's noise, if the fill is noise.
    """

    sides: np.ndarray
    bits: np.ndarray
    seeds: np.ndarray
    fill: Fill

    @property
    def shape(self) -> ErasedCellsShape:
        return ErasedCellsShape(self.bits.shape[1:], self.fill)

    def pack(self) -> np.ndarray:
        words = np.zeros((len(self.sides), self.shape.field()[1][0]), "<u4")
        words[:, :2], words[:, 2] = _words(self.seeds), self.sides
        octets = np.packbits(self.bits.reshape(len(self.bits), -1), axis=1, bitorder="little")
        words.view(np.uint8)[:, 12 : 12 + octets.shape[1]] = octets
        return words

    def shares(self, samples: int, image_size: Size) -> np.ndarray:
        require(self.sides, (samples,), "sides", np.int32)
        require(self.bits, (samples, *self.bits.shape[1:3]), "erased cells", np.uint8)
        require(self.seeds, (samples,), "seeds", np.uint64)
        if (self.sides < 0).any() or (self.bits > 1).any():
            raise ValueError(f"sides must be >= 0 and erased cells 0 or 1, got {self.sides} and {self.bits.max()}")
        smallest = self.sides[self.sides > 0].min(initial=max(image_size))
        needed = tuple(-(-side // int(smallest)) for side in image_size)
        if needed[0] > self.bits.shape[1] or needed[1] > self.bits.shape[2]:
            raise ValueError(f"erased cells must be at least {needed} for sides of {smallest}, got {self.bits.shape}")
        return np.zeros((samples, 1))

    def mask(self, image_size: Size) -> None:
        """No other sample shows."""

    def erased(self, image_size: Size) -> np.ndarray:
        """(N, H, W) bool."""
        height, width = image_size
        found = np.zeros((len(self.sides), height, width), bool)
        for i, side in enumerate(self.sides):
            if side:
                found[i] = self.bits[i][np.arange(height)[:, None] // side, np.arange(width) // side]
        return found

    def show(self, sources: np.ndarray, plan: Plan) -> None:
        sources[self.erased(plan.image_size)] = -1

    def only(self, samples: np.ndarray) -> ErasedCells:
        bits = self.bits * samples[:, None, None].astype(np.uint8)
        return ErasedCells(self.sides * samples.astype(np.int32), bits, self.seeds * samples, self.fill)


def erases(shape: RegionShape) -> bool:
    """Whether such a region shows no other sample: it counts for no label."""
    return isinstance(shape, ErasedBoxesShape | ErasedCellsShape | ChainsShape)


def _words(seeds: np.ndarray) -> np.ndarray:
    """(N, 2) of 32 bits, the lower first."""
    return np.ascontiguousarray(seeds, "<u8").view("<u4").reshape(-1, 2)


def _seeds(words: np.ndarray) -> np.ndarray:
    """(N,) uint64 of _words()."""
    return np.ascontiguousarray(words).view("<u8")[:, 0].astype(np.uint64)
