"""What the demo's second picture shows: every method on the same few photographs, from plans that are really drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import labels, mixing
from ..mixers import (
    RICAP,
    AttentiveCutMix,
    AugMix,
    CutMix,
    Cutout,
    HideAndSeek,
    MixUp,
    RandomErasing,
    ResizeMix,
    SaliencyMix,
    TokenMix,
)
from ..plan import Plan
from ..regions import kinds
from ..saliency import Saliency

PHOTOGRAPHS = 4
SEEDS = 32  # that are tried for a plan that shows what the method does
TWO, FOUR = 0.4, 0.7  # the share of an image that is changed in such a plan, of two images and of four
LEAST = 0.08  # of a part of four
GRID = (14, 14)  # of patch tokens
PLANNED = (  # name, paper, mixer for images with a side of so many pixels
    ("Cutout", "DeVries and Taylor 2017", lambda side: Cutout(side // 2)),
    ("RandomErasing", "Zhong et al., AAAI 2020", lambda side: RandomErasing(prob=1.0)),
    ("HideAndSeek", "Singh and Lee, ICCV 2017", lambda side: HideAndSeek()),
    ("AugMix", "Hendrycks et al., ICLR 2020", lambda side: AugMix()),
    ("MixUp", "Zhang et al., ICLR 2018", lambda side: MixUp()),
    ("CutMix", "Yun et al., ICCV 2019", lambda side: CutMix()),
    ("TokenMix", "Liu et al., ECCV 2022", lambda side: TokenMix(max(1, side // GRID[0]))),
    ("ResizeMix", "Qin et al. 2020", lambda side: ResizeMix()),
    ("RICAP", "Takahashi et al., ACML 2018", lambda side: RICAP(1.0)),
    ("AttentiveCutMix", "Walawalkar et al., ICASSP 2020", lambda side: AttentiveCutMix()),
    ("SaliencyMix", "Uddin et al., ICLR 2021", lambda side: SaliencyMix()),
)


@dataclass(frozen=True)
class Shown:
    """What a method made of n photographs: images (n, H, W, 3) uint8, targets (n, n) float32, a class a photograph.

    shares: (n, n, h, w) float32, of each photograph in each place of each image; where they sum to less than 1,
    something is erased.
    """

    name: str
    paper: str
    images: np.ndarray
    shares: np.ndarray
    targets: np.ndarray


def photographs(ids: np.ndarray) -> np.ndarray:
    """(n,) positions of PHOTOGRAPHS samples, or of all if there are fewer: of as many classes as there are."""
    repeats = np.array([(ids[:k] == label).sum() for k, label in enumerate(ids)])
    return np.sort(np.argsort(repeats, kind="stable")[:PHOTOGRAPHS])


def methods(images: np.ndarray, attention: np.ndarray) -> Iterator[Shown]:
    """Each method on (n, H, W, 3) uint8 photographs. attention: (n, h, w), a teacher's maps of them."""
    maps = {"saliency": Saliency()(images), "attention": attention}
    for name, paper, mixer_of in PLANNED:
        yield planned(name, paper, mixer_of(min(images.shape[1:3])), images, maps)
    yield of_tokens(images)
    from ..optimised import CoMixup, PuzzleMix

    yield optimised("PuzzleMix", "Kim et al., ICML 2020", PuzzleMix(grid=8), images, maps["saliency"])
    yield optimised("CoMixup", "Kim et al., ICLR 2021", CoMixup(grid=8), images, maps["saliency"])


def planned(name: str, paper: str, mixer: Any, images: np.ndarray, maps: dict[str, np.ndarray]) -> Shown:
    """A mixer's plan carried out."""
    size = (images.shape[1], images.shape[2])
    needed = {kind: maps[kind] for kind in kinds(mixer.shapes(size))} or None
    plans = [mixing.draw(mixer, len(images), size, seed, maps=needed) for seed in range(SEEDS)]
    plan = min(plans, key=unlike)
    return Shown(name, paper, mixing.apply(plan, images.copy()), shares(plan), targets(plan))


def optimised(name: str, paper: str, mixer: Any, images: np.ndarray, saliency: np.ndarray) -> Shown:
    """PuzzleMix, whose mask is the partner's part of each cell, or CoMixup, whose mask names who shows there."""
    import torch

    count = len(images)
    options = {"num_classes": count, "smoothing": 0.0, "seed": 0, "return_mask": True}
    mixed, target, mask = mixer(torch.from_numpy(images), np.arange(count), saliency, **options)
    own, cells = np.eye(count, dtype=np.float32)[:, :, None, None], mask.numpy()[:, None]
    if mask.is_floating_point():
        shown = (1 - cells) * own + cells * own[::-1]  # partners are flipped
    else:
        shown = (cells == np.arange(count)[:, None, None]).astype(np.float32)
    return Shown(name, paper, mixed.numpy(), shown, target.numpy())


def of_tokens(images: np.ndarray) -> Shown:
    """MixToken mixes tokens, not pixels: shown as if each were the pixels below it."""
    plan = min((mixing.draw(CutMix(), len(images), GRID, seed) for seed in range(SEEDS)), key=unlike)
    y, x = (np.arange(side) * cells // side for side, cells in zip(images.shape[1:3], GRID, strict=True))
    sources = plan.sources()[:, y[:, None], x]
    mixed = np.take_along_axis(images, sources[..., None], axis=0)
    return Shown("MixToken", "Jiang et al., NeurIPS 2021", mixed, shares(plan), targets(plan))


def targets(plan: Plan) -> np.ndarray:
    return np.asarray(labels.soft_targets(plan, np.arange(len(plan)), len(plan), smoothing=0.0))


def shares(plan: Plan) -> np.ndarray:
    """(n, n, h, w): see Shown."""
    shown = plan.sources()[:, None] == np.arange(len(plan))[:, None, None]
    weight = plan.blend()[:, None, None, None]
    total: np.ndarray = ((1 - weight) * shown + weight * shown[plan.partner]).astype(np.float32)
    return total


def unlike(plan: Plan) -> float:
    """How far a plan is from one that changes much of every image, but not all."""
    changed = np.maximum(1 - plan.own, (plan.sources() < 0).mean((1, 2)))
    small = np.clip(LEAST - np.column_stack([plan.other, plan.further_weights]), 0, None) if plan.further.size else 0
    return float(((changed - (FOUR if plan.further.size else TWO)) ** 2).sum() + np.sum(small))
