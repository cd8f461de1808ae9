"""Where a classifier looks: the gradient of its loss with respect to its input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[Any, Tensor], Tensor]


def input_saliency(model: nn.Module, images: Tensor, targets: Tensor, *, loss: Loss | None = None) -> Tensor:
    """(N, H, W) float32: how much each pixel matters to the loss, as PuzzleMix and CoMixup take it.

    The root of the mean over channels of the squared gradient of the loss with respect to the image (Kim et al., ICML
    2020, arXiv 2009.06962). It costs a forward pass and a backward pass that makes no gradients of weights.

    The model runs in eval mode, so running statistics stay as they are and samples do not depend on each other. Its
    training flags are restored, the .grad of parameters is not touched, and neither are the images' own.

    Args:
        model: the student that is trained.
        images: (N, C, H, W) floating, as the model takes them, on its device.
        targets: (N,) class ids or (N, C) rows: what loss takes.
        loss: of (what the model gives, targets), a tensor of any shape, which is summed; cross entropy if left out.

    Raises TypeError for images that are not floating, ValueError for another shape.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(
            f"images must be a floating torch tensor, got {getattr(images, 'dtype', type(images).__name__)}"
        )
    if images.ndim != 4:
        raise ValueError(f"images must be (N, C, H, W), got shape {tuple(images.shape)}")
    with torch.enable_grad(), _evaluating(model):
        watched = images.detach().requires_grad_()
        total = (_cross_entropy if loss is None else loss)(model(watched), targets).sum()
        (gradient,) = torch.autograd.grad(total, watched)
    return gradient.float().square().mean(1).sqrt()


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="sum")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, and every module of it afterwards in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
