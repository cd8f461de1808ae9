"""A Teacher here gives the maps and the top-k classes that it gives on the CPU. Needs torch and no DALI."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from traffic import Shapes

import dali_tokenmix as dtm

from .place import Cpu, interleaved, quantiles

CLOSE = 1e-3  # of the largest value: convolutions add up in another order there; and TF32 is off


class SmallNet(nn.Module):
    """Three strided convolutions and a linear head: features (N, 32, h / 32, w / 32)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        steps = [(3, 16, 4), (16, 32, 4), (32, 32, 2)]
        self.stages = nn.Sequential(*(m for i, o, s in steps for m in (nn.Conv2d(i, o, 5, s, 2), nn.ReLU())))
        self.head = nn.Linear(32, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.stages(images)


def small_teacher(shapes: Shapes, device: str) -> dtm.Teacher:
    """The same random weights on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = SmallNet(shapes.classes)
    net = net.to(device).requires_grad_(False)
    size = (shapes.height, shapes.width)
    return dtm.Teacher(
        features=net, weight=net.head.weight, bias=net.head.bias, image_size=size, k=shapes.k, name="three convolutions"
    )


def rows(shapes: Shapes, place: Cpu, rounds: int) -> list[dict[str, Any]]:
    """Maps and top-k against the CPU's, and their time on the host's clock."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (shapes.batch, shapes.height, shapes.width, 3), np.uint8)
    labels = rng.integers(0, shapes.classes, shapes.batch)
    here, on_cpu = small_teacher(shapes, place.torch_device), small_teacher(shapes, "cpu")
    moved = torch.from_numpy(images).to(place.torch_device), torch.from_numpy(labels).to(place.torch_device)
    with no_tf32():
        worst = close("maps", here(*moved), on_cpu(images, labels))
        scores = close("scores", here.topk(moved[0])[1], on_cpu.topk(images)[1])
    work = {"maps": lambda _: here(*moved), "top-k": lambda _: here.topk(moved[0])}
    seconds = interleaved(place.wall, work, rounds)
    off = {"maps": worst, "top-k": scores}
    return [
        {
            "teacher": here.name,
            "makes": name,
            "off the CPU's by": f"{off[name]:.1g} of the largest",
            "ms": quantiles(1e3 * seconds[name]),
        }
        for name in work
    ]


def close(what: str, found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference by the largest value. Raises AssertionError above CLOSE."""
    off = float((found.cpu() - expected).abs().max() / expected.abs().max())
    assert off <= CLOSE, f"{what} differ from the CPU's by {off:.3g} of the largest, more than {CLOSE:g}"
    return off


class no_tf32:
    """Convolutions and matrix products in float32."""

    def __enter__(self) -> None:
        self.before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = self.before
