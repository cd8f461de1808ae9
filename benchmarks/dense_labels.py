"""A batch of stored maps for benchmarks/labels.py, and the targets that torch makes of the same numbers.

The targets are made where the batch's tensors are. benchmarks/overheads/usual.py has batches of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torchvision.ops import roi_align

import dali_tokenmix as dtm

CLASSES, IMAGE, GRID, SMOOTHING, TOP = 1000, 224, (14, 14), 0.1, 5


@dataclass
class Batch:
    """Samples of a store with their crops and plan; and what of it torch takes, made before the clock runs."""

    indices: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    flips: np.ndarray
    plan: dtm.Plan
    ids: torch.Tensor  # (N, 5, h, w) int64
    scores: torch.Tensor  # (N, 5, h, w) float32
    top: tuple[np.ndarray, np.ndarray]  # ids int32, scores float16, as a store keeps them
    rois: torch.Tensor  # (N, 5): sample, x0, y0, x1, y1 in cells
    own: torch.Tensor  # (N,) int64: labels
    grid: tuple[int, int] = GRID
    classes: int = CLASSES

    @classmethod
    def of(cls, store: dtm.LabelStore, n: int, seed: int) -> Batch:
        """RandomResizedCrop's boxes of random samples. The store's numbers are the first of each cell's five logits."""
        rng = np.random.default_rng(seed)
        indices, labels = rng.choice(len(store), n, replace=False), rng.integers(0, CLASSES, n, np.int32)
        area, aspect = rng.uniform(0.08, 1, (n, 1)), (4 / 3) ** rng.uniform(-1, 1, (n, 1))
        sides = np.sqrt(area * np.hstack([1 / aspect, aspect])).clip(max=1)  # height, width
        corner = rng.random((n, 2)) * (1 - sides)
        boxes = np.hstack([corner, corner + sides]).clip(0, 1).astype(np.float32)
        flips, plan = rng.random(n) < 0.5, dtm.draw(dtm.TokenMix(), n, IMAGE, seed)
        shape, bands = (n, TOP, *store.map_size), np.arange(TOP)[:, None, None] * (CLASSES // TOP)
        further, scores = bands - rng.integers(0, CLASSES // TOP, shape), rng.random(shape)  # distinct in a cell
        further[:, 0], scores[:, 0] = 0, store.maps(indices)
        ids = torch.from_numpy((labels[:, None, None, None] + further) % CLASSES)
        cells = torch.from_numpy(boxes[:, [1, 0, 3, 2]] * np.float32(store.map_size[0]))
        rois, own = torch.column_stack([torch.arange(n), cells]), torch.from_numpy(labels).long()
        top = ids.int().numpy(), scores.astype(np.float16)
        return cls(indices, labels, boxes, flips, plan, ids, torch.from_numpy(scores).float(), top, rois, own)

    def to(self, device: str) -> Batch:
        """The same with its tensors on a device."""
        tensors = {f.name: t.to(device) for f in fields(self) if isinstance(t := getattr(self, f.name), torch.Tensor)}
        return replace(self, **tensors)


def dense(batch: Batch) -> torch.Tensor:
    """The released way, for the whole batch at once: a plane for every class, all of them cut, one of them kept."""
    cropped = roi_align(all_planes(batch), batch.rois, batch.grid, aligned=True)
    return torch_targets(cropped[torch.arange(len(cropped), device=cropped.device), batch.own], batch)


def one_plane(batch: Batch) -> torch.Tensor:
    """The plane of the sample's own class, and no other."""
    planes = batch.scores.where(batch.ids == batch.own[:, None, None, None], 0).sum(1, keepdim=True)
    return torch_targets(roi_align(planes, batch.rois, batch.grid, aligned=True)[:, 0], batch)


def dense_relabel(batch: Batch, tokens: bool) -> tuple[torch.Tensor, ...]:
    """ReLabel's targets (N, C), and with tokens TokenLabeling's (N, T, C): all classes get a plane, cut, softmax."""
    planes, device = all_planes(batch), batch.scores.device
    partner, mask = torch.tensor(batch.plan.partner, device=device), torch.from_numpy(batch.plan.mask()).to(device)
    labels = roi_align(planes, batch.rois, (1, 1), aligned=True)[:, :, 0, 0].softmax(1)
    own, other = (torch.tensor(weights, device=device)[:, None] for weights in (batch.plan.own, batch.plan.other))
    targets = (1 - SMOOTHING) * (own * labels + other * labels[partner]) + SMOOTHING / batch.classes
    if not tokens:
        return (targets,)
    cropped = roi_align(planes, batch.rois, batch.grid, aligned=True).softmax(1)
    cropped = cropped.where(~torch.from_numpy(batch.flips).to(device)[:, None, None, None], cropped.flip(3))
    return targets, cropped.where(~mask.bool()[:, None], cropped[partner]).flatten(2).transpose(1, 2)


def all_planes(batch: Batch) -> torch.Tensor:
    """(N, C, h, w): the maps of every class, 0 where it is not among a cell's five."""
    samples, _, height, width = batch.scores.shape
    planes = torch.zeros(samples, batch.classes, height, width, device=batch.scores.device)
    return planes.scatter_(1, batch.ids, batch.scores)


def torch_targets(maps: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(N, C) from each sample's map of its own class, cropped, (N, gh, gw)."""
    device = maps.device
    maps = maps.where(~torch.from_numpy(batch.flips).to(device)[:, None, None], maps.flip(2))
    maps = maps / maps.sum((1, 2), keepdim=True)
    partner, mask = torch.tensor(batch.plan.partner, device=device), torch.from_numpy(batch.plan.mask()).to(device)
    shown = torch.stack([((1 - mask) * maps).sum((1, 2)), (mask * maps[partner]).sum((1, 2))], 1)
    classes = torch.stack([batch.own, batch.own[partner]], 1)
    floor = torch.full((len(maps), batch.classes), SMOOTHING / batch.classes, device=device)
    return floor.scatter_add_(1, classes, (1 - SMOOTHING) * shown)
