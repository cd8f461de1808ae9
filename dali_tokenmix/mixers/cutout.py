"""Cutout: squares are cut out of an image (DeVries & Taylor, 2017, arXiv 1708.04552)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..checks import integer
from ..plan import Batch, Plan
from ..regions import ErasedBoxes, ErasedBoxesShape, Size
from .cutting import Cutting


@dataclass(frozen=True, kw_only=True)
class Cutout(Cutting):
    """Squares of an image are cut out, and its label stays (DeVries & Taylor, 2017, arXiv 1708.04552).

    Args:
        length: side of a square in pixels, >= 1. The paper has half the image's side on CIFAR-10 (16 of 32 pixels), a
            quarter on CIFAR-100. The centre is uniform over all pixels, and what lies outside the image is clipped.
        n_holes: squares a sample, >= 1. They may overlap.
        fill: what the pixels then show. "constant": a colour, black if no `value` is given. "mean": the mean of the
            data set. "noise": numbers that are drawn for every pixel and channel.
        value: the colour, or the mean, in the images' own units: one number, or one for each channel. The mean of
            uint8 images is ImageNet's if it is left out, 255 * IMAGENET_MEAN. Images of float16 and float32 are taken
            as normalised: their mean is 0. None for noise, which is uniform on 0..255 for uint8 and normal, N(0, 1),
            for float16 and float32.
        mode: "elem" draws for each sample, "pair" once for samples i and N-1-i, "batch" once for all.
        prob: probability that a sample (a pair, a batch: see mode) is cut at all.

    The paper sets normalised pixels to 0, as fill="mean" does. Its code makes a square of odd length one pixel smaller;
    here it has its length. own is 1 in the plan, whatever is cut: plan.sources() tells what shows.

    Raises ValueError or TypeError for an argument that makes no sense, and where images are cut whose channels or dtype
    `value` does not fit.
    """

    length: int = field(kw_only=False)
    n_holes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("length", self.length, at_least=1)
        integer("n_holes", self.n_holes, at_least=1)

    def shapes(self, image_size: Size) -> tuple[ErasedBoxesShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels."""
        return (ErasedBoxesShape(self.n_holes, self.filling),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws squares for a batch."""
        cuts = self.cuts(rng, batch)
        size = np.array(batch.image_size)
        start = rng.integers(0, size, (cuts.groups, self.n_holes, 2)) - self.length // 2
        boxes = np.clip(np.concatenate([start, start + self.length], axis=-1), 0, np.tile(size, 2)).astype(np.int32)
        region = ErasedBoxes(boxes[cuts.group], cuts.seeds[cuts.group], self.filling).only(cuts.cut)
        return Plan(np.arange(batch.samples), (region,), batch.image_size)
