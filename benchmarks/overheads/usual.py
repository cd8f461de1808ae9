"""Mixing the usual way, after the loader: float32 NCHW tensors, timm for CutMix, plain torch for TokenMix.

TokenMix as the released code goes about it: a block mask for the whole batch, drawn in Python, tensors indexed by it,
partners by flip(0), and label maps with a plane for every class (benchmarks/dense_labels.py), their numbers in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from dense_labels import Batch, dense, dense_relabel, torch_targets
from gpu.place import Cpu
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, Mixup
from torchvision.ops import roi_align

import dali_tokenmix as dtm
from dali_tokenmix.planner import boxes_of

from .given import Given
from .ours import SMOOTHING
from .rows import Row

LEAST, ATTEMPTS, LOG_ASPECT = 14, 10, -math.log(0.3)
IMAGENET = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


@dataclass(frozen=True)
class Drawn:
    """A mask for the batch, (gh, gw) bool, in the form in which dense_labels.py asks for a plan."""

    bits: np.ndarray
    samples: int

    @property
    def partner(self) -> np.ndarray:
        return np.arange(self.samples)[::-1].copy()

    @property
    def other(self) -> np.ndarray:
        return np.full(self.samples, self.bits.mean(), np.float32)

    @property
    def own(self) -> np.ndarray:
        return 1 - self.other

    def mask(self) -> np.ndarray:
        return np.repeat(self.bits[None].astype(np.uint8), self.samples, 0)


class Usual:
    """Calls mix the batches in turn, in place, and give their targets: (N, C), or also (N, T, C) of the tokens."""

    def __init__(self, row: Row, batches: list[Given], place: Cpu) -> None:
        self.row, self.shapes = row, batches[0].shapes
        self.rng = np.random.default_rng(2)
        self.images = [normalised(given.pixels, place.torch_device) for given in batches]
        self.labelled = [labelled(row, given, place.torch_device) for given in batches]
        self.cutmix = Mixup(
            mixup_alpha=0, cutmix_alpha=1, label_smoothing=SMOOTHING, num_classes=self.shapes.classes
        )  # timm's defaults: a box for the batch

    def __call__(self, call: int) -> tuple[torch.Tensor, ...]:
        images, batch = (of[call % len(of)] for of in (self.images, self.labelled))
        if self.row.mixer is None:
            return (smoothed(batch.own, self.shapes.classes),)
        if isinstance(self.row.mixer, dtm.CutMix):
            return (self.cutmix(images, batch.own)[1],)
        return self.token_mix(images, batch, self.draw())

    def draw(self) -> Drawn:
        return Drawn(block_mask(self.rng, self.shapes.grid), self.shapes.batch)

    def token_mix(self, images: torch.Tensor, batch: Batch, drawn: Drawn) -> tuple[torch.Tensor, ...]:
        """Mixes images in place by a mask. A teacher looks at them before."""
        batch = replace(batch, plan=drawn)
        if self.row.supervision == "imagenet":
            targets = (mixed(smoothed(batch.own, self.shapes.classes), float(drawn.bits.mean())),)
        elif self.row.supervision == "tokenmix":
            targets = (dense(batch) if self.row.teacher is None else self.seen(images, batch),)
        else:
            targets = dense_relabel(batch, tokens=self.row.supervision == "tokenlabeling")
        patch = self.shapes.patch
        pixels = torch.from_numpy(drawn.bits.repeat(patch, 0).repeat(patch, 1)).to(images.device)
        images[:, :, pixels] = images.flip(0)[:, :, pixels]
        return targets

    def seen(self, images: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Targets by the maps of a teacher that looks at the loader's images, normalised as it wants them."""
        maps = self.row.teacher(renormalised(images, self.row.teacher), batch.own)
        whole = torch.tensor([[0.0, 0.0, maps.shape[2], maps.shape[1]]], device=maps.device).expand(len(maps), 4)
        rois = torch.column_stack([torch.arange(len(maps), device=maps.device), whole])
        return torch_targets(roi_align(maps[:, None], rois, batch.grid, aligned=True)[:, 0], batch)


def block_mask(rng: np.random.Generator, grid: tuple[int, int]) -> np.ndarray:
    """(gh, gw) bool: rectangles until half of the tokens are masked, or ten in a row did not fit."""
    mask, left = np.zeros(grid, bool), grid[0] * grid[1] // 2
    attempts = 0
    while left and attempts < ATTEMPTS:
        attempts += 1
        area, aspect = rng.uniform(min(LEAST, left), left), math.exp(rng.uniform(-LOG_ASPECT, LOG_ASPECT))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if not (0 < height <= grid[0] and 0 < width <= grid[1]):
            continue
        y, x = rng.integers(grid[0] - height + 1), rng.integers(grid[1] - width + 1)
        block = mask[y : y + height, x : x + width]
        added = block.size - int(block.sum())
        if 0 < added <= left:
            block[:] = True
            left, attempts = left - added, 0
    return mask


def smoothed(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """(N, C): one-hot rows with label smoothing."""
    off = SMOOTHING / classes
    rows = torch.full((len(labels), classes), off, device=labels.device)
    return rows.scatter_(1, labels[:, None], 1 - SMOOTHING + off)


def mixed(targets: torch.Tensor, other: float) -> torch.Tensor:
    return (1 - other) * targets + other * targets.flip(0)


def normalised(pixels: np.ndarray, device: str) -> torch.Tensor:
    """(N, 3, H, W) float32 by ImageNet's mean and deviation, as a loader hands them over."""
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
    return images.contiguous().to(device)


def renormalised(images: torch.Tensor, teacher: Any) -> torch.Tensor:
    """From ImageNet's mean and deviation to the teacher's, where it has others."""
    wanted = getattr(teacher, "mean", IMAGENET[0]), getattr(teacher, "std", IMAGENET[1])
    if wanted == IMAGENET:
        return images
    (mean, std), (its_mean, its_std) = (
        [torch.tensor(values, device=images.device)[:, None, None] for values in pair] for pair in (IMAGENET, wanted)
    )
    return images.mul(std / its_std).add((mean - its_mean) / its_std)


def labelled(row: Row, given: Given, device: str) -> Batch:
    """The batch's labels as dense_labels.py takes them: five classes and scores a cell, on the device.

    For TokenMix's labels the first of each cell's five is the sample's own class, with the store's map.
    """
    s, own = given.shapes, given.own
    ids, scores = given.store.topk(given.index)
    boxes, flips = boxes_of(**given.crop)
    if row.supervision == "tokenmix":
        others = np.arange(s.k, dtype=np.int32)[:, None, None] * (s.classes // s.k)
        ids = np.broadcast_to((own[:, None, None, None] + others) % s.classes, ids.shape)
        scores = np.concatenate([given.store.maps(given.index)[:, None], scores[:, 1:]], 1)
    if row.teacher is not None:
        flips = np.zeros_like(flips)  # what a teacher sees is mirrored already
    cells = boxes[:, [1, 0, 3, 2]] * np.float32([*s.map_size[::-1], *s.map_size[::-1]])
    rois = np.column_stack([np.arange(s.batch), cells]).astype(np.float32)
    on_device = [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (ids.astype(np.int64), scores, rois)]
    classes = torch.from_numpy(own).long().to(device)
    plan: Any = None
    return Batch(
        given.index,
        own,
        boxes,
        flips,
        plan,
        *on_device[:2],
        top=(ids, scores),
        rois=on_device[2],
        own=classes,
        grid=s.grid,
        classes=s.classes,
    )
