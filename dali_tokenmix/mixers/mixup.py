"""MixUp: a weighted sum with the partner (Zhang et al., ICLR 2018, arXiv 1710.09412)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..checks import number
from ..plan import Batch, Plan
from ..regions import Blend, BlendShape, Size
from .pairing import Pairing


@dataclass(frozen=True, kw_only=True)
class MixUp(Pairing):
    """Every pixel becomes lambda * own + (1 - lambda) * partner (Zhang et al., arXiv 1710.09412).

    Args:
        alpha: > 0; lambda ~ Beta(alpha, alpha).
        mode, partner, prob: as in TokenMix.

    lambda is float32 whatever the images' dtype; uint8 and float16 results are rounded to nearest, ties to even.
    Raises ValueError for a value out of range.
    """

    alpha: float = field(default=0.8, kw_only=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        number("alpha", self.alpha, above=0)

    def shapes(self, image_size: Size) -> tuple[BlendShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels."""
        return (BlendShape(),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws weights and partners for a batch."""
        pairs = self.pairs(rng, batch)
        weight = (1.0 - rng.beta(self.alpha, self.alpha, pairs.groups)).astype(np.float32)
        return Plan(pairs.partner, (Blend(weight[pairs.group]).only(pairs.mixed),), batch.image_size)
