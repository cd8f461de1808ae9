"""timm's create_loader as DeiT's training used it: Mixup and CutMix in the workers' collate, normalised by batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timm.data import FastCollateMixup, create_dataset, create_loader

from .task import MEAN, STD, Task


def mixed(task: Task) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """uint8 batches, mixed by alpha 0.8 or, every second one, by CutMix; colours are left alone.

    An epoch never ends for the workers (use_multi_epochs_loader).
    """
    dataset = create_dataset("", root=task.root)
    mixing = FastCollateMixup(
        mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.0, num_classes=len(dataset.reader.class_to_idx)
    )
    gpu = task.device == "gpu"
    loader = create_loader(
        dataset,
        (3, task.size, task.size),
        task.batch_size,
        is_training=True,
        color_jitter=0.0,
        interpolation="bilinear",
        mean=MEAN,
        std=STD,
        num_workers=task.workers,
        collate_fn=mixing,
        pin_memory=gpu,
        device=torch.device("cuda" if gpu else "cpu"),
        use_multi_epochs_loader=True,
    )
    while True:
        yield from loader
