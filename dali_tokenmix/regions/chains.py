"""Chains: AugMix's weighted sum of an image and of chains of operations on it. No other sample shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Size, require

if TYPE_CHECKING:
    from ..plan import Plan

# What a step does, by number: Operation of chains.cuh. What its parameters are is said there, too.
OPERATIONS = (
    *("none", "affine", "auto_contrast", "equalize", "posterize", "solarize"),
    *("brightness", "contrast", "color", "sharpness"),
)
PARAMETERS = 6
MOST_CHAINS, MOST_STEPS = 8, 8


@dataclass(frozen=True)
class ChainsShape:
    """width chains of at most depth operations; fill: the value that lies outside an image."""

    width: int
    depth: int
    fill: float
    further = 0

    def field(self) -> tuple[Any, ...]:
        return "<f4", (1 + self.width + self.width * self.depth * (1 + PARAMETERS),)

    def unpack(self, packed: np.ndarray) -> Chains:
        weights, steps = np.split(np.asarray(packed), [1 + self.width], axis=1)
        steps = steps.reshape(-1, self.width, self.depth, 1 + PARAMETERS)
        operations, parameters = steps[..., 0].astype(np.int32), np.ascontiguousarray(steps[..., 1:])
        return Chains(np.ascontiguousarray(weights), operations, parameters, self.fill)

    def neutral(self, samples: int) -> Chains:
        weights = np.zeros((samples, 1 + self.width), np.float32)
        weights[:, 0] = 1
        operations = np.zeros((samples, self.width, self.depth), np.int32)
        return Chains(weights, operations, np.zeros((*operations.shape, PARAMETERS), np.float32), self.fill)


@dataclass(frozen=True)
class Chains:
    """Images become weights[0] * image + sum over k of weights[1 + k] * chain k of it, for uint8 images only.

    weights: (N, 1 + width) float32 >= 0, of sum 1.
    operations: (N, width, depth) int32, places in OPERATIONS; the first 0 ends a chain.
    parameters: (N, width, depth, 6) float32. Of "affine": the two rows of the matrix that takes (x, y, 1) of a pixel's
        centre in the result to that in the source; of the others their one number, if they have one, comes first.
    """

    weights: np.ndarray
    operations: np.ndarray
    parameters: np.ndarray
    fill: float

    @property
    def shape(self) -> ChainsShape:
        _, width, depth = self.operations.shape
        return ChainsShape(width, depth, self.fill)

    def pack(self) -> np.ndarray:
        steps = np.concatenate([self.operations[..., None].astype(np.float32), self.parameters], axis=-1)
        return np.concatenate([self.weights, steps.reshape(len(steps), -1)], axis=1)

    def shares(self, samples: int, image_size: Size) -> np.ndarray:
        require(self.operations, (samples, *self.operations.shape[1:]), "chains' operations", np.int32)
        if self.operations.ndim != 3:
            raise ValueError(f"chains' operations must be (N, width, depth), got shape {self.operations.shape}")
        _, width, depth = self.operations.shape
        if not (1 <= width <= MOST_CHAINS and 1 <= depth <= MOST_STEPS):
            raise ValueError(f"there must be 1 to {MOST_CHAINS} chains of 1 to {MOST_STEPS}, got {width} of {depth}")
        if self.operations.min() < 0 or self.operations.max() >= len(OPERATIONS):
            raise ValueError(f"chains' operations must be in [0, {len(OPERATIONS)}), got {self.operations}")
        require(self.parameters, (*self.operations.shape, PARAMETERS), "chains' parameters", np.float32)
        if not (np.abs(self.parameters) < 2**20).all():  # a place outside of every image, and no infinity
            raise ValueError("chains' parameters must be finite and below 2**20")
        require(self.weights, (samples, 1 + width), "chains' weights", np.float32)
        if not ((self.weights >= 0).all() and np.abs(self.weights.sum(1, dtype=np.float64) - 1).max() < 1e-4):
            raise ValueError(f"chains' weights must be >= 0 and of sum 1, got {self.weights}")
        return np.zeros((samples, 1))

    def mask(self, image_size: Size) -> None:
        return None

    def show(self, sources: np.ndarray, plan: Plan) -> None:
        """Every pixel is still its own sample's."""

    def only(self, samples: np.ndarray) -> Chains:
        rest = self.shape.neutral(len(samples))
        here = samples[:, None]
        return Chains(
            np.where(here, self.weights, rest.weights),
            np.where(here[..., None], self.operations, rest.operations),
            np.where(here[..., None, None], self.parameters, rest.parameters),
            self.fill,
        )
