"""What a teacher needs of a classifier: its features as a grid of cells, and the linear head that reads one cell."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNET = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
BY_HAND = (
    "Pass Teacher(features=function, weight=W, bias=b) instead: function takes images (N, 3, H, W) and returns "
    "features (N, K, h, w), which the linear head W (C, K), b (C,) reads at each position"
)


class Backbone:
    """A function from images (N, 3, H, W) to features (N, K, h, w), and the head that reads them.

    name, input_size, mean and std are what a Teacher uses unless it is told otherwise.
    """

    name: str
    input_size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    module: nn.Module | None

    def __init__(self, features: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor) -> None:
        self.module = owner_of(features)
        self.name = type(self.module).__name__ if self.module else getattr(features, "__name__", "features")
        self.features = features
        self._linear = weight, bias

    def head(self) -> tuple[Tensor, Tensor]:
        """Weight (C, K) and bias (C,), as they are now."""
        return self._linear

    def check(self, images: Tensor) -> None:
        """Raises TypeError if features and head do not make the model's own output on these images."""


class PooledBackbone(Backbone):
    """A model that averages its last maps and applies a linear layer: the mean of the activation map is its logit."""

    def __init__(self, model: nn.Module, features: Callable[[Tensor], Tensor], head: str) -> None:
        self.module, self.name, self.features, self._layer = model, type(model).__name__, features, head
        if type(model).__module__.startswith("efficientnet_lite_pytorch"):
            self.mean, self.std = (127 / 255,) * 3, (128 / 255,) * 3

    def head(self) -> tuple[Tensor, Tensor]:
        return _rows(self.module, getattr(self.module, self._layer))

    def check(self, images: Tensor) -> None:
        assert self.module is not None
        weight, bias = self.head()
        _require_same(self.module, self.features(images).mean((2, 3)) @ weight.T + bias, self.module(images))


