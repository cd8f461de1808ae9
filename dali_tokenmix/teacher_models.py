"""What a teacher needs of a classifier: its features as a grid of cells, and the linear head that reads one cell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNET_STEM = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
BY_HAND = (
    "pass Teacher(features=function, weight=W, bias=b) instead: function(images (N, 3, H, W)) -> features "
    "(N, K, h, w) that the linear head W (C, K), b (C,) reads at each position"
)


class Backbone:
    """Images (N, 3, H, W) -> features (N, K, h, w), and the head's rows, read afresh at each call.

    The mean over the grid of the head's output is the model's own output: average pooling and a linear layer
    commute. `check` tests that on images of noise.
    """

    input_size: tuple[int, int] = (224, 224)
    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, model: nn.Module, features: Callable[[Tensor], Tensor], head: str) -> None:
        self.module, self._features, self._head = model, features, head
        self.name = type(model).__name__

    def features(self, images: Tensor) -> Tensor:
        return self._features(images)

    def head(self) -> tuple[Tensor, Tensor]:
        return _rows(self.module, getattr(self.module, self._head))

    def check(self, images: Tensor) -> None:
        """Raises TypeError if features and head do not make the model's own output."""
        weight, bias = self.head()
        pooled = self.features(images).mean((2, 3)) @ weight.T + bias
        _require_same(self.module, pooled, self.module(images))


class TimmBackbone(Backbone):
    """A model of timm: what its own forward_head makes of each cell, as though it were the whole feature map.

    For pooling and a linear layer that is the linear layer. What lies between the two is applied to each cell: the
    norm of ConvNeXt and of average-pooled ViTs (fc_norm), the last convolution of MobileNetV3. Of tokens, class and
    register tokens are dropped: the maps come from the patch tokens after the final norm, also where the
    model itself classifies by the class token. A distilled DeiT has two heads; their mean is used, as in the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.module: Any = model
        config = getattr(model, "pretrained_cfg", None) or {}
        self.name = f"timm:{config.get('architecture') or type(model).__name__}"
        self.input_size = tuple(config.get("input_size", (3, 224, 224))[1:])
        self.input_size = _square(getattr(getattr(model, "patch_embed", None), "img_size", None)) or self.input_size
        self.mean, self.std = config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD)
        self._prefix = getattr(model, "num_prefix_tokens", 0)
        self._plain = False  # whether forward_head is a linear layer on a cell, with nothing before it

    def features(self, images: Tensor) -> Tensor:
        cells = self._cells(images)
        return (cells if self._plain else self._prepared(cells)).permute(0, 3, 1, 2)

    def head(self) -> tuple[Tensor, Tensor]:
        return _rows(self.module, self.module.get_classifier())

    def check(self, images: Tensor) -> None:
        """Finds out whether cells need preparing. Raises TypeError if the head is not linear."""
        cells = self._cells(images)
        prepared = self._prepared(cells)
        weight, bias = self.head()
        if prepared.shape[-1] != weight.shape[1]:
            raise _unfit(self.module, f"its forward_head yields {prepared.shape[-1]} numbers for a head of {weight.shape[1]}")
        _require_same(self.module, prepared.flatten(0, 2) @ weight.T + bias, self.module.forward_head(self._single(cells)))
        self._plain = prepared.shape == cells.shape and torch.allclose(prepared, cells, rtol=1e-6, atol=1e-6)

    def _cells(self, images: Tensor) -> Tensor:
        """(N, h, w, K) before the head."""
        found = self.module.forward_features(images)
        if not isinstance(found, Tensor) or found.ndim not in (3, 4):
            raise _unfit(self.module, f"its forward_features yields {_form(found)}, not one tensor of maps or tokens")
        if found.ndim == 3:
            tokens = found[:, self._prefix :]
            return tokens.unflatten(1, self._grid(tokens.shape[1], *images.shape[2:]))
        self._inner = found.shape[-1] == self.module.num_features and (
            found.shape[1] != found.shape[-1] or getattr(self.module, "output_fmt", "NCHW") == "NHWC"
        )
        return found if self._inner else found.permute(0, 2, 3, 1)

    def _prepared(self, cells: Tensor) -> Tensor:
        """What the head's last layer gets to see of each cell, (N, h, w, K')."""
        return self.module.forward_head(self._single(cells), pre_logits=True).flatten(1).unflatten(0, cells.shape[:3])

    def _single(self, cells: Tensor) -> Tensor:
        """Each cell as a batch entry of its own, in the layout of forward_features."""
        single = cells.flatten(0, 2)
        if self._tokens: ...
        return single
