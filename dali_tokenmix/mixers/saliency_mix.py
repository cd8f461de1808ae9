"""SaliencyMix: a box around what stands out in the partner (Uddin et al., ICLR 2021, arXiv 2006.01791)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..checks import number
from ..plan import Batch, Plan
from ..regions import PeakBox, PeakBoxShape, Size
from ..saliency import Saliency
from .pairing import Pairing


@dataclass(frozen=True, kw_only=True)
class SaliencyMix(Pairing):
    """A box around the most salient pixel of the partner replaces the same box of the sample (Uddin et al., 2021).

    "SaliencyMix: A Saliency Guided Data Augmentation Strategy for Better Regularization", ICLR 2021, arXiv 2006.01791.

    Args:
        alpha: > 0; the box's share of the image is 1 - lambda with lambda ~ Beta(alpha, alpha), the paper's 1. The box
            has the image's aspect, its middle is the peak of the partner's saliency map, the first of several, and what
            lies outside the image is clipped.
        saliency: a Saliency, what makes the maps, of clean images, where these are. The paper takes
            Saliency(method="fine_grained"); the default is many times cheaper.
        mode, partner, prob: as in TokenMix. What shares a draw shares the size of the box; every sample has it where
            its own partner's peak is.

    Label weights are counted from the pixels that are pasted. The released code looks at one image of a batch and gives
    every sample the box around its peak; here each sample's box is around its own partner's. dtm.draw() needs maps=,
    the samples' saliency. Raises ValueError for a value out of range, TypeError for a saliency that is none.
    """

    alpha: float = field(default=1.0, kw_only=False)
    saliency: Saliency = field(default_factory=Saliency)

    def __post_init__(self) -> None:
        super().__post_init__()
        number("alpha", self.alpha, above=0)
        if not isinstance(self.saliency, Saliency):
            raise TypeError(f"saliency must be a Saliency, got {self.saliency!r:.80}")

    def shapes(self, image_size: Size) -> tuple[PeakBoxShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels."""
        return (PeakBoxShape(self.saliency),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws partners, and how large the boxes are; they are yet to be placed."""
        pairs = self.pairs(rng, batch)
        share = 1.0 - rng.beta(self.alpha, self.alpha, pairs.groups)
        boxes = np.zeros((pairs.groups, 4), np.int32)
        boxes[:, 2:] = np.array(batch.image_size) * np.sqrt(share)[:, None]
        return Plan(pairs.partner, (PeakBox(boxes[pairs.group], self.saliency).only(pairs.mixed),), batch.image_size)
