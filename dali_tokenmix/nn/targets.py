"""Targets of tensors, where they are: soft_targets() on the CPU, its kernels on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import runtime
from ..labels import soft_targets
from ..plan import Plan
from ..runtime.arrays import view


def mixed_targets(plan: Plan, labels: Tensor, num_classes: int | None, smoothing: float) -> Tensor:
    """soft_targets(plan, labels), (N, C) float32 on the labels' device.

    Raises as soft_targets() does; for a CUDA tensor without looking at values, for that would be to wait for the GPU: a
    label that is no class makes its rows NaN.
    """
    classes = _classes(labels, num_classes)
    labels = labels.detach()
    if labels.device.type == "cuda":
        return _on_gpu(plan, labels, classes, smoothing)
    known = labels.cpu()
    known = known.float() if known.is_floating_point() else known  # NumPy has no bfloat16
    return torch.from_numpy(soft_targets(plan, known.numpy(), classes, smoothing)).to(labels.device)


def _classes(labels: Tensor, num_classes: int | None) -> int:
    if num_classes is not None:
        return num_classes
    if labels.ndim != 2 or labels.shape[1] == 1:
        raise TypeError(f"num_classes must be given for class ids, got labels of shape {tuple(labels.shape)}")
    return labels.shape[1]


def _on_gpu(plan: Plan, labels: Tensor, classes: int, smoothing: float) -> Tensor:
    from ..runtime.cuda import on_stream_of, to_device

    samples, shape = len(plan), tuple(labels.shape)
    rows = shape == (samples, classes) and (classes > 1 or labels.is_floating_point())
    ids = shape in ((samples,), (samples, 1)) and not labels.is_floating_point() and labels.dtype != torch.bool
    if not (rows or ids):
        raise ValueError(
            f"labels must be ({samples},) whole numbers or ({samples}, num_classes={classes}) rows, got {labels.dtype} "
            f"of shape {shape}"
        )
    out = torch.empty((samples, classes), dtype=torch.float32, device=labels.device)
    known = labels.float() if rows else labels.reshape(samples).clamp(-1, classes).int()
    with on_stream_of(labels):
        seen = view("labels", known.contiguous()), view("plan", to_device(plan.packed)), view("targets", out)
        if rows:
            runtime.mix_labels(*seen, smoothing=smoothing)
        else:
            runtime.targets(*seen, smoothing=smoothing, official=False)
    return out
