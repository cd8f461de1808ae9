"""What mixing a batch costs beside a training step: from clean uint8 images and labels to mixed ones and targets.

No DALI here: the functions that its callbacks call, on the host's clock, each batch done before the next begins. In a
pipeline they run ahead of the step. CuPy and torch are both on the default stream, which keeps their work in order. The
step: forward and backward of DeiT-T (timm), or of a plain torch transformer of its size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from traffic import Shapes

import dali_tokenmix as dtm
from dali_tokenmix import runtime
from dali_tokenmix.labels import scored_rows
from dali_tokenmix.losses import soft_target_bce
from dali_tokenmix.plan import packed, region_offsets, untouched
from dali_tokenmix.runtime.arrays import view
from dali_tokenmix.runtime.mix import images_of

from .labels import SMOOTHING, Given
from .place import Cpu, interleaved, quantiles
from .teacher import small_teacher

DEPTH, WIDTH, HEADS = 12, 192, 3  # of DeiT-T


def rows(shapes: Shapes, place: Cpu, rounds: int) -> list[dict[str, Any]]:
    """A row a way to mix: milliseconds, and its share of each kind of step."""
    batch = MixedBatch(shapes, place)
    work: dict[str, Callable[[int], object]] = {
        "no mixing": lambda call: batch.mix(None, call),
        "CutMix": lambda call: batch.mix(dtm.CutMix(), call),
        "TokenMix by area": lambda call: batch.mix(batch.token_mix, call),
        "TokenMix, a store's maps": lambda call: batch.mix(batch.token_mix, call, stored=True),
        f"TokenMix, a teacher online ({batch.teacher.name})": lambda call: batch.mix(
            batch.token_mix, call, online=True
        ),
    }
    name, steps = training_steps(shapes, place)
    # A step leaves the caches cold for whoever comes next, so steps and ways to mix take turns among themselves.
    seconds, of_steps = (interleaved(place.wall, each, rounds) for each in (work, steps))
    ways = [
        {
            "way": way,
            "ms": quantiles(1e3 * seconds[way]),
            **{f"% of {name}, {step}": quantiles(100 * seconds[way] / np.median(of_steps[step])) for step in steps},
        }
        for way in work
    ]
    return ways + [
        {"way": f"{name}, {step}, forward and backward", "ms": quantiles(1e3 * of_steps[step])} for step in steps
    ]


class MixedBatch:
    """A batch of noise where the graph would have its images, and what the graph's callbacks do to it."""

    def __init__(self, shapes: Shapes, place: Cpu) -> None:
        self.shapes, self.place, self.given = shapes, place, Given.of(shapes)
        self.size = (shapes.height, shapes.width)
        pixels = np.random.default_rng(0).integers(0, 256, (shapes.batch, *self.size, 3), np.uint8)
        self.images = torch.from_numpy(pixels).to(place.torch_device)
        self.labels = torch.from_numpy(self.given.labels).to(place.torch_device)
        self.out = place.empty((shapes.batch, shapes.classes), "float32")
        self.cut = place.empty((shapes.batch, *shapes.grid), "float32")
        self.teacher = small_teacher(shapes, place.torch_device)
        self.token_mix = dtm.TokenMix(patch_size=shapes.patch)

    def mix(self, mixer: Any, seed: int, stored: bool = False, online: bool = False) -> Any:
        """Draws, scores, mixes in place and makes targets, as planner.py and label_nodes.py do."""
        kinds = () if mixer is None else mixer.shapes(self.size)
        samples = self.shapes.batch
        plan = dtm.draw(mixer, samples, self.size, seed) if mixer else untouched(samples, self.size, kinds)
        sent = plan.packed
        if stored:
            given = self.given
            sent = packed(scored_rows(plan, dtm.crop_maps(given.maps, given.boxes, given.flips, self.shapes.grid)))
        rows, where = view("rows", self.place.put(sent)), (kinds, region_offsets(kinds))
        if online:
            maps, cut = view("maps", self.teacher(self.images, self.labels)), view("cut", self.cut)
            runtime.crop_maps(maps, None, None, cut)
            runtime.score(rows, cut, *where, self.size)
        runtime.apply_plan(images_of(view("images", self.images), self.size, "NHWC"), rows, *where)
        runtime.targets(view("labels", self.labels), rows, view("targets", self.out), smoothing=SMOOTHING)
        return self.out


def training_steps(shapes: Shapes, place: Cpu) -> tuple[str, dict[str, Callable[[int], object]]]:
    """The student's name, and a step in float32; on a GPU also under autocast to bfloat16. No optimizer."""
    name, student = model(shapes)
    student = student.to(place.torch_device).train()
    images = torch.randn(shapes.batch, 3, shapes.height, shapes.width, device=place.torch_device)
    targets = torch.full((shapes.batch, shapes.classes), 1 / shapes.classes, device=place.torch_device)

    def step(dtype: torch.dtype) -> Callable[[int], object]:
        def forward_and_backward(_: int) -> None:
            student.zero_grad(set_to_none=True)
            with torch.autocast(place.torch_device, dtype, enabled=dtype != torch.float32):
                logits = student(images)
            soft_target_bce(logits.float(), targets).backward()

        return forward_and_backward

    steps = {"float32": step(torch.float32)}
    if place.device == "gpu":
        steps["bfloat16"] = step(torch.bfloat16)
    return name, steps


def model(shapes: Shapes) -> tuple[str, nn.Module]:
    try:
        import timm
    except ModuleNotFoundError:
        return "a transformer of DeiT-T's size", PlainTransformer(shapes)
    size = {"img_size": (shapes.height, shapes.width), "num_classes": shapes.classes}
    return "DeiT-T", timm.create_model("deit_tiny_patch16_224", pretrained=False, **size)


class PlainTransformer(nn.Module):
    """Patches of 16, blocks of torch, mean over tokens."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 16, 16)
        tokens = (shapes.height // 16) * (shapes.width // 16)
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, WIDTH))
        block = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, DEPTH, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, shapes.classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.blocks(tokens).mean(1))
