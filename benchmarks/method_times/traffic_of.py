"""How many bytes a plan must move: counted on noise, with what is read by region where that is not what is written."""

from __future__ import annotations

import numpy as np
from traffic import ITEM, Shapes

import dali_tokenmix as dtm
from dali_tokenmix.plan import Plan
from dali_tokenmix.regions import Resized
from dali_tokenmix.regions.erased import erases


def copied(plan: Plan, noise: np.ndarray, shapes: Shapes) -> int:
    """Bytes that a copy writes which moves as many as this plan must.

    noise: (N, H, W, C) uint8, of which as good as no pixel looks like another one.
    """
    changed = (dtm.apply(plan, noise.copy()) != noise).any(axis=3)
    written = int(changed.sum()) * shapes.channels * ITEM["uint8"]
    return max(written, (written + read(plan, written, shapes)) // 2)


def read(plan: Plan, written: int, shapes: Shapes) -> int:
    """Bytes: a pixel that shows an image is read once there; what is erased is not read.

    Of a partner that shows resized, two rows are read for each row of the box, or all that there are.
    """
    total = 0
    for region in plan.regions:
        if isinstance(region, Resized):
            total += _resized(region, plan.image_size) * shapes.channels * ITEM["uint8"]
        elif not erases(region.shape):
            total += written // len(plan.regions)
    return total


def _resized(region: Resized, size: tuple[int, int]) -> int:
    """Pixels of the partners that lie in rows which are needed."""
    y0, x0, y1, x1 = region.visible(size).T.astype(np.int64)
    _, _, height, width = region.boxes.T.astype(np.int64)
    rows = np.minimum(2 * (y1 - y0), (y1 - y0) * size[0] // np.maximum(height, 1))
    return int((rows * ((x1 - x0) * size[1] // np.maximum(width, 1))).sum())
