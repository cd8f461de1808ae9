"""Where the partner shows: Tokens (a bit mask on the patch grid), Box (pixels), Blend (a weight).

A region holds the data of a batch; its shape (TokenGrid, BoxShape, BlendShape) says how a sample's data is packed
into a plan row, and is known before anything is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from .checks import integer

Size = tuple[int, int]


class SampleMask(NamedTuple):
    """A mask on a grid: (N, gh, gw) uint8, cells of patch x patch pixels, the last ones perhaps cut off."""

    grid: np.ndarray
    patch: int

    def pixels(self, image_size: Size) -> np.ndarray:
        rows, columns = (np.arange(side) // self.patch for side in image_size)
        return self.grid[:, rows[:, None], columns]


class RegionShape(Protocol):
    def field(self) -> tuple[Any, ...]: ...
    def unpack(self, packed: np.ndarray) -> Region: ...
    def neutral(self, samples: int) -> Region: ...


class Region(Protocol):
    @property
    def shape(self) -> RegionShape: ...
    def pack(self) -> np.ndarray: ...
    def share(self, samples: int, image_size: Size) -> np.ndarray: ...
    def mask(self, image_size: Size) -> SampleMask | None: ...
    def only(self, samples: np.ndarray) -> Region: ...


@dataclass(frozen=True)
class TokenGrid:
    """A grid of tokens, patch_size pixels a side."""

    patch_size: int
    grid: Size

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
    """mask: (N, gh, gw) uint8 of 0 and 1, on a grid of patch_size pixels."""

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

    def share(self, samples: int, image_size: Size) -> np.ndarray:
        integer("patch_size", self.patch_size, at_least=1)
        _require(self.bits, (samples, *TokenGrid.of(self.patch_size, image_size).grid), "token mask", np.uint8)
        if (self.bits > 1).any():
            raise ValueError(f"token mask must be 0 or 1, got {self.bits.max()}")
        rows, columns = (
            np.minimum(self.patch_size, side - np.arange(cells) * self.patch_size)
            for side, cells in zip(image_size, self.bits.shape[1:], strict=True)
        )
        shares: np.ndarray = (self.bits @ columns.astype(np.float64)) @ rows / (image_size[0] * image_size[1])
        return shares

    def mask(self, image_size: Size) -> SampleMask:
        return SampleMask(self.bits, self.patch_size)

    def only(self, samples: np.ndarray) -> Tokens:
        return Tokens(self.bits * samples[:, None, None].astype(np.uint8), self.patch_size)


@dataclass(frozen=True)
class BoxShape:
    def field(self) -> tuple[Any, ...]:
        return "<i4", (4,)

    def unpack(self, packed: np.ndarray) -> Box:
        return Box(packed)

    def neutral(self, samples: int) -> Box:
        return Box(np.zeros((samples, 4), np.int32))


@dataclass(frozen=True)
class Box:
    """boxes: (N, 4) int32 y0, x0, y1, x1 in pixels, half-open; empty where y0 == y1 or x0 == x1."""

    boxes: np.ndarray
    shape = BoxShape()

    def pack(self) -> np.ndarray:
        return self.boxes

    def share(self, samples: int, image_size: Size) -> np.ndarray:
        _require(self.boxes, (samples, 4), "boxes", np.int32)
        y0, x0, y1, x1 = self.boxes.T.astype(np.float64)
        height, width = image_size
        if not ((y0 >= 0) & (y0 <= y1) & (y1 <= height) & (x0 >= 0) & (x0 <= x1) & (x1 <= width)).all():
            raise ValueError(f"boxes must lie inside the image of {height} x {width} pixels, got {self.boxes}")
        shares: np.ndarray = (y1 - y0) * (x1 - x0) / (height * width)
        return shares

    def mask(self, image_size: Size) -> SampleMask:
        y, x = (np.arange(side, dtype=np.int32) for side in image_size)
        y0, x0, y1, x1 = (edge[:, None] for edge in self.boxes.T)
        inside = ((y0 <= y) & (y < y1))[:, :, None] & ((x0 <= x) & (x < x1))[:, None, :]
        return SampleMask(inside.astype(np.uint8), 1)

    def only(self, samples: np.ndarray) -> Box:
        return Box(self.boxes * samples[:, None].astype(np.int32))


@dataclass(frozen=True)
class BlendShape:
    def field(self) -> tuple[Any, ...]:
        return ("<f4",)

    def unpack(self, packed: np.ndarray) -> Blend:
        return Blend(packed)

    def neutral(self, samples: int) -> Blend:
        return Blend(np.zeros(samples, np.float32))


@dataclass(frozen=True)
class Blend:
    """weight: (N,) float32 in [0, 1], the partner's part in the sum (1 - weight) * own + weight * partner."""

    weight: np.ndarray
    shape = BlendShape()

    def pack(self) -> np.ndarray:
        return self.weight

    def share(self, samples: int, image_size: Size) -> np.ndarray:
        _require(self.weight, (samples,), "blend weight", np.float32)
        if not ((self.weight >= 0) & (self.weight <= 1)).all():
            raise ValueError(f"blend weight must be in [0, 1], got {self.weight}")
        return self.weight.astype(np.float64)

    def mask(self, image_size: Size) -> None:
        return None

    def only(self, samples: np.ndarray) -> Blend:
        return Blend(self.weight * samples.astype(np.float32))


def _require(array: np.ndarray, shape: tuple[int, ...], name: str, dtype: type) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise TypeError(f"{name} must be a NumPy array of {dtype.__name__}, got {getattr(array, 'dtype', type(array))}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
