"""Resized: a box in which the whole partner shows, as far as the box lies inside the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import SampleMask, Size, require, show_partner

if TYPE_CHECKING:
    from ..plan import Plan

FARTHEST = 2**24  # pixels: sides and places that binary32 holds exactly


@dataclass(frozen=True)
class ResizedShape:
    further = 0

    def field(self) -> tuple[Any, ...]:
        return "<i4", (4,)

    def unpack(self, packed: np.ndarray) -> Resized:
        return Resized(packed)

    def neutral(self, samples: int) -> Resized:
        return Resized(np.zeros((samples, 4), np.int32))


@dataclass(frozen=True)
class Resized:
    """boxes: (N, 4) int32 top, left, height, width in pixels; empty where a side is 0.

    The box is the whole resized partner. It may reach over the image's edges, or lie beyond them: what is there is cut
    off, so that a part of the partner shows.
    """

    boxes: np.ndarray
    shape = ResizedShape()

    def pack(self) -> np.ndarray:
        return self.boxes

    def shares(self, samples: int, image_size: Size) -> np.ndarray:
        require(self.boxes, (samples, 4), "resized boxes", np.int32)
        height, width = self.boxes.T[2:]
        if not ((height >= 0) & (width >= 0)).all() or not ((self.boxes >= -FARTHEST) & (self.boxes <= FARTHEST)).all():
            raise ValueError(f"resized boxes must have sides >= 0 and lie within 2**24 pixels, got {self.boxes}")
        y0, x0, y1, x1 = self.visible(image_size).T.astype(np.float64)
        shares: np.ndarray = (y1 - y0) * (x1 - x0) / (image_size[0] * image_size[1])
        return shares[:, None]

    def visible(self, image_size: Size) -> np.ndarray:
        """(N, 4) int32 y0, x0, y1, x1: what of the boxes lies inside the image."""
        ends = self.boxes[:, :2] + self.boxes[:, 2:]
        clipped: np.ndarray = np.clip(np.hstack([self.boxes[:, :2], ends]), 0, image_size * 2).astype(np.int32)
        return clipped

    def mask(self, image_size: Size) -> SampleMask:
        y, x = (np.arange(side, dtype=np.int32) for side in image_size)
        y0, x0, y1, x1 = (edge[:, None] for edge in self.visible(image_size).T)
        inside = ((y0 <= y) & (y < y1))[:, :, None] & ((x0 <= x) & (x < x1))[:, None, :]
        return SampleMask(inside.astype(np.uint8), 1)

    def show(self, sources: np.ndarray, plan: Plan) -> None:
        show_partner(self.mask(plan.image_size), sources, plan)

    def only(self, samples: np.ndarray) -> Resized:
        return Resized(self.boxes * samples[:, None].astype(np.int32))
