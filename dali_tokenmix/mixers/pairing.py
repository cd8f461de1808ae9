"""Who is mixed with whom, and which samples share a draw: what all mixers have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..checks import choice, number
from ..plan import Batch

Mode = Literal["pair", "batch", "elem"]
Partner = Literal["flip", "random"]


@dataclass(frozen=True)
class Pairs:
    """partner: (N,) int32. group: (N,) int, samples with equal numbers share one draw, of `groups` in all.

    mixed: (N,) bool, False where probability or a missing partner leaves a sample as it is.
    """

    partner: np.ndarray
    group: np.ndarray
    groups: int
    mixed: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Base of the mixers. See TokenMix for what mode, partner and prob mean."""

    mode: Mode = "pair"
    partner: Partner = "flip"
    prob: float = 1.0

    def __post_init__(self) -> None:
        choice("mode", self.mode, ("pair", "batch", "elem"))
        choice("partner", self.partner, ("flip", "random"))
        number("prob", self.prob, at_least=0, at_most=1)

    def pairs(self, rng: np.random.Generator, batch: Batch) -> Pairs:
        """Draws the pairs, and with probability `prob` a group is mixed."""
        samples = np.arange(batch.samples)
        partner = flipped(batch) if self.partner == "flip" else _shuffled(rng, batch)
        keys = {"batch": np.zeros_like(samples), "pair": np.minimum(samples, partner), "elem": samples}[self.mode]
        _, group = np.unique(keys, return_inverse=True)
        groups = int(group.max()) + 1
        mixed = (rng.random(groups) < self.prob)[group] & (partner != samples)
        partner = np.where(mixed | mixed[partner], partner, samples).astype(np.int32)
        return Pairs(partner, group, groups, mixed)


def flipped(batch: Batch) -> np.ndarray:
    """(N,) partners i and valid-1-i; the one in the middle and the padding are their own."""
    partner = np.arange(batch.samples)
    partner[: batch.valid] = partner[: batch.valid][::-1]
    return partner


def _shuffled(rng: np.random.Generator, batch: Batch) -> np.ndarray:
    partner = np.arange(batch.samples)
    order = rng.permutation(batch.valid)
    half = batch.valid // 2
    one, two = order[:half], order[half : 2 * half]
    partner[one], partner[two] = two, one
    return partner
