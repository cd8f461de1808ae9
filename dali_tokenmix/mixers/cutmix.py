"""CutMix: one box of the partner (Yun et al., ICCV 2019, arXiv 1905.04899)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..checks import number
from ..plan import Batch, Plan
from ..regions import Box, BoxShape, Size
from .pairing import Pairing
from .token_mix import clipped_boxes


@dataclass(frozen=True, kw_only=True)
class CutMix(Pairing):
    """A box of the partner replaces the same box of the sample (Yun et al., arXiv 1905.04899).

    Args:
        alpha: > 0; the box's share of the image is 1 - lambda with lambda ~ Beta(alpha, alpha). The box has the image's
            aspect, its centre is uniform, and what lies outside the image is clipped.
        minmax: (least, most) in [0, 1]; instead of alpha, each side of the box is uniform between these shares of
            the image's side, and the box lies wholly inside (timm's cutmix_minmax).
        mode, partner, prob: as in TokenMix.

    Label weights are counted from the pixels that are pasted, not from the lambda that was drawn.
    Raises ValueError for a value out of range.
    """

    alpha: float = field(default=1.0, kw_only=False)
    minmax: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        number("alpha", self.alpha, above=0)
        if self.minmax is not None:
            if not isinstance(self.minmax, tuple | list) or len(self.minmax) != 2:
                raise ValueError(f"minmax must be two numbers (least, most), got {self.minmax!r}")
            number("minmax[0]", self.minmax[0], at_least=0, at_most=1)
            number("minmax[1]", self.minmax[1], at_least=self.minmax[0], at_most=1)

    def shapes(self, image_size: Size) -> tuple[BoxShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels."""
        return (BoxShape(),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws boxes and partners for a batch."""
        pairs = self.pairs(rng, batch)
        if self.minmax is None:
            share = 1.0 - rng.beta(self.alpha, self.alpha, pairs.groups)
            boxes = clipped_boxes(rng, batch.image_size, share)
        else:
            boxes = inner_boxes(rng, batch.image_size, self.minmax, pairs.groups)
        return Plan(pairs.partner, (Box(boxes[pairs.group]).only(pairs.mixed),), batch.image_size)


def inner_boxes(rng: np.random.Generator, size: Size, minmax: tuple[float, float], count: int) -> np.ndarray:
    """Boxes wholly inside, each side uniform between two shares of the image's: (N, 4) int32 y0, x0, y1, x1."""
    least, most = minmax
    edges = []
    for side in size:
        length = rng.integers(int(side * least), int(side * most) + 1, count)
        start = rng.integers(0, side - length + 1)
        edges.append((start, start + length))
    (y0, y1), (x0, x1) = edges
    return np.stack([y0, x0, y1, x1], axis=1).astype(np.int32)
