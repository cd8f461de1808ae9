"""A DALI pipeline as DALI's own examples have it, with its iterator for PyTorch: no mixing, labels as they are."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.pytorch import DALIGenericIterator

from .task import MEAN, STD, Task


def batches(task: Task) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    gpu = task.device == "gpu"

    @pipeline_def(batch_size=task.batch_size, num_threads=task.workers, device_id=0 if gpu else None, seed=1)
    def graph() -> tuple:
        jpegs, labels = fn.readers.file(file_root=task.root, random_shuffle=True, name="Reader")
        images = fn.decoders.image_random_crop(
            jpegs, device="mixed" if gpu else "cpu", random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3]
        )
        images = fn.resize(images, size=(task.size, task.size), interp_type=types.INTERP_LINEAR, antialias=True)
        images = fn.crop_mirror_normalize(
            images,
            dtype=types.FLOAT,
            output_layout="CHW",
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in STD],
            mirror=fn.random.coin_flip(),
        )
        return images, labels.gpu() if gpu else labels

    for (batch,) in DALIGenericIterator(graph(), ["images", "labels"]):  # without a size: for ever
        yield batch["images"], batch["labels"].flatten()
