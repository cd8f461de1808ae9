"""Sequence: a mixer, and then mixers that cut, in one pass over the images."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import checks
from ..plan import Batch, Plan
from ..regions import RegionShape, Size, erases

SOME_SIZE = (256, 256)  # what kind of regions a mixer draws does not depend on it


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Mixes, and then cuts what was mixed: Sequence([CutMix(), RandomErasing()]).

    Args:
        mixers: a mixer of any kind, and after it those that only cut: Cutout, RandomErasing, HideAndSeek, or a Choice
            or Sequence of such. Each draws by its own mode and prob.

    The targets are the first one's: what is cut off a partner does not change its weight. The images are written to
    once by each; nothing is copied between.

    Raises TypeError if one is no mixer, ValueError if there is none, or if one after the first does more than cut.
    """

    mixers: SequenceOf[Any] = field(kw_only=False)

    def __post_init__(self) -> None:
        if not isinstance(self.mixers, Iterable):
            raise TypeError(f"mixers must be a list, got {self.mixers!r}")
        object.__setattr__(self, "mixers", tuple(self.mixers))
        if not self.mixers:
            raise ValueError("mixers must hold at least one mixer, got none")
        for k, one in enumerate(self.mixers):
            checks.mixer(f"mixers[{k}]", one)
            if k > 0 and not all(map(erases, one.shapes(SOME_SIZE))):
                raise ValueError(f"mixers[{k}] must only cut, such as Cutout or RandomErasing, got {one!r}")

    @property
    def partner(self) -> str:
        """How the first one pairs up."""
        partner: str = self.mixers[0].partner
        return partner

    @property
    def mixes(self) -> int:
        """Samples that show in one, at most."""
        return checks.mixes(self.mixers[0])

    def shapes(self, image_size: Size) -> tuple[RegionShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels: each mixer's, one after the other."""
        return tuple(shape for mixer in self.mixers for shape in mixer.shapes(image_size))

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws what each does. The plan is the first one's, with the regions of all."""
        plans: list[Plan] = [mixer.draw(rng, batch) for mixer in self.mixers]
        return replace(plans[0], regions=tuple(region for plan in plans for region in plan.regions))
