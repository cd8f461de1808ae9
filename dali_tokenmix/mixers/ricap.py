"""RICAP: four crops of four images patched together (Takahashi et al., ACML 2018, arXiv 1811.09030)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..checks import number
from ..plan import Batch, Plan
from ..regions import Quarters, QuartersShape, Size
from ..regions.quarters import quarter_sizes
from .pairing import Pairing


@dataclass(frozen=True, kw_only=True)
class RICAP(Pairing):
    """Random image cropping and patching: an image becomes four crops of four images, and its label those four labels
    by the area they show (Takahashi et al., ACML 2018; IEEE TCSVT 2019, arXiv 1811.09030).

    Args:
        beta: > 0; the boundary where the four meet lies at (y, x) = (height * b, width * c), rounded to pixels, with b
            and c ~ Beta(beta, beta) on their own. 0.3 is the paper's choice.
        mode: "pair" draws a boundary and four crops for each group of four images, "batch" once for all (as the
            paper's code does), "elem" for each image.
        partner: "flip" pairs sample i with N-1-i, and the first of these pairs with the last; "random" pairs at random,
            and the pairs once more. See below.
        prob: probability that a group of four (a batch, a sample: see mode) is mixed at all.

    The sample itself shows upper left, its partner upper right, and the two of another pair lower left and lower right
    (further in the Plan, with further_weights). A crop has the size of the quarter that it fills, at a uniform place.

    Where this differs from the paper: there, each quarter's image is picked from a permutation of the batch of its own,
    so that an image may show twice, or not at all. Here four images in groups are patched with each other, for which
    the mix needs no second batch in memory, and each shows once in each quarter. If one pair is left over, its two
    images show twice each, crosswise; an odd one out stays as it is. Popular implementations, the original among them,
    call the first of the two image axes the width: on images that are not square they place the boundary otherwise.

    Raises ValueError for a value out of range.
    """

    mixes = 4

    beta: float = field(default=0.3, kw_only=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        number("beta", self.beta, above=0)

    def shapes(self, image_size: Size) -> tuple[QuartersShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels."""
        return (QuartersShape(),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws boundaries, crops and who is patched with whom for a batch."""
        quads = self.quads(rng, batch)
        size = np.array(batch.image_size)
        boundary = np.rint(rng.beta(self.beta, self.beta, (quads.groups, 2)) * size).astype(np.int32)
        lower_right = size.astype(np.int32) - boundary
        room = size - quarter_sizes(lower_right, batch.image_size)
        crops = rng.integers(0, room + 1).astype(np.int32)
        quarters = Quarters(lower_right[quads.group], crops[quads.group]).only(quads.mixed)
        return Plan(quads.partner, (quarters,), batch.image_size, further=quads.further)
