"""Images that say where each pixel comes from, arrays of every library, plans, slow definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dali_tokenmix.mixers.pairing import crossed
from dali_tokenmix.plan import Plan
from dali_tokenmix.regions import (
    Blend,
    Box,
    ErasedBoxes,
    ErasedCells,
    Fill,
    PeakBox,
    Quarters,
    Resized,
    TokenGrid,
    Tokens,
    TopTokens,
)
from dali_tokenmix.regions.quarters import quarter_sizes

LIBRARIES = ("native", "torch")  # native: NumPy on the CPU, CuPy on a GPU


def provenance(n: int, height: int, width: int, channels: int = 3, dtype: str = "uint8") -> np.ndarray:
    """(N, H, W, C) images whose values are the sample, the row and the column, by channel in turn.

    With fewer than three channels the three are folded into one number: exact for float32, ambiguous for uint8.
    """
    sample, row, column = np.meshgrid(np.arange(n), np.arange(height), np.arange(width), indexing="ij")
    if channels < 3:
        code = (sample * height + row) * width + column
        return np.stack([code % 251 if dtype == "uint8" else code] * channels, axis=-1).astype(dtype)
    return np.stack([(sample, row, column)[c % 3] for c in range(channels)], axis=-1).astype(dtype)


def shown_by_loops(plan: Plan) -> np.ndarray:
    """(N, H, W) bool, where the partner shows: the definition of Tokens and Box, pixel by pixel."""
    shown = np.zeros((len(plan), *plan.image_size), bool)
    for i, y, x in np.ndindex(*shown.shape):
        for region in plan.regions:
            if isinstance(region, Tokens):
                shown[i, y, x] |= bool(region.bits[i, y // region.patch_size, x // region.patch_size])
            elif isinstance(region, Box):
                y0, x0, y1, x1 = region.boxes[i]
                shown[i, y, x] |= bool(y0 <= y < y1 and x0 <= x < x1)
            elif isinstance(region, Resized):
                top, left, h, w = region.boxes[i]
                shown[i, y, x] |= bool(top <= y < top + h and left <= x < left + w)
    return shown


@dataclass(frozen=True)
class Arrangement:
    """How a batch lies in memory: a view, in `layout` order, that `cut` takes of a base array."""

    base: Callable[[int, int, int, int], tuple[int, ...]]  # n, height, width, channels -> its shape
    cut: Callable[[Any], Any]
    layout: str


def permuted(array: Any, *axes: int) -> Any:
    """A view with its axes in another order, for NumPy, CuPy and torch alike."""
    return array.permute(*axes) if hasattr(array, "permute") else array.transpose(*axes)


ARRANGEMENTS = {
    "nhwc": Arrangement(lambda n, h, w, c: (n, h, w, c), lambda b: b, "NHWC"),
    "nchw": Arrangement(lambda n, h, w, c: (n, c, h, w), lambda b: b, "NCHW"),
    "channels_last": Arrangement(lambda n, h, w, c: (n, h, w, c), lambda b: permuted(b, 0, 3, 1, 2), "NCHW"),
    "planes_as_nhwc": Arrangement(lambda n, h, w, c: (n, c, h, w), lambda b: permuted(b, 0, 2, 3, 1), "NHWC"),
    "row_gaps": Arrangement(lambda n, h, w, c: (n, h, w + 3, c), lambda b: b[:, :, 1:-2], "NHWC"),
    "sample_gaps": Arrangement(lambda n, h, w, c: (2 * n, h, w, c), lambda b: b[::2], "NHWC"),
    "crop": Arrangement(lambda n, h, w, c: (n, h + 2, w + 5, c), lambda b: b[:, 1:-1, 2:-3], "NHWC"),
    "plane_gaps": Arrangement(lambda n, h, w, c: (n, c, h + 1, w + 1), lambda b: b[:, :, 1:, :-1], "NCHW"),
    "every_second_row": Arrangement(lambda n, h, w, c: (n, c, 2 * h, w), lambda b: b[:, :, ::2], "NCHW"),
}


def on_device(array: np.ndarray, library: str, device: str) -> Any:
    """A copy as an array of that library on that device."""
    if library == "torch":
        import torch

        return torch.from_numpy(array.copy()).to("cuda" if device == "gpu" else "cpu")
    if device == "gpu":
        import cupy

        return cupy.asarray(array)
    return array.copy()


def to_numpy(array: Any) -> np.ndarray:
    """The values, on the CPU."""
    if hasattr(array, "cpu"):
        return array.cpu().numpy()
    return array.get() if hasattr(array, "get") else array


def spread(images: np.ndarray, arrangement: Arrangement) -> np.ndarray:
    """A base array that holds (N, H, W, C) images where the arrangement's view lies, and 77 everywhere else."""
    base = np.full(arrangement.base(*images.shape), 77, images.dtype)
    values = images if arrangement.layout == "NHWC" else images.transpose(0, 3, 1, 2)
    arrangement.cut(base)[...] = values
    return base


def some_pairs(rng: np.random.Generator, n: int, self_partners: int = 0) -> np.ndarray:
    """(N,) int32: random pairs, with at least so many samples (and an odd one out) their own partners."""
    partner = np.arange(n, dtype=np.int32)
    order = rng.permutation(n)[min(self_partners, n) :]
    half = len(order) // 2
    partner[order[:half]], partner[order[half : 2 * half]] = order[half : 2 * half], order[:half]
    return partner


