"""Quarters: four crops patched together at one boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import SampleMask, Size, require

if TYPE_CHECKING:
    from ..plan import Plan

QUARTERS = 4  # upper left, upper right, lower left, lower right


@dataclass(frozen=True)
class QuartersShape:
    further = 2

    def field(self) -> tuple[Any, ...]:
        return "<i4", (2 + 2 * QUARTERS,)

    def unpack(self, packed: np.ndarray) -> Quarters:
        return Quarters(packed[:, :2], packed[:, 2:].reshape(-1, QUARTERS, 2))

    def neutral(self, samples: int) -> Quarters:
        return Quarters(np.zeros((samples, 2), np.int32), np.zeros((samples, QUARTERS, 2), np.int32))


@dataclass(frozen=True)
class Quarters:
    """The upper left quarter is a crop of the sample itself, the upper right one of its partner; the lower ones, left
    and right, of its two further samples. A crop is as large as the quarter that it fills.

    lower_right: (N, 2) int32, height and width of the lower right quarter in pixels, which is where the boundary lies,
        from the far corner: (0, 0) leaves the image to the sample itself, as it is.
    crops: (N, 4, 2) int32 y, x where each crop begins in its image, in the order above.
    """

    lower_right: np.ndarray
    crops: np.ndarray
    shape = QuartersShape()

    def pack(self) -> np.ndarray:
        return np.concatenate([self.lower_right, self.crops.reshape(len(self.crops), -1)], axis=1)

    def sizes(self, image_size: Size) -> np.ndarray:
        """(N, 4, 2) int32: height and width of each quarter."""
        return quarter_sizes(self.lower_right, image_size)

    def shares(self, samples: int, image_size: Size) -> np.ndarray:
        require(self.lower_right, (samples, 2), "lower_right", np.int32)
        require(self.crops, (samples, QUARTERS, 2), "crops", np.int32)
        height, width = image_size
        if not ((self.lower_right >= 0) & (self.lower_right <= image_size)).all():
            raise ValueError(f"lower_right must be within {height} x {width} pixels, got {self.lower_right}")
        sizes = self.sizes(image_size)
        if not ((self.crops >= 0) & (self.crops <= np.array(image_size) - sizes)).all():
            raise ValueError(f"crops must lie inside the image of {height} x {width} pixels, got {self.crops}")
        shares: np.ndarray = sizes[:, 1:].astype(np.float64).prod(2) / (height * width)
        return shares

    def mask(self, image_size: Size) -> SampleMask:
        y0, x0 = (np.array(image_size) - self.lower_right).T[:, :, None]
        y, x = (np.arange(side) for side in image_size)
        return SampleMask(((y >= y0)[:, :, None] | (x >= x0)[:, None, :]).astype(np.uint8), 1)

    def show(self, sources: np.ndarray, plan: Plan) -> None:
        for i in np.flatnonzero(self.lower_right.any(1)):
            y, x = np.array(plan.image_size) - self.lower_right[i]
            sources[i, :y, :x], sources[i, :y, x:] = i, plan.partner[i]
            sources[i, y:, :x], sources[i, y:, x:] = plan.further[i]

    def only(self, samples: np.ndarray) -> Quarters:
        kept = samples.astype(np.int32)
        return Quarters(self.lower_right * kept[:, None], self.crops * kept[:, None, None])


def quarter_sizes(lower_right: np.ndarray, image_size: Size) -> np.ndarray:
    """(N, 4, 2): height and width of the quarters, of those of the lower right one, (N, 2)."""
    upper_left = np.array(image_size, lower_right.dtype) - lower_right
    (top, left), (bottom, right) = upper_left.T, lower_right.T
    sides = [(top, left), (top, right), (bottom, left), (bottom, right)]
    return np.stack([np.stack(side, axis=1) for side in sides], axis=1)
