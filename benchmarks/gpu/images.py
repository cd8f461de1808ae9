"""The kernels that mix and mirror."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from traffic import ITEM, Shapes, mixing

import dali_tokenmix as dtm
from dali_tokenmix import reference, runtime
from dali_tokenmix.plan import Plan, region_offsets
from dali_tokenmix.runtime.arrays import view
from dali_tokenmix.runtime.images import images_of

from .cases import Case
from .place import Cpu

FORMS = (("uint8", "NHWC"), ("float16", "NCHW"), ("float32", "NCHW"))
MIXERS = {
    "exchange_tokens": dtm.TokenMix,
    "exchange_box": partial(dtm.CutMix, minmax=(0.7, 0.7)),  # about half of the image
    "blend": dtm.MixUp,
}


def cases(shapes: Shapes) -> Iterator[Case]:
    """TokenMix, CutMix and MixUp in every dtype, each width against the others, and mirroring."""
    for dtype, layout in FORMS:
        for kernel in MIXERS:
            yield mixing_case(kernel, dtype, layout, shapes)
    pixels, flips = noise(shapes), np.ones(shapes.batch, np.int32)
    yield Case(
        "mirror uint8 NHWC",
        (pixels, flips),
        _mirror,
        {"mirror": mixing("mirror", "uint8", "NHWC", replace(shapes, share=1.0))},
        shapes.batch,
        lambda: [reference.mirrored(pixels, flips)],
    )


def noise(shapes: Shapes) -> np.ndarray:
    """(N, H, W, C) uint8."""
    shape = (shapes.batch, shapes.height, shapes.width, shapes.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def plan_of(kernel: str, shapes: Shapes) -> Plan:
    """The plan that this kernel carries out."""
    mixer = MIXERS[kernel](patch_size=shapes.patch) if kernel == "exchange_tokens" else MIXERS[kernel]()
    return dtm.draw(mixer, shapes.batch, (shapes.height, shapes.width), seed=1)


def mixing_case(kernel: str, dtype: str, layout: Any, shapes: Shapes) -> Case:
    """One of MIXERS on a batch of noise."""
    plan, images = plan_of(kernel, shapes), noise(shapes).astype(dtype)
    share = float(np.where(plan.other > 0, plan.other, 0).mean())
    traffic = mixing(kernel, dtype, layout, replace(shapes, share=share))
    kinds = tuple(region.shape for region in plan.regions)
    offsets, size = region_offsets(kinds), plan.image_size

    def run(place: Cpu, arrays: list[Any], make: Any) -> list[Any]:
        batch, rows = arrays
        runtime.apply_plan(images_of(view("images", batch), size, layout), view("rows", rows), kinds, offsets)
        return [batch]

    def laid_out(batch: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(batch if layout == "NHWC" else batch.transpose(0, 3, 1, 2))

    widths = (1, 2, 4, 8, 16) if kernel != "blend" else (ITEM[dtype], 16)
    return Case(
        f"{kernel} {dtype} {layout}",
        (laid_out(images), plan.packed),
        run,
        {kernel: traffic},
        len(plan),
        lambda: [laid_out(reference.mixed(plan, images))],
        widths=widths,
    )


def _mirror(place: Cpu, arrays: list[Any], make: Any) -> list[Any]:
    runtime.mirror(images_of(view("images", arrays[0]), layout="NHWC"), view("flips", arrays[1]))
    return arrays[:1]
