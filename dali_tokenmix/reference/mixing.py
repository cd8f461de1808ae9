"""The definitions of the kernels that mix: what each region makes of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..plan import Plan
from ..regions import Blend, Box, Chains, ErasedBoxes, ErasedCells, Quarters, Resized, Tokens
from .bilinear import resized_partners
from .chains import chained
from .erasing import erase

Definition = Callable[[Any, Plan, np.ndarray, np.ndarray], None]  # of a region: plan, clean images, out


def mixed(plan: Plan, images: np.ndarray) -> np.ndarray:
    """A mixed copy of (N, H, W, C) images: every region of the plan, one after the other."""
    out = images.copy()
    for region in plan.regions:
        DEFINITIONS[type(region)](region, plan, images, out)
    return out


def exchanged(region: Box | Tokens, plan: Plan, images: np.ndarray, out: np.ndarray) -> None:
    """The partner's pixels where the mask is 1."""
    shown = region.mask(plan.image_size).pixels(plan.image_size).astype(bool)[..., None]
    out[:] = np.where(shown, images[plan.partner], out)


def blend(region: Blend, plan: Plan, images: np.ndarray, out: np.ndarray) -> None:
    """blended() wherever the weight is not 0."""
    for i, weight in enumerate(region.weight):
        if weight:
            out[i] = blended(images[i], images[plan.partner[i]], weight)


def blended(own: np.ndarray, other: np.ndarray, weight: np.float32) -> np.ndarray:
    """(1 - weight) * own + weight * other in float32; uint8 and float16 by rounding to nearest, ties to even."""
    weight = np.float32(weight)
    total = (np.float32(1) - weight) * own.astype(np.float32) + weight * other.astype(np.float32)
    return (np.rint(total) if own.dtype.kind == "u" else total).astype(own.dtype)


def patched(region: Quarters, plan: Plan, images: np.ndarray, out: np.ndarray) -> None:
    """Four crops: the sample's own upper left, its partner's upper right, the further two's below."""
    height, width = plan.image_size
    for i, (below, right) in enumerate(region.lower_right):
        if below or right:
            y, x = height - below, width - right
            quarters = out[i, :y, :x], out[i, :y, x:], out[i, y:, :x], out[i, y:, x:]
            shown = (i, plan.partner[i], *plan.further[i])
            for quarter, sample, (top, left) in zip(quarters, shown, region.crops[i], strict=True):
                quarter[...] = images[sample, top : top + len(quarter), left : left + quarter.shape[1]]


DEFINITIONS: dict[type, Definition] = {
    Box: exchanged,
    Tokens: exchanged,
    Blend: blend,
    Chains: chained,
    Quarters: patched,
    ErasedBoxes: erase,
    ErasedCells: erase,
    Resized: resized_partners,
}
