"""What a teacher may be given, as the input of its model."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..checks import number

Size = tuple[int, int]
Channels = tuple[float, ...]


def images_of(images: Any, device: torch.device) -> Tensor:
    """(N, 3, H, W) on the device: uint8 as a view of (N, H, W, 3), or floating.

    Raises TypeError for another dtype or no array, ValueError for another shape.
    """
    given = _tensor("images", images)
    if given.dtype == torch.uint8:
        if given.ndim != 4 or given.shape[3] != 3 or 0 in given.shape:
            raise ValueError(f"images of uint8 must be (N, H, W, 3), got shape {tuple(given.shape)}")
        return given.permute(0, 3, 1, 2).to(device)
    if not given.is_floating_point():
        raise TypeError(f"images must be uint8 (N, H, W, 3) or floating (N, 3, H, W), got {given.dtype}")
    if given.ndim != 4 or given.shape[1] != 3 or 0 in given.shape:
        raise ValueError(f"floating images must be normalised and (N, 3, H, W), got shape {tuple(given.shape)}")
    return given.to(device)


def prepared(
    images: Tensor, size: Size, mean: Channels, std: Channels, dtype: torch.dtype, channels_last: bool
) -> Tensor:
    """Images of images_of(), resized (bilinear, antialiased), normalised if they are uint8, in dtype and memory format.

    On the CPU uint8 images are resized as uint8, which is faster and rounds to whole values of 255.
    """
    whole = images.dtype == torch.uint8
    if (whole and images.device.type != "cpu") or images.dtype in (torch.float16, torch.bfloat16):
        images = images.float()  # torch resizes neither bytes there nor halves on the CPU
    if images.shape[2:] != size:
        images = functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if whole:
        images = images.to(torch.float32, memory_format=layout)
        images.sub_(_of_255(mean, images, channels_last)).div_(_of_255(std, images, channels_last))
    return images.to(dtype).contiguous(memory_format=layout)


def class_ids(labels: Any, samples: int, num_classes: int) -> tuple[Tensor, Tensor | None]:
    """Labels as (N,) int64, where they are, and which of them are classes: None where all are known to be.

    Raises TypeError unless they are whole numbers, ValueError for another shape and, on the CPU, for ids outside
    [0, num_classes).
    """
    given = _tensor("labels", labels)
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise TypeError(f"labels must be whole numbers, got {given.dtype}")
    ids = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    if ids.shape != (samples,):
        raise ValueError(f"labels must be ({samples},), one for each image, got shape {tuple(given.shape)}")
    ids = ids.long()
    known = (ids >= 0) & (ids < num_classes)
    if ids.device.type != "cpu":
        return ids.where(known, 0), known
    if not known.all():
        raise ValueError(f"labels must be in [0, {num_classes}), the teacher's classes, got {int(ids[~known][0])}")
    return ids, None


def channels(name: str, values: Any, **bounds: float) -> Channels:
    """Three numbers, one a channel. Raises ValueError or TypeError for anything else."""
    if not isinstance(values, tuple | list) or len(values) != 3:
        raise ValueError(f"{name} must be 3 numbers, one a channel, got {values!r}")
    for value in values:
        number(name, value, **bounds)
    return tuple(map(float, values))


def _of_255(values: Channels, images: Tensor, channels_last: bool) -> Tensor:
    return _constants(values, images.shape[3] if channels_last else 1, images.device)


@lru_cache(maxsize=64)
def _constants(values: Channels, width: int, device: torch.device) -> Tensor:
    """(3, 1, width) on the device, channels side by side; kept, since every copy to a GPU waits.

    A row of them lies in memory as a row of channels_last images does: one long loop on the CPU, instead of one of 3.
    """
    return torch.tensor(values, device=device).mul(255).expand(width, 3).contiguous().t()[:, None]


def _tensor(name: str, values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} must be numbers in a torch tensor or NumPy array, got {type(values).__name__}")
    if array.dtype.kind == "u" and array.dtype != np.uint8:
        array = array.astype(np.int64)  # torch knows few of their operations
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))  # torch warns of read-only memory
