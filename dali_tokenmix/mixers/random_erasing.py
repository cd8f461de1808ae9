"""RandomErasing: a rectangle of an image is erased (Zhong et al., AAAI 2020, arXiv 1708.04896)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..checks import choice, integer, number
from ..plan import Batch, Plan
from ..regions import ErasedBoxes, ErasedBoxesShape, Size
from ..regions.fill import FillKind
from .cutting import Cutting

Range = tuple[float, float]
AT_ONCE = 10  # tries that are drawn together; more are hardly ever needed
DIALECTS: dict[str, tuple[Range, Range, int]] = {  # area, aspect, tries
    "torchvision": ((0.02, 0.33), (0.3, 3.3), 10),
    "original": ((0.02, 0.4), (0.3, 1 / 0.3), 100),
}


@dataclass(frozen=True, kw_only=True)
class RandomErasing(Cutting):
    """A rectangle of an image is erased, and its label stays (Zhong et al., AAAI 2020, arXiv 1708.04896).

    Its area and its aspect, height over width, are drawn until it is lower and narrower than the image, and then its
    place, uniformly inside. If no try gives such a rectangle, the sample stays as it is.

    Args:
        dialect: "torchvision" draws the logarithm of the aspect uniformly, as torchvision and timm do; "original" the
            aspect itself, as the paper does.
        area: (least, most) share of the image, in [0, 1]; (0.02, 0.33), or (0.02, 0.4), the paper's, for the original.
        aspect: (least, most) > 0; (0.3, 3.3), or (0.3, 1 / 0.3) for the original.
        tries: >= 1; 10, or 100 for the original.
        fill, value: as in Cutout. The paper finds noise best, which for uint8 is its own: uniform on 0..255.
        mode: as in Cutout.
        prob: as in Cutout; 0.5 in the paper and in torchvision.

    timm has the same rule with areas up to 1/3, aspects up to 1/0.3, and noise that is normal; torchvision fills with
    0 if it is not told otherwise. The paper writes that it also draws the corner anew in every try, from anywhere in
    the image, and that it tries until the rectangle lies inside, which favours small ones; its code is "original" here.

    Raises ValueError or TypeError for an argument that makes no sense, and where images are erased whose channels or
    dtype `value` does not fit.
    """

    dialect: Literal["torchvision", "original"] = "torchvision"
    area: Range | None = None
    aspect: Range | None = None
    tries: int | None = None
    fill: FillKind = "noise"
    prob: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("dialect", self.dialect, tuple(DIALECTS))
        for name, given in zip(("area", "aspect", "tries"), DIALECTS[self.dialect], strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, given)
        _require_range("area", self.area, at_least=0, at_most=1)
        _require_range("aspect", self.aspect, above=0)
        integer("tries", self.tries, at_least=1)

    def shapes(self, image_size: Size) -> tuple[ErasedBoxesShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels."""
        return (ErasedBoxesShape(1, self.filling),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws rectangles for a batch."""
        cuts = self.cuts(rng, batch)
        sides = self._sides(rng, cuts.groups, batch.image_size)
        start = rng.integers(0, np.array(batch.image_size) - sides + 1)
        boxes = np.concatenate([start, start + sides], axis=-1).astype(np.int32)[:, None]
        region = ErasedBoxes(boxes[cuts.group], cuts.seeds[cuts.group], self.filling).only(cuts.cut)
        return Plan(np.arange(batch.samples), (region,), batch.image_size)

    def _sides(self, rng: np.random.Generator, count: int, size: Size) -> np.ndarray:
        """(count, 2) int64 heights and widths: the first of all tries that fits, or 0, 0."""
        assert self.tries is not None
        sides, missing = np.zeros((count, 2), np.int64), np.ones(count, bool)
        for left in range(self.tries, 0, -AT_ONCE):
            tried = self._tries(rng, (count, min(left, AT_ONCE)), size)
            fits = np.logical_and.reduce(tried < size, axis=-1)
            new = missing & np.logical_or.reduce(fits, axis=1)
            sides[new] = tried[new, fits[new].argmax(axis=1)]
            missing &= ~new
            if not missing.any():
                break
        return sides

    def _tries(self, rng: np.random.Generator, count: tuple[int, int], size: Size) -> np.ndarray:
        """(*count, 2) int64 heights and widths, whether they fit or not."""
        assert self.area is not None
        assert self.aspect is not None
        area = rng.uniform(*self.area, count) * (size[0] * size[1])
        if self.dialect == "original":
            aspect = rng.uniform(*self.aspect, count)
        else:
            aspect = np.exp(rng.uniform(math.log(self.aspect[0]), math.log(self.aspect[1]), count))
        return np.rint(np.sqrt(np.stack([area * aspect, area / aspect], axis=-1))).astype(np.int64)


def _require_range(name: str, value: Range | None, **bounds: float) -> None:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} must be two numbers (least, most), got {value!r}")
    number(f"{name}[0]", value[0], **bounds)
    number(f"{name}[1]", value[1], **{**bounds, "at_least": value[0]})
