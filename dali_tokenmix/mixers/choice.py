"""Choice: one of several mixers, drawn for each batch or each pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .. import checks
from ..checks import choice, number
from ..plan import Batch, Plan, further_of, untouched
from ..regions import Region, RegionShape, Size
from .pairing import first_of_group, flipped


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Mixes with one of several mixers.

    Args:
        mixers: two or more mixers (or one; Choice may hold Choice).
        weights: their relative odds, each >= 0 and not all 0; equal if left out.
        mode: "batch" draws one mixer for the whole batch, as timm does; "pair" one for each pair, for which all
            mixers must pair up alike: partner="flip" in all of them. Where one of them mixes four (RICAP), it is one
            for each group of four.

    Raises TypeError if a mixer is none, ValueError for weights that do not fit.
    """

    mixers: Sequence[Any] = field(kw_only=False)
    weights: Sequence[float] | None = field(default=None, kw_only=False)
    mode: Literal["batch", "pair"] = "batch"

    def __post_init__(self) -> None:
        for name in ("mixers", "weights"):
            if not isinstance(given := getattr(self, name), Iterable | None):
                raise TypeError(f"{name} must be a list, got {given!r}")
        object.__setattr__(self, "mixers", tuple(self.mixers))
        choice("mode", self.mode, ("batch", "pair"))
        if not self.mixers:
            raise ValueError("mixers must hold at least one mixer, got none")
        for k, one in enumerate(self.mixers):
            checks.mixer(f"mixers[{k}]", one)
        weights = (1.0,) * len(self.mixers) if self.weights is None else tuple(self.weights)
        if len(weights) != len(self.mixers):
            raise ValueError(f"weights must be one for each of {len(self.mixers)} mixers, got {weights}")
        for k, weight in enumerate(weights):
            number(f"weights[{k}]", weight, at_least=0)
        if sum(weights) <= 0:
            raise ValueError(f"weights must not all be 0, got {weights}")
        object.__setattr__(self, "weights", weights)
        if self.mode == "pair" and not all(mixer.partner == "flip" for mixer in self.mixers):
            raise ValueError("Choice(mode='pair') needs partner='flip' in all its mixers, so that they share the pairs")

    @property
    def partner(self) -> str:
        """'flip' if all the mixers pair up so, else 'random'."""
        return "flip" if all(mixer.partner == "flip" for mixer in self.mixers) else "random"

    @property
    def mixes(self) -> int:
        """Samples that show in one, at most."""
        return max(checks.mixes(mixer) for mixer in self.mixers)

    def shapes(self, image_size: Size) -> tuple[RegionShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels: each mixer's, one after the other."""
        return tuple(shape for mixer in self.mixers for shape in mixer.shapes(image_size))

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws which mixer, then what it does. The plan has the regions of all of them; those not drawn are empty."""
        groups = 1 if self.mode == "batch" else batch.samples
        odds = np.asarray(self.weights, np.float64)
        drawn = rng.choice(len(self.mixers), groups, p=odds / odds.sum())
        if self.mode == "batch":
            which = np.full(batch.samples, drawn[0])
        else:
            which = drawn[first_of_group(flipped(batch), self.mixes)]
        partner = np.arange(batch.samples)
        further = np.repeat(partner[:, None], further_of(self.shapes(batch.image_size)), axis=1)
        regions: list[Region] = []
        for k, mixer in enumerate(self.mixers):
            mine = which == k
            if mine.any():
                plan = mixer.draw(rng, batch)
            else:
                plan = untouched(batch.samples, batch.image_size, mixer.shapes(batch.image_size))
            partner = np.where(mine, plan.partner, partner)
            more = plan.further.shape[1]
            further[:, :more] = np.where(mine[:, None], plan.further, further[:, :more])
            regions += [region.only(mine) for region in plan.regions]
        return Plan(partner, tuple(regions), batch.image_size, further=further)
