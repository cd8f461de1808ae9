"""Box: a rectangle of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import SampleMask, Size, require, show_partner

if TYPE_CHECKING:
    from ..plan import Plan


@dataclass(frozen=True)
class BoxShape:
    further = 0

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

    def shares(self, samples: int, image_size: Size) -> np.ndarray:
        require(self.boxes, (samples, 4), "boxes", np.int32)
        y0, x0, y1, x1 = self.boxes.T.astype(np.float64)
        height, width = image_size
        if not ((y0 >= 0) & (y0 <= y1) & (y1 <= height) & (x0 >= 0) & (x0 <= x1) & (x1 <= width)).all():
            raise ValueError(f"boxes must lie inside the image of {height} x {width} pixels, got {self.boxes}")
        shares: np.ndarray = (y1 - y0) * (x1 - x0) / (height * width)
        return shares[:, None]

    def mask(self, image_size: Size) -> SampleMask:
        y, x = (np.arange(side, dtype=np.int32) for side in image_size)
        y0, x0, y1, x1 = (edge[:, None] for edge in self.boxes.T)
        inside = ((y0 <= y) & (y < y1))[:, :, None] & ((x0 <= x) & (x < x1))[:, None, :]
        return SampleMask(inside.astype(np.uint8), 1)

    def show(self, sources: np.ndarray, plan: Plan) -> None:
        show_partner(self.mask(plan.image_size), sources, plan)

    def only(self, samples: np.ndarray) -> Box:
        return Box(self.boxes * samples[:, None].astype(np.int32))
