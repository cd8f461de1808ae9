"""Mixing without DALI: draw a plan, apply it to arrays of any library."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks
from .checks import integer
from .placing import placed
from .plan import Batch, Plan, region_offsets
from .runtime import apply_plan
from .runtime.arrays import view
from .runtime.images import Layout, images_of


def generator(seed: int) -> np.random.Generator:
    """Philox, keyed by a seed in [0, 2**64): a counter-based generator that starts afresh for each batch."""
    return np.random.Generator(np.random.Philox(key=integer("seed", seed, at_least=0, at_most=2**64 - 1)))


def draw(
    mixer: Any,
    n: int,
    image_size: int | tuple[int, int],
    seed: int = 0,
    *,
    valid: int | None = None,
    maps: Any = None,
) -> Plan:
    """The plan a mixer draws for a batch.

    Args:
        mixer: TokenMix(...), CutMix(...), MixUp(...), Choice(...) or anything with their draw().
        n: samples in the batch, >= 1.
        image_size: height and width in pixels, or one number for both.
        seed: in [0, 2**64). Equal seeds draw equal plans.
        valid: only the first so many samples are mixed, all of them if left out.
        maps: (n, h, w) of the samples, for a mixer that looks at them: saliency for SaliencyMix, such as Saliency()
            gives, attention for AttentiveCutMix, such as Teacher.attention() gives. A dict of both, by these names, for
            one that takes both (Choice).

    Raises TypeError or ValueError for an argument out of range, ValueError where the mixer cannot fit the image, and
    for maps that are missing or do not fit.
    """
    return placed(drawn(mixer, n, image_size, seed, valid=valid), maps)


def drawn(mixer: Any, n: int, image_size: int | tuple[int, int], seed: int = 0, *, valid: int | None = None) -> Plan:
    """The plan as the mixer draws it: what is to be placed by maps is not yet."""
    checks.mixer("mixer", mixer)
    size = checks.image_size(image_size)
    n = integer("n", n, at_least=1)
    valid = n if valid is None else integer("valid", valid, at_least=0, at_most=n)
    plan: Plan = mixer.draw(generator(seed), Batch(n, size, valid))
    return plan


def apply(plan: Plan, images: Any, *, layout: Layout | None = None, threads: int | None = None) -> Any:
    """Mixes a batch of images in place, as the plan says, and returns it.

    Args:
        plan: of draw(), for as many samples of the same height and width.
        images: uint8, float16 or float32, (N, H, W, C) or (N, C, H, W); a NumPy, torch or CuPy array, or one with
            DLPack on the CPU. Pixels of a row lie side by side; rows, planes and samples may have gaps.
        layout: "NHWC" or "NCHW"; only needed where the shape leaves it open.
        threads: CPU threads, all if left out. On a GPU the work is put on CuPy's current stream (for torch
            tensors on torch's current stream), and this returns at once.

    Raises TypeError for another dtype, ValueError for images that do not fit the plan, are read-only or share memory.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan must be a Plan, got {plan!r}")
    if threads is not None:
        integer("threads", threads, at_least=1)
    seen = images_of(view("images", images), plan.image_size, layout)
    if seen.samples != len(plan):
        raise ValueError(
            f"plan is for {len(plan)} samples, images are {seen.samples}: draw(mixer, {seen.samples}, image_size)"
        )
    shapes = tuple(region.shape for region in plan.regions)
    packed, offsets = plan.packed, region_offsets(shapes)
    if seen.view.device == "gpu":
        from .runtime.cuda import on_stream_of, to_device

        with on_stream_of(images):
            apply_plan(seen, view("plan", to_device(packed)), shapes, offsets)
    else:
        apply_plan(seen, view("plan", packed), shapes, offsets, threads=threads)
    return images
