"""The methods, a line each, with the papers' defaults; all samples are changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import dali_tokenmix as dtm


@dataclass(frozen=True)
class Row:
    """mixer: what draws. maps: what makes the maps that it is placed by, of a batch of images, or None.

    stand_in: whether maps are only in the place of a teacher's, whose cost is the teacher's: see overhead.py.
    """

    name: str
    mixer: Any
    maps: Any = None
    stand_in: bool = False


def table(side: int) -> list[Row]:
    """For images of so many pixels a side."""
    return [
        Row("Cutout", dtm.Cutout(side // 2)),
        Row("RandomErasing", dtm.RandomErasing(prob=1.0)),
        Row("RandomErasing, mean", dtm.RandomErasing(prob=1.0, fill="mean")),
        Row("HideAndSeek", dtm.HideAndSeek()),
        Row("MixUp", dtm.MixUp()),
        Row("AugMix", dtm.AugMix()),
        Row("CutMix", dtm.CutMix()),
        Row("TokenMix", dtm.TokenMix()),
        Row("ResizeMix", dtm.ResizeMix()),
        Row("RICAP", dtm.RICAP()),
        Row("SaliencyMix", dtm.SaliencyMix(), saliency),
        Row("AttentiveCutMix", dtm.AttentiveCutMix(), attention, stand_in=True),
    ]


def saliency(images: Any) -> Any:
    """On one thread, as all else here."""
    return dtm.Saliency().maps(images, threads=1)


def attention(images: Any) -> np.ndarray:
    """Noise."""
    return np.random.default_rng(0).random((images.shape[0], 7, 7), np.float32)