class TimmBackbone(Backbone):
    """A model of timm: what its own forward_head makes of each cell, as though it were the whole feature map.

    For pooling and a linear layer that is the linear layer. What lies between the two is applied to each cell: the norm
    of ConvNeXt, the fc_norm of average-pooled ViTs, the last convolution of MobileNetV3. Class and register tokens are
    dropped: the maps come from the patch tokens after the final norm, also where the model itself classifies by its
    class token. A distilled DeiT has two heads; their mean is used, as the model does.
    """

    def __init__(self, model: Any) -> None:
        self.module = self._model = model
        config = getattr(model, "pretrained_cfg", None) or {}
        self.name = f"timm:{config.get('architecture') or type(model).__name__}"
        given = getattr(getattr(model, "patch_embed", None), "img_size", None)
        self.input_size = tuple(given or config.get("input_size", (3, 224, 224))[1:])
        self.mean, self.std = config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD)
        self._prefix = getattr(model, "num_prefix_tokens", 0)
        self._plain = False  # whether nothing lies between pooling and the linear layer
        if "pre_logits" not in inspect.signature(model.forward_head).parameters:
            raise unfit(model, "its forward_head has no pre_logits")
        self.head()

    def features(self, images: Tensor) -> Tensor:
        cells, single = self._cells(images)
        return (cells if self._plain else self._prepared(cells, single)).permute(0, 3, 1, 2)

    def head(self) -> tuple[Tensor, Tensor]:
        return _rows(self._model, self._model.get_classifier())

    def check(self, images: Tensor) -> None:
        cells, single = self._cells(images)
        prepared = self._prepared(cells, single)
        weight, bias = self.head()
        _require_same(self._model, prepared.flatten(0, 2) @ weight.T + bias, self._model.forward_head(single(cells)))
        self._plain = torch.equal(prepared, cells)

    def _prepared(self, cells: Tensor, single: Callable[[Tensor], Tensor]) -> Tensor:
        """What the linear layer sees of each cell: (N, h, w, K)."""
        prepared: Tensor = self._model.forward_head(single(cells), pre_logits=True)
        return prepared.flatten(1).reshape(*cells.shape[:3], -1)

    def _cells(self, images: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Cells (N, h, w, F), and how to make (N * h * w) feature maps of one cell each of them."""
        found = self._model.forward_features(images)
        if isinstance(found, Tensor) and found.ndim == 3:
            tokens = found[:, self._prefix :]
            cells = tokens.reshape(len(tokens), *_grid(self._model, tokens.shape[1], images), -1)
            # every token of such a sequence is the same, so that any pooling yields it
            return cells, lambda cells: cells.flatten(0, 2)[:, None].expand(-1, self._prefix + 1, -1)
        if not isinstance(found, Tensor) or found.ndim != 4:
            form = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise unfit(self._model, f"its forward_features yields {form}, neither one tensor of maps nor of tokens")
        if getattr(self._model, "output_fmt", "NCHW") == "NHWC":
            return found, lambda cells: cells.flatten(0, 2)[:, None, None]
        return found.permute(0, 2, 3, 1), lambda cells: cells.flatten(0, 2)[:, :, None, None]


def backbone_from(model: Any, features: Any, weight: Any, bias: Any, device: str | torch.device | None) -> Backbone:
    """The one of the two ways to describe a teacher that is used. Raises TypeError for neither, both or half of one."""
    if model is not None:
        if not (features is None and weight is None and bias is None):
            raise TypeError(
                f"model must be left out where features, weight and bias are given, got a {type(model).__name__}"
            )
        backbone_of(model)  # refuses what is none, before it is moved
        if device is not None:
            model.to(device)
        return backbone_of(eval_twin(model))
    if not callable(features) or not isinstance(weight, Tensor):
        found = f"{features!r:.80} and {weight!r:.80}"
        raise TypeError(f"model, or features and weight, must be given, got {found}. {BY_HAND}")
    if weight.ndim != 2 or not weight.is_floating_point():
        raise ValueError(f"weight must be (C, K) and floating, got {weight.dtype} of shape {tuple(weight.shape)}")
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    if not isinstance(bias, Tensor) or bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias must be a tensor of shape ({len(weight)},), a number for each row of weight, got {bias!r}"
        )
    if (owner := owner_of(features)) is not None:
        if features is owner and device is not None:
            owner.to(device)
        twin = eval_twin(owner)
        features = twin if features is owner else MethodType(features.__func__, twin)
    return Backbone(features, weight.detach().to(device), bias.detach().to(device))


def owner_of(features: Any) -> nn.Module | None:
    """The module that a function is, or is a method of."""
    owner = features if isinstance(features, nn.Module) else getattr(features, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def eval_twin(model: nn.Module) -> nn.Module:
    """A copy in eval mode that shares all parameters and buffers; the model's own training mode is not touched.

    DALI calls a teacher from threads of its own: to switch the model to eval mode for a call, and back, would be to do
    so under the feet of whoever trains or evaluates it meanwhile. Raises TypeError for a model that cannot be copied.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    try:
        return copy.deepcopy(model, shared).eval()
    except Exception as error:
        raise TypeError(
            f"model {type(model).__name__} cannot be copied, which keeps its training mode apart: {error}. {BY_HAND}"
        ) from error


def backbone_of(model: Any) -> Backbone:
    """How to read the features and the head of a model. Raises TypeError for one of unknown build."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {model!r}. {BY_HAND}")
    if all(hasattr(model, name) for name in ("forward_features", "forward_head", "get_classifier")):
        return TimmBackbone(model)
    if all(hasattr(model, name) for name in (*RESNET, "avgpool", "fc")):

        def features(images: Tensor) -> Tensor:
            for name in RESNET:
                images = getattr(model, name)(images)
            return images

        return PooledBackbone(model, features, "fc")
    if hasattr(model, "extract_features") and hasattr(model, "_fc"):
        return PooledBackbone(model, cast("Callable[[Tensor], Tensor]", model.extract_features), "_fc")
    raise unfit(
        model,
        "it has neither forward_features, forward_head and get_classifier (timm), nor layer1 to layer4, avgpool and fc "
        "(torchvision's ResNets), nor extract_features and _fc (EfficientNet-Lite)",
    )


def unfit(model: Any, reason: str) -> TypeError:
    """The refusal of a model, with the way round it."""
    return TypeError(f"model {type(model).__name__} does not show features and a linear head: {reason}. {BY_HAND}")


def _rows(model: Any, layer: Any) -> tuple[Tensor, Tensor]:
    """Weight (C, K) and bias (C,) of a linear layer, of a 1 x 1 convolution, or of the mean of several heads."""
    if isinstance(layer, tuple | list):
        heads = [_rows(model, part) for part in layer]
        weights, biases = zip(*heads, strict=True)
        return torch.stack(weights).mean(0), torch.stack(biases).mean(0)
    pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1
    if not isinstance(layer, nn.Linear) and not pointwise:
        raise unfit(model, f"its head is {type(layer).__name__}, not torch.nn.Linear")
    weight = layer.weight.detach().flatten(1)
    return weight, weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()


def _grid(model: Any, tokens: int, images: Tensor) -> tuple[int, int]:
    """(h, w) of so many patch tokens, in the proportions of the images."""
    height, width = images.shape[2:]
    h = max(1, round((tokens * height / width) ** 0.5))
    if tokens % h:
        raise unfit(model, f"its {tokens} patch tokens make no grid on images of {height} x {width}")
    return h, tokens // h


def _require_same(model: Any, ours: Tensor, own: Tensor) -> None:
    if not own.isfinite().all():
        raise ValueError(f"model {type(model).__name__} must yield finite numbers, got others on an image of noise")
    tolerance = 1e-3 if own.dtype in (torch.float32, torch.float64) else 5e-2
    if ours.shape != own.shape or not torch.allclose(ours, own, tolerance, tolerance * float(own.abs().max())):
        raise unfit(model, "what its head makes of its features, position by position, is not its own output")
