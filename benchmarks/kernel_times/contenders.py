"""The ways to mix a batch: ours, torch's, timm's and torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from dense_labels import CLASSES, SMOOTHING, Batch, dense
from gpu.place import Cpu
from timm.data import Mixup
from torchvision.transforms import v2
from traffic import Shapes

import dali_tokenmix as dtm
from dali_tokenmix import runtime
from dali_tokenmix.labels import scored_rows
from dali_tokenmix.plan import packed, region_offsets
from dali_tokenmix.runtime.arrays import view
from dali_tokenmix.runtime.images import images_of

from .each import ways
from .masks import block_mask

PATCH = 16
WITH_MAPS = "TokenMix with label maps"
FORMS = (("uint8", "NHWC"), ("float32", "NCHW"))
Mix = Callable[[Any, int], tuple[Any, Any]]  # (images, number of the call) -> mixed images and targets


@dataclass(frozen=True)
class Way:
    """One way to mix a batch of a dtype and layout. what: "TokenMix", "CutMix", "MixUp", or with a teacher's maps."""

    who: str
    what: str
    dtype: str
    layout: str
    mix: Mix
    smoothing: float = SMOOTHING
    as_in_pipeline: bool = False

    @property
    def ours(self) -> bool:
        return isinstance(self.mix, Ours)

    @property
    def form(self) -> tuple[bool, str, str]:
        """Of the batches it takes."""
        return self.ours, self.dtype, self.layout

    @property
    def name(self) -> str:
        return f"{self.what}, {self.who}, {self.dtype} {self.layout}"


def all_ways(place: Cpu, shapes: Shapes, labelled: list[Batch]) -> list[Way]:
    """Ours and the others'. labelled: batches of stored maps, for targets by content."""
    labels = torch.arange(shapes.batch, device=place.torch_device)
    found = list(_ours(place, labels, shapes.height, labelled))
    for dtype in ("float32", "uint8"):
        for who, what, mix, smoothing in _others(labels, shapes.height, labelled):
            if what != WITH_MAPS or dtype == "float32":
                found.append(Way(who, what, dtype, "NCHW", mix, smoothing))
    return found


def _ours(place: Cpu, labels: torch.Tensor, size: int, labelled: list[Batch]) -> Iterator[Way]:
    """In place. The pipeline mixes uint8 on all threads, which is the last of ways()."""
    mixers = {"TokenMix": dtm.TokenMix(PATCH), "CutMix": dtm.CutMix(), "MixUp": dtm.MixUp()}
    usual = list(ways(place))[-1]
    for dtype, layout in FORMS:
        for way, threads in ways(place).items():
            as_in_pipeline = (dtype, way) == ("uint8", usual)
            for what, mixer in mixers.items():
                mix = Ours(place, mixer, labels, size, layout, threads)
                yield Way(f"ours, {way}", what, dtype, layout, mix, as_in_pipeline=as_in_pipeline)
    mix = Ours(place, mixers["TokenMix"], labels, size, "NHWC", ways(place)[usual], labelled)
    yield Way(f"ours, {usual}", WITH_MAPS, "uint8", "NHWC", mix, as_in_pipeline=True)


class Ours:
    """What the graph's callbacks do to a batch that is where the place is."""

    def __init__(
        self,
        place: Cpu,
        mixer: Any,
        labels: torch.Tensor,
        size: int,
        layout: Any,
        threads: int,
        labelled: list[Batch] | None = None,
    ) -> None:
        self.place, self.mixer, self.labelled = place, mixer, labelled
        self.size, self.layout, self.threads = (size, size), layout, threads
        self.samples, self.labels = len(labels), place.put(labels.int().cpu().numpy())

    def __call__(self, images: Any, call: int) -> tuple[Any, Any]:
        plan, kinds = dtm.draw(self.mixer, self.samples, self.size, call), self.mixer.shapes(self.size)
        sent, labels, where = plan.packed, self.labels, (kinds, region_offsets(kinds))
        if self.labelled is not None:
            batch = self.labelled[call % len(self.labelled)]
            maps = dtm.crop_maps(batch.scores[:, 0].cpu().numpy(), batch.boxes, batch.flips, kinds[0].grid)
            sent, labels = packed(scored_rows(plan, maps)), self.place.put(batch.labels)
        rows, out = view("rows", self.place.put(sent)), self.place.empty((self.samples, CLASSES), "float32")
        runtime.apply_plan(
            images_of(view("images", images), self.size, self.layout), rows, *where, threads=self.threads
        )
        runtime.targets(view("labels", labels), rows, view("targets", out), smoothing=SMOOTHING)
        return images, out


def _others(labels: torch.Tensor, size: int, labelled: list[Batch]) -> Iterator[tuple[str, str, Mix, float]]:
    """(who, what, how, the label smoothing it has): on torch's threads, all of them."""
    cut, up = Mixup(mixup_alpha=0.0, cutmix_alpha=1.0), Mixup(mixup_alpha=0.8)
    v2_cut, v2_up = v2.CutMix(num_classes=CLASSES), v2.MixUp(alpha=0.8, num_classes=CLASSES)
    token_mix = TorchTokenMix(labels, size)
    yield "torch", "TokenMix", lambda images, _: (token_mix.pixels(images), token_mix.targets()), SMOOTHING
    yield "timm", "CutMix", lambda images, _: cut(images, labels), SMOOTHING
    yield "timm", "MixUp", lambda images, _: up(images, labels), SMOOTHING
    yield "torchvision", "CutMix", lambda images, _: v2_cut(images, labels), 0.0
    yield "torchvision", "MixUp", lambda images, _: v2_up(images, labels), 0.0

    def by_maps(images: Any, call: int) -> tuple[Any, Any]:
        return token_mix.pixels(images), dense(labelled[call % len(labelled)])

    yield "torch, dense", WITH_MAPS, by_maps, SMOOTHING


class TorchTokenMix:
    """The paper's mask, one for the whole batch, which is the least work, and torch.where."""

    def __init__(self, labels: torch.Tensor, size: int) -> None:
        self.labels, self.grid = labels, (-(-size // PATCH),) * 2
        self.rng, self.size, self.share = np.random.default_rng(0), size, 0.0

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.grid[0] * self.grid[1]
        mask = torch.from_numpy(block_mask(self.rng, self.grid, tokens // 2, min(14, tokens // 2))).to(images.device)
        shown = mask.repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1)[: self.size, : self.size]
        self.share = float(shown.float().mean())
        return torch.where(shown, images.flip(0), images)

    def targets(self) -> torch.Tensor:
        out = torch.full((len(self.labels), CLASSES), SMOOTHING / CLASSES, device=self.labels.device)
        each = torch.arange(len(out), device=out.device)
        out[each, self.labels] += (1 - SMOOTHING) * (1 - self.share)
        out[each, self.labels.flip(0)] += (1 - SMOOTHING) * self.share
        return out
