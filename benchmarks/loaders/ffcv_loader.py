"""FFCV on the same JPEG bytes, packed into its file beforehand. Not the same resize: OpenCV's INTER_AREA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, Squeeze, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter
from PIL import Image

from dali_tokenmix.dataset import scan

from .task import EPOCH, MEAN, STD, Task


class JpegFile(RGBImageField):
    """A file as it is; RGBImageField itself would decode it and encode it anew."""

    def encode(self, destination: Any, path: str, malloc: Any) -> None:
        content = np.fromfile(path, np.uint8)
        with Image.open(path) as image:
            destination["width"], destination["height"] = image.size
        destination["mode"] = 0  # JPEG
        destination["data_ptr"], memory = malloc(content.nbytes)
        memory[:] = content


def batches(task: Task) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images are NCHW by shape and NHWC in memory, as FFCV makes them: another order would cost it a copy."""
    scale = np.float32(255)
    images = [
        RandomResizedCropRGBImageDecoder((task.size, task.size)),
        RandomHorizontalFlip(),
        NormalizeImage(scale * np.float32(MEAN), scale * np.float32(STD), np.float32),
        ToTensor(),
        ToTorchImage(),
    ]
    files = len(scan(task.root).files)
    loader = Loader(
        str(task.beton),
        batch_size=task.batch_size,
        num_workers=task.workers,
        order=OrderOption.RANDOM,
        indices=np.tile(np.arange(files, dtype=np.uint64), max(1, EPOCH // files)),
        pipelines={"image": images, "label": [IntDecoder(), ToTensor(), Squeeze()]},
        custom_fields={"image": JpegFile},
        os_cache=True,
    )
    while True:
        for batch in loader:
            if task.device == "gpu":
                batch = tuple(part.to("cuda") for part in batch)
            yield batch


def prepare_batches(task: Task) -> None:
    data = scan(task.root)
    writer = DatasetWriter(str(task.beton), {"image": JpegFile(), "label": IntField()}, num_workers=task.workers)
    writer.from_indexed_dataset(list(zip(data.paths(), data.labels.tolist(), strict=True)))
