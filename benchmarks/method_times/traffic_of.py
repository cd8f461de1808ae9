"""How many bytes a plan must move: counted on noise, with what is read by region where that is not what is written."""

from __future__ import annotations

import numpy as np
from traffic import ITEM, Shapes

import dali_tokenmix as dtm
from dali_tokenmix.plan import Plan


def copied(plan: Plan, noise: np.ndarray, shapes: Shapes) -> int:
    """Bytes that a copy writes which moves as many as this plan must.

    noise: (N, H, W, C) uint8, of which as good as no pixel looks like another one.
    """
    changed = (dtm.apply(plan, noise.copy()) != noise).any(axis=3)
    written = int(changed.sum()) * shapes.channels * ITEM["uint8"]
    return max(written, (written + read(plan, written, shapes)) // 2)


def read(plan: Plan, written: int, shapes: Shapes) -> int:
    """Bytes: a pixel that shows another image is read once there."""
    return written
