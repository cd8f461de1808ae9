"""The doctor's trial: one small batch through DALI."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from nvidia.dali import fn

from .. import decorators
from ..fn import token_mix
from ..mixers import TokenMix

SAMPLES, SIZE, PATCH = 8, 64, 8


def mixes_right(device: Literal["cpu", "gpu"]) -> bool:
    """Whether a batch comes out of fn.token_mix as its plan says. Raises what DALI, CuPy or the driver raise."""
    given = np.random.default_rng(0).integers(0, 256, (SAMPLES, SIZE, SIZE, 3), np.uint8)

    @decorators.pipeline(batch_size=SAMPLES, num_threads=1, device_id=0 if device == "gpu" else None, seed=0)
    def graph() -> tuple[Any, ...]:
        images = fn.external_source(lambda: given, layout="HWC")
        labels = fn.external_source(lambda: np.arange(SAMPLES)[:, None])
        images = images.gpu() if device == "gpu" else images
        mixed, _, plan = token_mix(images, labels, num_classes=SAMPLES, mixer=TokenMix(PATCH), return_plan=True)
        return mixed, plan["partner"], plan["mask"]

    mixed, partner, mask = (tensors.as_cpu().as_array() for tensors in graph().run())
    shown = mask.repeat(PATCH, axis=1).repeat(PATCH, axis=2)[..., None]
    return bool(mask.any()) and np.array_equal(mixed, np.where(shown, given[partner.reshape(-1)], given))
