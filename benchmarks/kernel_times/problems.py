"""The arguments of numpy_forms and torch_forms that make them compute what a launch of a case computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from gpu.cases import Case
from gpu.images import FORMS, plan_of
from gpu.labels import SMOOTHING, Given
from gpu.place import Cpu
from traffic import Shapes

from . import numpy_forms

ATOL = 2e-5  # sums of float32 in another order
IDS_OFF = 0.01  # the share of tokens' classes that may change places, being equally likely but for rounding


@dataclass(frozen=True)
class Problem:
    """form(*arguments) gives what is expected: one array, or for token_labels ids and probabilities."""

    kernel: str
    arguments: tuple[Any, ...]
    expected: tuple[np.ndarray, ...]

    def check(self, form: ModuleType, place: Cpu) -> None:
        """Raises AssertionError unless this module's form of the kernel gives what the kernel gave."""
        found = getattr(form, self.kernel)(*(self.arguments if form is numpy_forms else self.tensors(place)))
        found = [np.asarray(each if form is numpy_forms else each.cpu()) for each in _several(found)]
        for one, kernels in zip(found, self.expected, strict=True):
            told = f"{form.__name__}.{self.kernel} and the kernel"
            if one.dtype.kind == "i":
                assert (one != kernels).mean() < IDS_OFF, f"{told}: {(one != kernels).mean():.1%} of ids differ"
            elif one.ndim == 4:
                assert np.array_equal(one, kernels), f"{told} give other images"
            else:
                np.testing.assert_allclose(one, kernels, rtol=0, atol=ATOL, err_msg=told)

    def tensors(self, place: Cpu) -> list[Any]:
        """The arguments for torch, where the place is."""
        import torch

        device = place.torch_device
        return [torch.from_numpy(a).to(device) if isinstance(a, np.ndarray) else a for a in self.arguments]


def of_mixing(case: Case, kernel: str, kept: Sequence[np.ndarray], shapes: Shapes) -> Problem:
    """Of a kernel of gpu/images.py. kept: the arrays of the case after it, in the order it got and made them."""
    images, expected = case.arrays[0], (kept[0],)
    if kernel == "mirror":
        return Problem(kernel, (images, case.arrays[1] != 0), expected)
    plan = plan_of(kernel, shapes)
    region, partner = plan.regions[0], plan.partner.astype(np.int64)
    layout = next(layout for dtype, layout in FORMS if case.name.endswith(f"{dtype} {layout}"))
    own_arguments: dict[str, Any] = {
        "exchange_tokens": lambda: (region.bits != 0, shapes.patch, layout),
        "exchange_box": lambda: (region.boxes.astype(np.int64), layout),
        "blend": lambda: (region.weight.copy(),),
    }
    return Problem(kernel, (images, partner, *own_arguments[kernel]()), expected)


def of_labels(case: Case, kernel: str, kept: Sequence[np.ndarray], shapes: Shapes) -> Problem:
    """Of a kernel of gpu/labels.py."""
    g, s = Given.of(shapes), shapes
    partner, mask, ids = g.plan.partner.astype(np.int64), g.plan.mask() != 0, g.ids.astype(np.int64)
    own, other, labels = g.plan.own.copy(), g.plan.other.copy(), g.labels.astype(np.int64)
    if kernel == "crop_maps":
        return Problem(kernel, (g.maps, g.boxes, g.flips != 0, *s.grid), (kept[-1],))
    if kernel == "score":
        rows, maps = kept
        return Problem(kernel, (maps, mask, partner), (rows[:, 4:12].copy().view(np.float32),))
    if kernel == "targets":
        return Problem(kernel, (labels, partner, own, other, s.classes, SMOOTHING), (kept[-1],))
    if case.name == "token_labels":
        weights, token_ids, probabilities = kept[5], kept[7], kept[8]
        if kernel == "roi_weights":
            return Problem(kernel, (g.boxes, g.flips != 0, *s.map_size, *s.grid), (weights,))
        arguments = (ids, g.scores, weights, mask, partner, s.classes)
        return Problem(kernel, arguments, (token_ids, probabilities))
    weights, logits, softmax, mixed = kept[4:]
    return {
        "roi_weights": Problem(kernel, (g.boxes, None, *s.map_size, 1, 1), (weights,)),
        "relabel_pool": Problem(kernel, (ids, g.scores, weights, s.classes), (logits,)),
        "relabel_softmax": Problem(kernel, (logits,), (softmax,)),
        "relabel_mix": Problem(kernel, (softmax, partner, own, other, SMOOTHING), (mixed,)),
    }[kernel]


def _several(found: Any) -> Sequence[Any]:
    return found if isinstance(found, tuple) else (found,)
