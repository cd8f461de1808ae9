"""ResizeMix: the whole partner, made smaller, in a box (Qin et al. 2020, arXiv 2012.11101)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..checks import number
from ..plan import Batch, Plan
from ..regions import Resized, ResizedShape, Size
from .pairing import Pairing


@dataclass(frozen=True, kw_only=True)
class ResizeMix(Pairing):
    """The whole partner, made smaller, covers a box of the sample (Qin et al. 2020, arXiv 2012.11101).

    Args:
        scale: (least, most) in (0, 1]; both sides of the image are multiplied by one number, uniform between these:
            (0.1, 0.8) is the paper's choice. Sides are whole pixels, rounded down, and 1 at least.
        mode, partner, prob: as in TokenMix.

    The centre of the box is uniform over the image's pixels. What reaches over a border is cut off: the part of the
    small image that lies inside shows, and label weights are counted from the pixels that it covers. Resizing is
    bilinear between pixel centres, without antialiasing, as torch's interpolate(mode="bilinear", align_corners=False);
    uint8 is rounded to the nearest level, by whole numbers (15 bits of a weight).

    Where others differ: MMPretrain's ResizeMix draws the area of the box by Beta(alpha, alpha) mapped to an interval,
    not its side uniformly, and cuts the box at the border before it resizes, so that there the whole partner shows,
    squashed. A teacher's maps do not move with pixels that are resized: supervision="tokenmix" and "tokenlabeling"
    refuse.

    Raises TypeError or ValueError for a scale that is no such pair.
    """

    scale: tuple[float, float] = field(default=(0.1, 0.8), kw_only=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.scale, tuple | list) or len(self.scale) != 2:
            raise ValueError(f"scale must be two numbers (least, most), got {self.scale!r}")
        number("scale[0]", self.scale[0], above=0, at_most=1)
        number("scale[1]", self.scale[1], at_least=self.scale[0], at_most=1)

    def shapes(self, image_size: Size) -> tuple[ResizedShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels."""
        return (ResizedShape(),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws boxes and partners for a batch."""
        pairs = self.pairs(rng, batch)
        size = np.array(batch.image_size)
        sides = np.maximum(1, (rng.uniform(*self.scale, (pairs.groups, 1)) * size).astype(np.int32))
        centres = rng.integers(0, size, (pairs.groups, 2))
        boxes = np.hstack([centres - sides // 2, sides]).astype(np.int32)
        return Plan(pairs.partner, (Resized(boxes[pairs.group]).only(pairs.mixed),), batch.image_size)
