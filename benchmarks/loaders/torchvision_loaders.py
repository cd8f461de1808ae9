"""torchvision's ways: ImageFolder and DataLoader with Pillow, with tensors, and with its own JPEG decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import datasets, io, transforms
from torchvision.transforms import v2

from .task import EPOCH, MEAN, STD, Task

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


def pil(task: Task) -> Batches:
    """Version 1 of the transforms, on Pillow images: what most people start from."""
    steps = [
        transforms.RandomResizedCrop(task.size),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    return loaded(datasets.ImageFolder(task.root, transforms.Compose(steps)), task)


def tensors(task: Task) -> Batches:
    """Version 2, as its documentation has it: decoded by Pillow, then uint8 tensors, floats last."""
    return loaded(datasets.ImageFolder(task.root, v2.Compose([v2.ToImage(), *on_tensors(task.size)])), task)


def decoded(task: Task) -> Batches:
    """The same on what torchvision.io.decode_jpeg decodes: no Pillow at all."""
    return loaded(datasets.ImageFolder(task.root, v2.Compose(on_tensors(task.size)), loader=decode), task)


def decode(path: str) -> torch.Tensor:
    """(3, height, width) uint8."""
    return io.decode_jpeg(io.read_file(path), mode=io.ImageReadMode.RGB)


def on_tensors(size: int) -> list[Callable]:
    return [
        v2.RandomResizedCrop(size, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]


def loaded(dataset: Dataset, task: Task) -> Batches:
    """Batches on the device, from as many worker processes as there are CPUs."""
    gpu = task.device == "gpu"
    sampler = RandomSampler(dataset, num_samples=EPOCH)
    loader = DataLoader(dataset, task.batch_size, sampler=sampler, num_workers=task.workers, pin_memory=gpu)
    while True:
        yield from (delivered(batch, task.device) for batch in loader)


def delivered(batch: Any, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and targets on the device; pinned batches get there without a wait."""
    images, targets = batch[:2]
    if device == "gpu":
        return images.to("cuda", non_blocking=True), targets.to("cuda", non_blocking=True)
    return images, targets
