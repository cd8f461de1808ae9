"""timm's model by name, what of it decays, and a head for tokens."""

from __future__ import annotations

import argparse
from typing import Any

import timm
import torch
from torch import Tensor, nn

import dali_tokenmix as dtm


def create(given: argparse.Namespace, num_classes: int) -> nn.Module:
    """The model for images of the size it is evaluated at; where sizes change, its positions are interpolated."""
    if not timm.is_model(given.model.split(".")[0]):
        raise ValueError(f"--model must be a model of timm {timm.__version__}, got {given.model!r}")
    options: dict[str, Any] = {"num_classes": num_classes, "pretrained": given.pretrained, **given.model_kwargs}
    if given.drop_path:
        options.setdefault("drop_path_rate", given.drop_path)
    try:
        model = timm.create_model(given.model, **options)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        raise ValueError(
            f"--drop-path must be 0 for {given.model}, which drops no paths, got {given.drop_path}"
        ) from None
    size = given.image_size[-1]
    if len(given.image_size) > 1 and hasattr(model, "dynamic_img_size"):  # of ViTs: what they take is fixed otherwise
        model = timm.create_model(given.model, **options, dynamic_img_size=True)
    if hasattr(model, "set_input_size"):  # of ViTs and Swins; after loading, to resample what they learned
        model.set_input_size(img_size=size)
    elif model.default_cfg.get("fixed_input_size") and "img_size" not in options and size != _made_for(model):
        model = timm.create_model(given.model, **options, img_size=size)
    _check_sizes(model, given)
    return WithTokenHead(model) if given.supervision == "tokenlabeling" else model


def _made_for(model: nn.Module) -> int:
    return int(model.default_cfg["input_size"][-1])


@torch.no_grad()
def _check_sizes(model: nn.Module, given: argparse.Namespace) -> None:
    """Not every model takes every size, and some take only one: seen here rather than in the epoch of that size."""
    model.eval()
    for size in given.image_size:
        try:
            model(torch.zeros(1, 3, size, size))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f"--image-size: {given.model} does not take {size} of {given.image_size}: {error}"
            ) from error
    model.train()


def patch_size(model: nn.Module) -> int:
    """Of a ViT in pixels; 16 for a model without patches."""
    model = model.vit if isinstance(model, WithTokenHead) else model
    size = getattr(getattr(model, "patch_embed", None), "patch_size", 16)
    return int(size if isinstance(size, int) else size[0])


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases, norms and what the model names itself (positions, class token) do not decay."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    kept = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
    still = [parameter for name, parameter in named if parameter.ndim < 2 or name in kept]
    decaying = [parameter for name, parameter in named if not (parameter.ndim < 2 or name in kept)]
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": still, "weight_decay": 0.0}]


def criterion(given: argparse.Namespace) -> nn.Module:
    """Of (logits, targets); with token labels of (logits, token logits, *targets)."""
    loss = dtm.losses.SoftTargetBCE() if given.loss == "bce" else dtm.losses.SoftTargetCrossEntropy()
    return dtm.losses.TokenLabelingLoss(image_loss=loss) if given.supervision == "tokenlabeling" else loss


class WithTokenHead(nn.Module):
    """A ViT of timm that in training classifies its tokens too: (logits, token logits)."""

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        if not hasattr(vit, "num_prefix_tokens"):
            raise ValueError(f"--supervision tokenlabeling needs a model of tokens, a ViT, got {type(vit).__name__}")
        self.vit, self.token_head = vit, nn.Linear(vit.num_features, vit.num_classes)

    def forward(self, images: Tensor) -> Any:
        tokens = self.vit.forward_features(images)
        logits = self.vit.forward_head(tokens)
        return (logits, self.token_head(tokens[:, self.vit.num_prefix_tokens :])) if self.training else logits

    def no_weight_decay(self) -> set[str]:
        return {f"vit.{name}" for name in self.vit.no_weight_decay()}
