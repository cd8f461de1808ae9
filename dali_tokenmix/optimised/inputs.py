"""What the optimised mixers are given: images, labels and saliency of a batch, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checks import choice, integer, number
from ..labels import soft_targets
from ..plan import Plan
from ..teacher.backbones import IMAGENET_STD
from .cells import Grid

Layout = Literal["NHWC", "NCHW"]


class Given(NamedTuple):
    """pixels: (N, C, H, W), a view of the images. labels: (N, num_classes) float32, smoothed rows. maps: (N, h, w)."""

    pixels: Tensor
    labels: np.ndarray
    maps: np.ndarray
    layout: Layout


def checked(
    images: Any, labels: Any, saliency: Any, num_classes: int, smoothing: float, layout: Layout | None
) -> Given:
    """The batch. Raises TypeError or ValueError that names what does not fit, as the mixers say."""
    layout = _layout(images, layout)
    pixels = images.detach().permute(0, 3, 1, 2) if layout == "NHWC" else images.detach()
    samples, size = len(pixels), (pixels.shape[2], pixels.shape[3])
    rows = soft_targets(Plan(np.arange(samples), (), size), _on_cpu(labels), num_classes, smoothing)
    return Given(pixels, rows, _maps(saliency, samples), layout)


def mixed_targets(shares: np.ndarray, given: Given) -> Tensor:
    """(M, num_classes) float32 on the images' device. shares: (M, N), each sample's part in each of M mixed images."""
    return torch.from_numpy(shares.astype(np.float32) @ given.labels).to(given.pixels.device)


def as_given(pixels: Tensor, given: Given) -> Tensor:
    """Mixed pixels (M, C, H, W) in the layout that the images came in."""
    return pixels.permute(0, 2, 3, 1).contiguous() if given.layout == "NHWC" else pixels.contiguous()


def grid_of(value: Any) -> Grid:
    """(rows, columns) from one number for both or a pair. Raises TypeError or ValueError unless they are cells."""
    sides = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(sides) != 2:
        raise ValueError(f"grid must be one number or (rows, columns), got {value!r}")
    rows, columns = (integer("grid", side, at_least=1, at_most=64) for side in sides)
    return rows, columns


def fitting(grid: Grid, image_size: tuple[int, int]) -> Grid:
    """The grid. Raises ValueError if it has more cells than the image has pixels."""
    if grid[0] > image_size[0] or grid[1] > image_size[1]:
        raise ValueError(f"grid must have at most a cell for each pixel of {image_size}, got {grid}")
    return grid


def unit_scale(pixels: Tensor, std: float | Sequence[float] | None) -> Tensor:
    """(C or 1, 1, 1) float32: differences of these pixels times it are differences of values in [0, 1]."""
    if pixels.dtype == torch.uint8:
        scale = torch.tensor([1 / 255])
    elif std is None:
        scale = torch.tensor(IMAGENET_STD if pixels.shape[1] == 3 else (1.0,))
    else:
        scale = torch.tensor(std, dtype=torch.float32).reshape(-1)
        if len(scale) not in (1, pixels.shape[1]):
            raise ValueError(f"std must be one number or {pixels.shape[1]}, one a channel, got {std!r}")
    return scale.reshape(-1, 1, 1).to(pixels.device)


def check_std(std: Any) -> None:
    """Raises TypeError or ValueError unless std is None, a number > 0 or a list of them."""
    for value in std if isinstance(std, tuple | list) else () if std is None else (std,):
        number("std", value, above=0)


def _layout(images: Any, layout: Layout | None) -> Layout:
    choice("layout", layout, (None, "NHWC", "NCHW"))
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a torch tensor, got {type(images).__name__}")
    if images.dtype not in (torch.uint8, torch.float16, torch.bfloat16, torch.float32):
        raise TypeError(f"images must be uint8, float16, bfloat16 or float32, got {images.dtype}")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be (N, H, W, C) or (N, C, H, W), got shape {tuple(images.shape)}")
    if layout is not None:
        return layout
    fits: list[Layout] = ["NHWC"] if images.shape[3] in (1, 3, 4) else []
    fits += ["NCHW"] if images.shape[1] in (1, 3, 4) else []
    if len(fits) != 1:
        raise ValueError(
            f"images of shape {tuple(images.shape)} may be NHWC or NCHW: say layout='NHWC' or layout='NCHW'"
        )
    return fits[0]


def _maps(saliency: Any, samples: int) -> np.ndarray:
    maps = np.asarray(_on_cpu(saliency))
    if maps.dtype.kind not in "buif":
        raise TypeError(f"saliency must be numbers, such as input_saliency() gives, got {type(saliency).__name__}")
    if maps.ndim != 3 or len(maps) != samples or 0 in maps.shape:
        raise ValueError(f"saliency must be ({samples}, h, w), one map for each image, got shape {maps.shape}")
    maps = maps.astype(np.float64)
    if not np.isfinite(maps).all() or (maps < 0).any():
        raise ValueError(f"saliency must be finite and >= 0, got {maps.min()} to {maps.max()}")
    return maps


def _on_cpu(values: Any) -> Any:
    if not isinstance(values, Tensor):
        return values
    values = values.detach()
    return (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()
