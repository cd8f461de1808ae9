"""SPDL: FFmpeg decodes, crops, scales and mirrors in threads. Not the same resize: swscale's bilinear, before RGB."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import spdl.io
import torch
from spdl.pipeline import PipelineBuilder
from torchvision.transforms import RandomResizedCrop

from dali_tokenmix.dataset import scan

from .task import MEAN, STD, Task

AHEAD = 3  # batches, as its examples have it


def batches(task: Task) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    data = scan(task.root)
    paths, labels = data.paths(), data.labels.tolist()
    scale = torch.tensor(STD).reciprocal_().div_(255).view(3, 1, 1)
    shift = -torch.tensor(MEAN).div_(torch.tensor(STD)).view(3, 1, 1)

    def order() -> Iterator[int]:
        rng = np.random.default_rng(0)
        while True:
            yield from rng.permutation(len(paths)).tolist()

    def image(k: int) -> tuple:
        packets = spdl.io.demux_image(paths[k])
        return spdl.io.decode_packets(packets, filter_desc=crop(packets.height, packets.width, task.size)), labels[k]

    def batch(samples: list[tuple]) -> tuple[torch.Tensor, torch.Tensor]:
        frames, ids = zip(*samples, strict=True)
        pixels = spdl.io.to_torch(spdl.io.convert_frames(list(frames)))
        images = pixels.permute(0, 3, 1, 2).contiguous().float().mul_(scale).add_(shift)
        if task.device == "gpu":
            return images.to("cuda"), torch.tensor(ids, device="cuda")
        return images, torch.tensor(ids)

    pipeline = (
        PipelineBuilder()
        .add_source(order())
        .pipe(image, concurrency=task.workers)
        .aggregate(task.batch_size)
        .pipe(batch)
        .add_sink(AHEAD)
        .build(num_threads=task.workers, max_failures=0)
    )
    with pipeline.auto_stop():
        yield from pipeline


def crop(height: int, width: int, size: int) -> str:
    """torchvision's random box and flip, as FFmpeg's filters."""
    like = torch.empty(3, height, width, device="meta")
    y, x, h, w = RandomResizedCrop.get_params(like, [0.08, 1.0], [3 / 4, 4 / 3])
    flip = "hflip," if torch.rand(()) < 0.5 else ""
    return f"crop={w}:{h}:{x}:{y}:exact=1,scale={size}:{size}:flags=bilinear,{flip}format=pix_fmts=rgb24"
