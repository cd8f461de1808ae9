"""Our Loader: without mixing, with TokenMix, with labels from a store."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import torch

from dali_tokenmix import Loader, TokenMix

from .task import Task

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]
MAPS = 18, "uint8"  # side and dtype of the stored maps


def plain(task: Task) -> Batches:
    return batches(task)


def token_mix(task: Task) -> Batches:
    return batches(task, mixer=TokenMix())


def with_store(task: Task) -> Batches:
    return batches(task, mixer=TokenMix(), supervision="tokenmix", label_maps=task.store)


def prepare_with_store(task: Task) -> None:
    """Writes maps of noise: what they show costs nothing."""
    from labels import write_store

    from dali_tokenmix.dataset import scan

    write_store(task.store, scan(task.root), *MAPS)


def batches(task: Task, **options: Any) -> Batches:
    """Epoch after epoch. Without label smoothing, which costs nothing, so that targets can be checked."""
    loader = Loader(
        task.root,
        batch_size=task.batch_size,
        image_size=task.size,
        num_threads=task.workers,
        device=task.device,
        smoothing=0.0,
        **options,
    )
    return chain.from_iterable(repeat(loader))
