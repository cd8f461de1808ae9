"""Our ways from a teacher's maps to dense targets, for benchmarks/labels.py: from a store, from top-k, online."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from dense_labels import CLASSES, GRID, IMAGE, SMOOTHING, Batch, torch_targets
from gpu.place import Cpu
from gpu.teacher import SmallNet
from torchvision.ops import roi_align

import dali_tokenmix as dtm
from dali_tokenmix import runtime
from dali_tokenmix.plan import region_offsets
from dali_tokenmix.regions import TokenGrid
from dali_tokenmix.runtime.arrays import view

Layout = tuple[tuple, tuple[int, ...], tuple[int, int]]  # a plan's regions, their offsets, the image size


class OnHost:
    """By the package's own functions, as a Loader on the CPU does it."""

    def from_store(self, store: dtm.LabelStore, batch: Batch) -> Any:
        maps = dtm.crop_maps(store.maps(batch.indices), batch.boxes, batch.flips, GRID)
        return dtm.soft_targets(dtm.scored(batch.plan, maps), batch.labels, CLASSES, SMOOTHING)

    def by_labels(self, batch: Batch, tokens: bool) -> tuple:
        """Targets; with tokens also the classes of each token and their probabilities."""
        ids, scores = batch.top
        soft = dtm.crop_labels(ids, scores, batch.boxes, num_classes=CLASSES)
        targets = dtm.soft_targets(batch.plan, soft, CLASSES, SMOOTHING)
        if not tokens:
            return (targets,)
        return targets, *dtm.token_labels(batch.plan, ids, scores, batch.boxes, batch.flips, num_classes=CLASSES)


class AtDevice:
    """By the kernels on arrays that are sent to the place, as a graph on a GPU has them."""

    def __init__(self, place: Cpu) -> None:
        self.place = place

    def from_store(self, store: dtm.LabelStore, batch: Batch) -> Any:
        maps = self._sent(store.maps(batch.indices), batch.boxes, batch.flips.astype(np.uint8))
        return self.scored(batch, *maps)

    def scored(self, batch: Batch, maps: Any, boxes: Any = None, flips: Any = None) -> Any:
        """Targets from maps (N, h, w), views; of whole images unless there are boxes and flips."""
        labels, rows = self._sent(batch.labels, batch.plan.packed)
        cut = self._new(len(batch.labels), *GRID)
        runtime.crop_maps(maps, boxes, flips, cut)
        runtime.score(rows, cut, *_layout(batch))
        out = self._new(len(batch.labels), CLASSES)
        runtime.targets(labels, rows, out, smoothing=SMOOTHING)
        return out.owner

    def by_labels(self, batch: Batch, tokens: bool) -> tuple:
        """As OnHost's."""
        sent = self._sent(*batch.top, batch.boxes, batch.flips.astype(np.int32), batch.plan.packed)
        ids, scores, boxes, flips, rows = sent
        soft = view("labels", runtime.crop_labels(ids, scores, boxes, CLASSES, self.place.empty))
        out = self._new(len(batch.labels), CLASSES)
        runtime.mix_labels(soft, rows, out, smoothing=SMOOTHING)
        if not tokens:
            return (out.owner,)
        kinds, offsets, size = _layout(batch)
        where = (kinds, offsets, size, TokenGrid(IMAGE // GRID[0], GRID))
        found = runtime.token_labels(ids, scores, boxes, flips, rows, *where, CLASSES, self.place.empty, sides=1)
        return out.owner, *found

    def _sent(self, *arrays: np.ndarray) -> list[Any]:
        return [view("array", self.place.put(array)) for array in arrays]

    def _new(self, *shape: int) -> Any:
        return view("array", self.place.empty(shape, "float32"))


class Online:
    """A small teacher on clean images, and three ways on from there: its features alone, ours, dense.

    Dense: the activation maps of all classes, cut to the token grid, of which one a sample is kept. Weights and
    features are >= 0, and so are the maps.
    """

    def __init__(self, place: Cpu, batches: list[Batch], samples: int) -> None:
        device = place.torch_device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = SmallNet(CLASSES).to(device).requires_grad_(False)
        self.features, self.weight = net.stages, net.head.weight.abs()
        self.bias = torch.zeros(CLASSES, device=device)
        self.teacher = dtm.Teacher(features=net, weight=self.weight, bias=self.bias, image_size=IMAGE)
        images = torch.randn(samples, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(0))
        self.images, self.kernels = images.to(device), AtDevice(place)
        self.batches = [
            replace(b, flips=np.zeros_like(b.flips)) for b in batches
        ]  # these maps are of images as they are

    def work(self) -> dict[str, Callable[[int], Any]]:
        return {"features": self.only_features, "ours": self.ours, "dense": self.dense}

    def only_features(self, call: int) -> Any:
        with torch.inference_mode():
            return self.features(self.images)

    def ours(self, call: int) -> Any:
        batch = self._batch(call)
        return self.kernels.scored(batch, view("maps", self.teacher(self.images, batch.own)))

    def dense(self, call: int) -> Any:
        with torch.inference_mode():
            planes = torch.einsum("ck,nkhw->nchw", self.weight, self.features(self.images))
            planes = (planes + self.bias[:, None, None]).relu_()
            batch, (height, width) = self._batch(call), planes.shape[2:]
            whole = torch.tensor([0.0, 0.0, width, height], device=planes.device).expand(len(planes), 4)
            cropped = roi_align(planes, list(whole[:, None].unbind()), GRID, aligned=True)
            each = torch.arange(len(planes), device=planes.device)
            return torch_targets(cropped[each, batch.own], batch)

    def _batch(self, call: int) -> Batch:
        return self.batches[call % len(self.batches)]


def _layout(batch: Batch) -> Layout:
    kinds = tuple(region.shape for region in batch.plan.regions)
    return kinds, region_offsets(kinds), batch.plan.image_size
