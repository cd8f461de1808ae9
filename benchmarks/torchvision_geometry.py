"""torchvision's side of parity.py: Pillow images or tensors, evaluation, and training with what was drawn given."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from geometry import Drawn
from PIL import Image
from torchvision import io
from torchvision.transforms.v2 import functional as F


def evaluation(image: Any, size: int) -> Any:
    """torchvision's Resize and CenterCrop."""
    return F.center_crop(F.resize(image, [size * 256 // 224], antialias=True), [size])


def training(image: Any, crop: Drawn, size: int) -> Any:
    """torchvision's RandomResizedCrop and flip, with what was drawn given."""
    cut = F.resized_crop(image, *crop.box, [size, size], antialias=True)
    return F.horizontal_flip(cut) if crop.mirrored else cut


def pillow(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def tensor(path: str) -> torch.Tensor:
    return io.decode_image(path, io.ImageReadMode.RGB)


def array(image: Any) -> np.ndarray:
    """(height, width, 3) uint8."""
    return image.permute(1, 2, 0).numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
