"""Regions that are drawn before anybody has looked at the images: placed by maps, they become a Box or Tokens.

A mixer draws how large they are; where they lie is the same for all, and means nothing. runtime/place.py moves them,
in packed plan rows, where the maps are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from .base import RegionShape
from .box import Box, BoxShape
from .tokens import TokenGrid, Tokens

Kind = Literal["saliency", "attention"]


@dataclass(frozen=True)
class PeakBoxShape(BoxShape):
    """Of a box to be centred at the peak of the partner's map. saliency: a Saliency."""

    saliency: Any
    maps: ClassVar[Kind] = "saliency"

    @property
    def maker(self) -> Any:
        """Makes the maps of a batch of images."""
        return self.saliency

    def unpack(self, packed: np.ndarray) -> PeakBox:
        return PeakBox(packed, self.saliency)

    def neutral(self, samples: int) -> PeakBox:
        return PeakBox(np.zeros((samples, 4), np.int32), self.saliency)

    def placed(self) -> BoxShape:
        return BoxShape()


@dataclass(frozen=True)
class PeakBox(Box):
    """boxes: (N, 4) int32 at (0, 0), of the height and width that were drawn."""

    saliency: Any

    @property
    def shape(self) -> PeakBoxShape:  # type: ignore[override]
        return PeakBoxShape(self.saliency)

    def only(self, samples: np.ndarray) -> PeakBox:
        return PeakBox(super().only(samples).boxes, self.saliency)


@dataclass(frozen=True)
class TopTokensShape(TokenGrid):
    """Of tokens to be those where the partner's map is highest."""

    maps: ClassVar[Kind] = "attention"
    maker: ClassVar[None] = None  # whatever teacher there is

    def unpack(self, packed: np.ndarray) -> TopTokens:
        return TopTokens(super().unpack(packed).bits, self.patch_size)

    def neutral(self, samples: int) -> TopTokens:
        return TopTokens(super().neutral(samples).bits, self.patch_size)

    def placed(self) -> TokenGrid:
        return TokenGrid(self.patch_size, self.grid)


@dataclass(frozen=True)
class TopTokens(Tokens):
    """bits: (N, gh, gw) uint8, the first so many cells 1."""

    @property
    def shape(self) -> TopTokensShape:
        return TopTokensShape(self.patch_size, self.bits.shape[1:])

    def only(self, samples: np.ndarray) -> TopTokens:
        return TopTokens(super().only(samples).bits, self.patch_size)


def kinds(shapes: Iterable[RegionShape]) -> tuple[Kind, ...]:
    """The maps that regions of these shapes are placed by, each once; none where nothing is to be placed."""
    return tuple(dict.fromkeys(shape.maps for shape in shapes if hasattr(shape, "maps")))


def placed_shapes(shapes: Iterable[RegionShape]) -> tuple[RegionShape, ...]:
    """What they are once they are placed: with the same layout of rows."""
    return tuple(shape.placed() if hasattr(shape, "placed") else shape for shape in shapes)
