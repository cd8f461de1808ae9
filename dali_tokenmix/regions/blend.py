"""Blend: a weight for the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Size, require

if TYPE_CHECKING:
    from ..plan import Plan


@dataclass(frozen=True)
class BlendShape:
    further = 0

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

    def shares(self, samples: int, image_size: Size) -> np.ndarray:
        require(self.weight, (samples,), "blend weight", np.float32)
        if not ((self.weight >= 0) & (self.weight <= 1)).all():
            raise ValueError(f"blend weight must be in [0, 1], got {self.weight}")
        return self.weight.astype(np.float64)[:, None]

    def mask(self, image_size: Size) -> None:
        return None

    def show(self, sources: np.ndarray, plan: Plan) -> None:
        """Every pixel shows both; sources keep naming its own."""

    def only(self, samples: np.ndarray) -> Blend:
        return Blend(self.weight * samples.astype(np.float32))
