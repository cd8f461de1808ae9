"""Tokens: a bit mask on a grid of patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import integer
from .base import SampleMask, Size, edges, require, show_partner

if TYPE_CHECKING:
    from ..plan import Plan


@dataclass(frozen=True)
class TokenGrid:
    """A grid of tokens, patch_size pixels a side; 0: of so many cells of one size, whatever the image's size."""

    patch_size: int
    grid: Size
    further = 0

    @classmethod
    def of(cls, patch_size: int, image_size: Size) -> TokenGrid:
        height, width = image_size
        return cls(patch_size, (-(-height // patch_size), -(-width // patch_size)))

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    def field(self) -> tuple[Any, ...]:
        return "<u4", (-(-self.tokens // 32),)

    def unpack(self, packed: np.ndarray) -> Tokens:
        octets = np.ascontiguousarray(packed).view(np.uint8)
        bits = np.unpackbits(octets, axis=1, count=self.tokens, bitorder="little")
        return Tokens(bits.reshape(-1, *self.grid), self.patch_size)

    def neutral(self, samples: int) -> Tokens:
        return Tokens(np.zeros((samples, *self.grid), np.uint8), self.patch_size)


@dataclass(frozen=True)
class Tokens:
    """bits: (N, gh, gw) uint8 of 0 and 1, on a grid of patch_size pixels, or of gh x gw cells where that is 0."""

    bits: np.ndarray
    patch_size: int

    @property
    def shape(self) -> TokenGrid:
        return TokenGrid(self.patch_size, self.bits.shape[1:])

    def pack(self) -> np.ndarray:
        octets = np.packbits(self.bits.reshape(len(self.bits), -1), axis=1, bitorder="little")
        words = np.zeros((len(octets), self.shape.field()[1][0] * 4), np.uint8)
        words[:, : octets.shape[1]] = octets
        return words.view("<u4")

    def shares(self, samples: int, image_size: Size) -> np.ndarray:
        patch = integer("patch_size", self.patch_size, at_least=0)
        grid = TokenGrid.of(patch, image_size).grid if patch else self.bits.shape[1:]
        require(self.bits, (samples, *grid), "token mask", np.uint8)
        if not all(0 < cells <= side for cells, side in zip(grid, image_size, strict=True)):
            raise ValueError(f"token mask must have 1 to {image_size[0]} x {image_size[1]} cells, got {grid}")
        if (self.bits > 1).any():
            raise ValueError(f"token mask must be 0 or 1, got {self.bits.max()}")
        rows, columns = (np.diff(edges(*sides, patch)) for sides in zip(image_size, grid, strict=True))
        shares: np.ndarray = (self.bits @ columns.astype(np.float64)) @ rows / (image_size[0] * image_size[1])
        return shares[:, None]

    def mask(self, image_size: Size) -> SampleMask:
        return SampleMask(self.bits, self.patch_size)

    def show(self, sources: np.ndarray, plan: Plan) -> None:
        show_partner(self.mask(plan.image_size), sources, plan)

    def only(self, samples: np.ndarray) -> Tokens:
        return Tokens(self.bits * samples[:, None, None].astype(np.uint8), self.patch_size)
