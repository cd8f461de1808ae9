"""What mixers that only cut have in common: which samples are cut, which share a draw, and what cut pixels show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..checks import choice, number
from ..plan import Batch
from ..regions import Fill
from ..regions.fill import FillKind, FillValue
from .pairing import Mode, flipped


@dataclass(frozen=True)
class Cuts:
    """group: (N,) int, samples with equal numbers share one draw, of `groups` in all. cut: (N,) bool.

    seeds: (groups,) uint64, of their noise; 0 where the fill is none.
    """

    group: np.ndarray
    groups: int
    cut: np.ndarray
    seeds: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """Base of the mixers that cut. See Cutout for what fill, value, mode and prob mean."""

    fill: FillKind = "mean"
    value: FillValue = None
    mode: Mode = "elem"
    prob: float = 1.0

    partner = "flip"  # nobody's: any pairs will do for a Choice(mode="pair")

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", self.filling.value)
        choice("mode", self.mode, ("pair", "batch", "elem"))
        number("prob", self.prob, at_least=0, at_most=1)

    @property
    def filling(self) -> Fill:
        """What cut pixels show."""
        return Fill(self.fill, self.value)

    def cuts(self, rng: np.random.Generator, batch: Batch) -> Cuts:
        """Draws which samples are cut. A loader's padding is not."""
        samples = np.arange(batch.samples)
        keys = {"batch": np.zeros_like(samples), "pair": np.minimum(samples, flipped(batch)), "elem": samples}
        _, group = np.unique(keys[self.mode], return_inverse=True)
        groups = int(group.max()) + 1
        cut = (rng.random(groups) < self.prob)[group] & (samples < batch.valid)
        noise = self.fill == "noise"
        seeds = rng.integers(0, 2**64, groups, np.uint64) if noise else np.zeros(groups, np.uint64)
        return Cuts(group, groups, cut, seeds)
