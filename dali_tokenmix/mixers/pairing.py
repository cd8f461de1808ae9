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


@dataclass(frozen=True)
class Quads(Pairs):
    """Pairs of pairs: group, groups and mixed as in Pairs, where mode="pair" means these four.

    further: (N, 2) int32, the two of the other pair, which see this sample and its partner as theirs. A pair that is
    left over is crosswise its own: the partner, and the sample itself.
    """

    further: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Base of the mixers. See TokenMix for what mode, partner and prob mean."""

    mixes = 2  # samples that show in one; no option

    mode: Mode = "pair"
    partner: Partner = "flip"
    prob: float = 1.0

    def __post_init__(self) -> None:
        choice("mode", self.mode, ("pair", "batch", "elem"))
        choice("partner", self.partner, ("flip", "random"))
        number("prob", self.prob, at_least=0, at_most=1)

    def pairs(self, rng: np.random.Generator, batch: Batch) -> Pairs:
        """Draws the pairs, and with probability `prob` a group is mixed."""
        samples, partner = np.arange(batch.samples), self._partners(rng, batch)
        group, groups, mixed = self._groups(rng, np.minimum(samples, partner), partner != samples)
        partner = np.where(mixed | mixed[partner], partner, samples).astype(np.int32)
        return Pairs(partner, group, groups, mixed)

    def quads(self, rng: np.random.Generator, batch: Batch) -> Quads:
        """Draws pairs of pairs, and with probability `prob` a group is mixed."""
        samples, partner = np.arange(batch.samples), self._partners(rng, batch)
        across = crossed(partner) if self.partner == "flip" else crossed(partner, rng)
        shown = np.stack([samples, partner, across, across[partner]], axis=1)
        group, groups, mixed = self._groups(rng, shown.min(1), partner != samples)
        shown = np.where(mixed[shown].any(1)[:, None], shown, samples[:, None]).astype(np.int32)
        return Quads(shown[:, 1], group, groups, mixed, shown[:, 2:])

    def _partners(self, rng: np.random.Generator, batch: Batch) -> np.ndarray:
        return flipped(batch) if self.partner == "flip" else _shuffled(rng, batch)

    def _groups(
        self, rng: np.random.Generator, together: np.ndarray, paired: np.ndarray
    ) -> tuple[np.ndarray, int, np.ndarray]:
        """group, groups and mixed. together: (N,) equal for samples that mode="pair" gives one draw. paired: (N,)."""
        samples = np.arange(len(together))
        keys = {"batch": np.zeros_like(samples), "pair": together, "elem": samples}[self.mode]
        _, group = np.unique(keys, return_inverse=True)
        groups = int(group.max()) + 1
        return group, groups, (rng.random(groups) < self.prob)[group] & paired


def flipped(batch: Batch) -> np.ndarray:
    """(N,) partners i and valid-1-i; the one in the middle and the padding are their own."""
    partner = np.arange(batch.samples)
    partner[: batch.valid] = partner[: batch.valid][::-1]
    return partner


def first_of_group(partner: np.ndarray, mixes: int) -> np.ndarray:
    """(N,) the first sample of each one's pair, or, where mixers mix more than two, of its pair of pairs."""
    shown = [np.arange(len(partner)), partner]
    if mixes > 2:
        across = crossed(partner)
        shown += [across, across[partner]]
    first: np.ndarray = np.minimum.reduce(shown)
    return first


def crossed(partner: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """(N,) pairs paired up: for each sample one of another pair, whose partner is that of the sample's partner.

    The first pair with the last, in the order of their first samples; with `rng` at random. The pair that is left over
    is its own, crosswise: the sample's partner. A sample without one is its own.
    """
    first = np.flatnonzero(np.arange(len(partner)) < partner)
    ends = np.stack([first, partner[first]])
    if rng is not None:
        ends = rng.permuted(rng.permutation(ends, axis=1), axis=0)
    across = partner.copy()
    across[ends] = ends[:, ::-1]
    return np.where(across == np.arange(len(partner)), partner, across)


def _shuffled(rng: np.random.Generator, batch: Batch) -> np.ndarray:
    partner = np.arange(batch.samples)
    order = rng.permutation(batch.valid)
    half = batch.valid // 2
    one, two = order[:half], order[half : 2 * half]
    partner[one], partner[two] = two, one
    return partner
