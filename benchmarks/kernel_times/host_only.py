"""Kernels that only the CPU runs: resize, normalise, block masks. Timed as the functions that run them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from gpu.cases import copy_buffers
from gpu.place import Cpu
from results import say
from torch.nn.functional import interpolate
from traffic import Shapes

import dali_tokenmix as dtm
from dali_tokenmix import reference, runtime

from .each import Timed, in_turns, ways
from .masks import block_mask

PHOTOGRAPH = (375, 500)  # height and width of what crops are cut from, where the image size is 224
LEAST_ASPECT = 0.3  # of a rectangle of a mask
SEED = 2
HALF = np.float32(0.5)  # rounds up at ties, as the kernel and Pillow do


def host_kernels(shapes: Shapes, rounds: int) -> Iterator[Timed]:
    """Raises AssertionError where a result is wrong."""
    place = Cpu()
    say("resize: checking, timing")
    yield resize(place, shapes, rounds)
    say("normalise: checking, timing")
    yield normalise(place, shapes, rounds)
    say("block_mask: checking, timing")
    yield masks(place, shapes, rounds)


def resize(place: Cpu, shapes: Shapes, rounds: int) -> Timed:
    """A batch of RandomResizedCrop's crops to the image size, against filters as matrices and against interpolate."""
    size, rng = (shapes.height, shapes.width), np.random.default_rng(SEED)
    crops = [rng.integers(0, 256, (*side, 3), np.uint8) for side in crop_sizes(shapes, rng)]
    flips = np.zeros(len(crops), np.int32)
    ours = runtime.resize(crops, flips, size)
    tensors = [torch.from_numpy(crop).permute(2, 0, 1)[None] for crop in crops]

    def in_torch() -> torch.Tensor:
        return torch.cat([interpolate(one, size, mode="bilinear", antialias=True) for one in tensors])

    in_numpy = np.stack([by_matrices(crop, size) for crop in crops])
    for name, other in (("NumPy", in_numpy), ("torch", in_torch().permute(0, 2, 3, 1).numpy())):
        off = np.abs(ours.astype(int) - other).max()
        assert off <= 2, f"resize and its {name} form differ by {off} levels"
    moved = sum(crop.nbytes for crop in crops) + ours.nbytes
    buffers = copy_buffers(place, moved, 2)
    work = {"copy": lambda call: place.copy(*buffers[call % 2])}
    for way, threads in ways(place).items():
        work[way] = lambda _, threads=threads: runtime.resize(crops, flips, size, threads=threads, out=ours)
    others = {"NumPy": lambda _: [by_matrices(crop, size) for crop in crops], "torch": lambda _: in_torch()}
    return Timed("resize uint8 NHWC", moved, in_turns(place, work, others, rounds))


def normalise(place: Cpu, shapes: Shapes, rounds: int) -> Timed:
    """uint8 NHWC to float32 NCHW, into memory that is there, against whole-array arithmetic."""
    rng = np.random.default_rng(SEED)
    images = rng.integers(0, 256, (shapes.batch, shapes.height, shapes.width, 3), np.uint8)
    out = np.empty((shapes.batch, 3, shapes.height, shapes.width), np.float32)
    mean, std = dtm.IMAGENET_MEAN, dtm.IMAGENET_STD
    as_array = [np.float32(255) * np.array(values, np.float32).reshape(3, 1, 1) for values in (mean, std)]
    as_tensor = [torch.from_numpy(values) for values in as_array]

    def in_numpy() -> np.ndarray:
        return (images.transpose(0, 3, 1, 2) - as_array[0]) / as_array[1]

    def in_torch() -> torch.Tensor:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        return pixels.float().sub_(as_tensor[0]).div_(as_tensor[1])

    runtime.normalise(images, mean, std, out, planar=True)
    for other in (in_numpy(), in_torch().numpy()):
        np.testing.assert_allclose(out, other, rtol=0, atol=2e-6)
    moved = images.nbytes + out.nbytes
    buffers = copy_buffers(place, moved, 2)
    work = {"copy": lambda call: place.copy(*buffers[call % 2])}
    for way, threads in ways(place).items():
        work[way] = lambda _, threads=threads: runtime.normalise(images, mean, std, out, planar=True, threads=threads)
    others = {"NumPy": lambda _: in_numpy(), "torch": lambda _: in_torch()}
    return Timed("normalise float32 NCHW", moved, in_turns(place, work, others, rounds))


def crop_sizes(shapes: Shapes, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Height and width of each crop: 0.08 to 1 of a photograph's area, aspect 3/4 to 4/3 where it fits."""
    sizes = []
    for _ in range(shapes.batch):
        height, width = (side * shapes.height / 224 for side in PHOTOGRAPH)
        area, aspect = rng.uniform(0.08, 1) * height * width, (4 / 3) ** rng.uniform(-1, 1)
        sides = min(height, math.sqrt(area / aspect)), min(width, math.sqrt(area * aspect))
        sizes.append((math.ceil(sides[0]), math.ceil(sides[1])))
    return sizes


def by_matrices(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8 to a size: a matrix for the rows, one for the columns, rounded to bytes after each."""
    (height, width), (out_h, out_w) = image.shape[:2], size
    planes = image.transpose(0, 2, 1).astype(np.float32).reshape(-1, width)
    across = np.floor(planes @ triangles(width, out_w).T + HALF).reshape(height, -1)
    down = np.floor(triangles(height, out_h) @ across + HALF).astype(np.uint8)
    return np.ascontiguousarray(down.reshape(out_h, 3, out_w).transpose(0, 2, 1))


def triangles(here: int, there: int) -> np.ndarray:
    """(there, here) float32: the triangle filter, as wide as two source pixels, or two target pixels if larger."""
    scale = here / there
    centre = (np.arange(there)[:, None] + 0.5) * scale
    near = 1 - np.abs(np.arange(here) + 0.5 - centre) / max(scale, 1.0)
    weights = near.clip(0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def masks(place: Cpu, shapes: Shapes, rounds: int) -> Timed:
    """A mask of half of the tokens for each sample, against the same rules in plain Python and NumPy."""
    grid, count = shapes.grid, shapes.batch
    rules = {"total": shapes.tokens // 2, "min_area": min(14, shapes.tokens // 2)}
    rules |= {"log_aspect": -math.log(LEAST_ASPECT), "official": False}
    seeds = np.random.default_rng(SEED).integers(0, 2**64, count, np.uint64)
    drawn = runtime.block_mask(seeds, grid, **rules)
    for seed, mask in zip(seeds[:8], drawn[:8], strict=True):
        assert np.array_equal(mask, reference.block_mask(int(seed), grid, **rules)), "block_mask is not its definition"
    rng = np.random.default_rng(SEED)
    assert block_mask(rng, grid, rules["total"], rules["min_area"]).sum() == drawn[0].sum() == rules["total"]
    moved = seeds.nbytes + drawn.nbytes
    buffers = copy_buffers(place, moved, 2)
    work = {"copy": lambda call: place.copy(*buffers[call % 2])}
    for way, threads in ways(place).items():
        work[way] = lambda _, threads=threads: runtime.block_mask(seeds, grid, threads=threads, **rules)
    others = {"NumPy": lambda _: [block_mask(rng, grid, rules["total"], rules["min_area"]) for _ in range(count)]}
    return Timed(f"block_mask {grid[0]} x {grid[1]}", moved, in_turns(place, work, others, rounds))