def token_plan(rng: np.random.Generator, partner: np.ndarray, size: tuple[int, int], patch_size: int) -> Plan:
    """Every token from the partner with probability one half, each sample its own mask."""
    grid = TokenGrid.of(patch_size, size).grid
    paired = (partner != np.arange(len(partner)))[:, None, None]
    return Plan(
        partner, (Tokens((rng.integers(0, 2, (len(partner), *grid)) * paired).astype(np.uint8), patch_size),), size
    )


def box_plan(rng: np.random.Generator, partner: np.ndarray, size: tuple[int, int]) -> Plan:
    """Each sample its own random box, perhaps empty."""
    (y0, y1), (x0, x1) = (np.sort(rng.integers(0, side + 1, (2, len(partner))), axis=0) for side in size)
    boxes = np.stack([y0, x0, y1, x1], axis=1) * (partner != np.arange(len(partner)))[:, None]
    return Plan(partner, (Box(boxes.astype(np.int32)),), size)


def resized_plan(rng: np.random.Generator, partner: np.ndarray, size: tuple[int, int]) -> Plan:
    """Each sample its own box for the whole partner, smaller or larger than it; some are empty or beyond the image."""
    n, (height, width) = len(partner), size
    top, left = rng.integers(-height, height + 1, n), rng.integers(-width, width + 1, n)
    boxes = np.stack([top, left, rng.integers(0, 2 * height + 1, n), rng.integers(0, 2 * width + 1, n)], axis=1)
    return Plan(partner, (Resized((boxes * (partner != np.arange(n))[:, None]).astype(np.int32)),), size)


def blend_plan(rng: np.random.Generator, partner: np.ndarray, size: tuple[int, int]) -> Plan:
    """Each sample its own weight; some are 0 or 1."""
    weight = np.clip(rng.uniform(-0.2, 1.2, len(partner)), 0, 1) * (partner != np.arange(len(partner)))
    return Plan(partner, (Blend(weight.astype(np.float32)),), size)


def unplaced_plan(kind: str, rng: np.random.Generator, n: int, size: tuple[int, int], grid=(7, 5)) -> Plan:
    """Boxes ("box") or tokens ("tokens") that maps are yet to place; each sample its own size, perhaps none."""
    partner = some_pairs(rng, n, self_partners=int(n > 2))
    paired = partner != np.arange(n)
    if kind == "box":
        boxes = np.zeros((n, 4), np.int32)
        boxes[:, 2:] = rng.integers(0, np.array(size) + 1, (n, 2)) * paired[:, None]
        return Plan(partner, (PeakBox(boxes, None),), size)
    count = rng.integers(0, grid[0] * grid[1] + 1, n) * paired
    bits = (np.arange(grid[0] * grid[1]) < count[:, None]).astype(np.uint8).reshape(n, *grid)
    return Plan(partner, (TopTokens(bits, 0),), size)


def quarters_plan(rng: np.random.Generator, partner: np.ndarray, size: tuple[int, int]) -> Plan:
    """Each sample its own boundary and crops, some with a quarter that fills all, in random groups of four."""
    n, across = len(partner), crossed(partner, rng)
    boundary = np.clip(rng.integers(-2, np.array(size) + 3, (n, 2)), 0, size)
    lower_right = np.where((partner != np.arange(n))[:, None], boundary, 0).astype(np.int32)
    room = np.array(size) - quarter_sizes(lower_right, size)
    region = Quarters(lower_right, rng.integers(0, room + 1).astype(np.int32))
    return Plan(partner, (region,), size, further=np.stack([across, across[partner]], axis=1))


def random_plan(kind: str, rng: np.random.Generator, n: int, size: tuple[int, int], patch_size: int = 3) -> Plan:
    """A plan of one region of that kind (tokens, box, resized, ...) with one self-partner at least where n > 2."""
    partner = some_pairs(rng, n, self_partners=int(n > 2))
    if kind == "tokens":
        return token_plan(rng, partner, size, patch_size)
    if kind == "quarters":
        return quarters_plan(rng, partner, size)
    build = {"box": box_plan, "resized": resized_plan, "blend": blend_plan}[kind]
    return build(rng, partner, size)


def erased_region(
    kind: str, rng: np.random.Generator, n: int, size: tuple[int, int], fill: Fill
) -> ErasedBoxes | ErasedCells:
    """Three "boxes" a sample, perhaps empty, or "cells" of several sides; the first sample is left alone."""
    seeds, cut = rng.integers(0, 2**64, n, np.uint64), np.arange(n) > 0
    if kind == "boxes":
        (y0, y1), (x0, x1) = (np.sort(rng.integers(0, side + 1, (2, n, 3)), axis=0) for side in size)
        return ErasedBoxes(np.stack([y0, x0, y1, x1], axis=-1).astype(np.int32), seeds, fill).only(cut)
    sides = rng.choice([0, 2, 3, 7, 100], n).astype(np.int32)
    grid = [-(-side // 2) for side in size]
    return ErasedCells(sides, rng.integers(0, 2, (n, *grid)).astype(np.uint8), seeds, fill).only(cut)
