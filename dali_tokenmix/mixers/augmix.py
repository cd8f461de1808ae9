"""AugMix: an image mixed with chains of operations on itself (Hendrycks et al., ICLR 2020, arXiv 1912.02781)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..checks import choice, integer, number
from ..plan import Batch, Plan
from ..regions import Chains, ChainsShape, Size
from ..regions.chains import MOST_CHAINS, MOST_STEPS, OPERATIONS, PARAMETERS

LEAST_LEVEL, MOST_LEVEL = 0.1, 10.0
RANDOM_DEPTH = 3  # at most, and 1 at least
ROTATION, SHEAR, TRANSLATION, ENHANCEMENT = 30.0, 0.3, 1 / 3, 0.9  # at the greatest level: degrees, slope, sides, share


@dataclass(frozen=True, kw_only=True)
class AugMix:
    """Every image becomes m * x + (1 - m) * sum of w_k chain_k(x) (Hendrycks et al., ICLR 2020, arXiv 1912.02781).

    A chain is up to `depth` operations drawn from auto_contrast, equalize, posterize, rotate, solarize, shear_x,
    shear_y, translate_x and translate_y; w ~ Dirichlet(alpha), m ~ Beta(alpha, alpha). Each sample draws its own.
    Labels and partners are left alone: Loader(mixer=AugMix()), fn.token_mix(mixer=AugMix()) and Choice take it as they
    take any mixer, and in any DALI pipeline it is a function of a node: images = AugMix()(images).

    Args:
        severity: in [0.1, 10], 3 in the paper: an operation's level is uniform in [0.1, severity]. At level 10 rotation
            is 30 degrees, shear 0.3, translation a third of the side, posterize leaves 1 bit, solarize inverts from 0
            on; below that in proportion, towards nothing but for posterize, which leaves 4 bits at most.
        width: chains, 1 to 8.
        depth: operations a chain, 1 to 8; -1: uniform in {1, 2, 3}, for each chain.
        alpha: > 0; of both distributions.
        all_ops: also brightness, contrast, color and sharpness, by a factor of 1 +- 0.09 level. The paper leaves them
            out, for they are among the corruptions of ImageNet-C.
        fill_value: in [0, 255], of what lies outside an image.
        prob: of a sample being changed at all; 1 in the paper.
        seed: of AugMix()(images), in [0, 2**31); None: from the pipeline's seed. Loader and fn.token_mix have theirs.

    Images are uint8 with 3 channels. The operations are those of DALI's auto_aug, which tests hold them to, with the
    paper's ranges instead of DALI's: but not by its graph of conditionals, in which nine draws of an operation take
    DALI ten seconds and more to build. Every operation's result is rounded to bytes, and the sum, in float32, once.
    torchvision's AugMix has levels 0, 1, ..., severity - 1, which include none at all, and all_ops by default; timm's
    and the released code round the chains' sum down before it is mixed with x. The released code turns by whole
    degrees and shifts by whole pixels. All fill with 0, DALI with 128.

    Raises TypeError or ValueError for a value out of range; images of another dtype are refused where they are mixed.
    """

    severity: float = 3.0
    width: int = 3
    depth: int = -1
    alpha: float = 1.0
    all_ops: bool = False
    fill_value: float = 0.0
    prob: float = 1.0
    seed: int | None = None
    partner: ClassVar[str] = "flip"  # anybody's pairs suit it: it has none

    def __post_init__(self) -> None:
        number("severity", self.severity, at_least=LEAST_LEVEL, at_most=MOST_LEVEL)
        integer("width", self.width, at_least=1, at_most=MOST_CHAINS)
        if self.depth != -1:
            integer("depth", self.depth, at_least=1, at_most=MOST_STEPS)
        number("alpha", self.alpha, above=0)
        choice("all_ops", self.all_ops, (False, True))
        number("fill_value", self.fill_value, at_least=0, at_most=255)
        number("prob", self.prob, at_least=0, at_most=1)
        if self.seed is not None:
            integer("seed", self.seed, at_least=0)

    @property
    def operations(self) -> tuple[str, ...]:
        """What chains are drawn from."""
        return tuple(PAPER) + tuple(IMAGENET_C) * self.all_ops

    def shapes(self, image_size: Size) -> tuple[ChainsShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels."""
        steps = RANDOM_DEPTH if self.depth == -1 else self.depth
        return (ChainsShape(self.width, steps, float(self.fill_value)),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws weights and chains for a batch."""
        (shape,) = self.shapes(batch.image_size)
        steps = (batch.samples, shape.width, shape.depth)
        clean = rng.beta(self.alpha, self.alpha, batch.samples)
        chains = rng.dirichlet(np.full(self.width, self.alpha), batch.samples)
        weights = np.column_stack([clean, (1 - clean)[:, None] * chains]).astype(np.float32)
        which, level = rng.integers(len(self.operations), size=steps), rng.uniform(LEAST_LEVEL, self.severity, steps)
        signed = np.where(rng.random(steps) < 0.5, -1, 1) * level / MOST_LEVEL
        operations, parameters = np.zeros(steps, np.int32), np.zeros((*steps, PARAMETERS), np.float32)
        for k, name in enumerate(self.operations):
            drawn = which == k
            operations[drawn] = OPERATIONS.index("affine" if name in AFFINE else name)
            parameters[drawn] = (PAPER | IMAGENET_C)[name](signed[drawn], batch.image_size)
        if self.depth == -1:
            length = rng.integers(1, RANDOM_DEPTH + 1, steps[:2])
            operations[np.arange(shape.depth) >= length[..., None]] = 0
        region = Chains(weights, operations, parameters, shape.fill).only(rng.random(batch.samples) < self.prob)
        return Plan(np.arange(batch.samples), (region,), batch.image_size)

    def __call__(self, images: Any) -> Any:
        """A DALI node of augmented images, of one: uint8 (H, W, 3) or (3, H, W), all of one size; it is not changed."""
        from ..nodes import mixed_alone  # plans are drawn without DALI

        return mixed_alone(images, self, self.seed)


# Of each operation: (n,) levels in [-1, 1], the image's size -> (n, PARAMETERS), see regions.Chains.
Parameters = Callable[[np.ndarray, Size], np.ndarray]


def _affine(
    level: np.ndarray, *, xx: Any = 1.0, xy: Any = 0.0, x1: Any = 0.0, yx: Any = 0.0, yy: Any = 1.0, y1: Any = 0.0
) -> np.ndarray:
    return np.stack(np.broadcast_arrays(xx, xy, x1, yx, yy, y1, level)[:PARAMETERS], axis=-1)


def _rotated(level: np.ndarray, size: Size) -> np.ndarray:
    """Counterclockwise about the middle, by 30 degrees at level 1."""
    angle = np.deg2rad(ROTATION * level)
    cos, sin, (cy, cx) = np.cos(angle), np.sin(angle), (side / 2 for side in size)
    return _affine(level, xx=cos, xy=-sin, x1=cx - cos * cx + sin * cy, yx=sin, yy=cos, y1=cy - sin * cx - cos * cy)


def _number(values: np.ndarray) -> np.ndarray:
    return np.pad(values[:, None], ((0, 0), (0, PARAMETERS - 1)))


def _kept_bits(level: np.ndarray, size: Size) -> np.ndarray:
    bits = np.maximum(4 - np.floor(4 * np.abs(level)), 1)
    return _number(256 - 2 ** (8 - bits))


def _none(level: np.ndarray, size: Size) -> np.ndarray:
    return _number(0 * level)


def _factor(level: np.ndarray, size: Size) -> np.ndarray:
    return _number(1 + ENHANCEMENT * level)


PAPER: dict[str, Parameters] = {
    "auto_contrast": _none,
    "equalize": _none,
    "posterize": _kept_bits,
    "rotate": _rotated,
    "solarize": lambda level, size: _number(256 * (1 - np.abs(level))),
    "shear_x": lambda level, size: _affine(level, xy=-SHEAR * level),
    "shear_y": lambda level, size: _affine(level, yx=-SHEAR * level),
    "translate_x": lambda level, size: _affine(level, x1=-TRANSLATION * size[1] * level),
    "translate_y": lambda level, size: _affine(level, y1=-TRANSLATION * size[0] * level),
}
IMAGENET_C: dict[str, Parameters] = dict.fromkeys(("brightness", "contrast", "color", "sharpness"), _factor)
AFFINE = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
