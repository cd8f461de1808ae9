"""Parts of the work alone, as fast as they go: reading, decoding, resizing. What a loader adds is what it is below.

Each makes, for ever, how much a batch was: bytes read, pixels decoded or resized.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from dali_tokenmix.dataset import scan

from .task import EPOCH, Task

AREA, ASPECT = [0.08, 1.0], [3 / 4, 4 / 3]
CLOSE = 1  # levels that two resizes of the same pixels may differ by


def read(task: Task) -> Iterator[int]:
    """Files, in random order, as they are."""
    return _amounts(task, lambda jpegs: jpegs)


def decode(task: Task) -> Iterator[int]:
    """Whole images."""
    return _amounts(task, lambda jpegs: fn.decoders.image(jpegs, device=_decoder(task)))


def decode_crop(task: Task) -> Iterator[int]:
    """Random boxes, of which only the rows and columns that are needed are decoded."""
    return _amounts(task, lambda jpegs: _crops(jpegs, task))


def decode_torchvision(task: Task) -> Iterator[int]:
    """Whole images, in worker processes that keep them to themselves."""
    from .torchvision_loaders import decode

    return _in_workers(task, lambda path: decode(path).shape[1:].numel())


def decode_pillow(task: Task) -> Iterator[int]:
    from PIL import Image

    def pixels(path: str) -> int:
        with Image.open(path) as image:
            return image.convert("RGB").width * image.height

    return _in_workers(task, pixels)


def resize_dali(task: Task) -> Iterator[int]:
    """DALI's antialiased linear resize, of random boxes that are decoded already."""
    gpu, crops = task.device == "gpu", _decoded(task)

    @pipeline_def(batch_size=task.batch_size, num_threads=task.workers, device_id=0 if gpu else None)
    def graph() -> Any:
        images = fn.external_source(source=lambda: crops, layout="HWC", no_copy=True)
        images = images.gpu() if gpu else images
        return fn.resize(images, size=(task.size,) * 2, interp_type=types.INTERP_LINEAR, antialias=True)

    pipeline = graph()
    pipeline.build()
    while True:
        (images,) = pipeline.run()
        yield sum(height * width for height, width, _ in images.shape())


def resize_ours(task: Task) -> Iterator[int]:
    """The CPU's kernel, which mirrors every second image on the way. The same with --device gpu: it has no other."""
    from dali_tokenmix.runtime import resize

    crops, flips = _decoded(task), np.arange(task.batch_size) % 2
    size = task.size, task.size
    _check_resize(crops, resize(crops, flips, size, threads=task.workers))
    while True:
        yield resize(crops, flips, size, threads=task.workers)[..., 0].size


def _check_resize(crops: list[np.ndarray], images: np.ndarray) -> None:
    from PIL import Image

    for number, (crop, image) in enumerate(zip(crops, images.astype(int), strict=True)):
        expected = np.asarray(Image.fromarray(crop).resize(image.shape[1::-1], Image.Resampling.BILINEAR))
        difference = np.abs((image[:, ::-1] if number % 2 else image) - expected).max()
        assert difference <= CLOSE, f"our resize is {difference} levels from Pillow's"


def _amounts(task: Task, of_files: Callable[[Any], Any]) -> Iterator[int]:
    """Elements in a batch, but for channels, of what DALI makes of files."""
    pipeline = _pipeline(task, of_files)
    while True:
        (made,) = pipeline.run()
        yield sum(int(np.prod(shape[:2])) for shape in made.shape())


def _decoded(task: Task) -> list[np.ndarray]:
    """A batch of random boxes, decoded on the CPU."""
    (crops,) = _pipeline(task, lambda jpegs: _crops(jpegs, task)).run()
    crops = crops.as_cpu()
    return [np.array(crops.at(k)) for k in range(task.batch_size)]


def _pipeline(task: Task, of_files: Callable[[Any], Any]) -> Any:
    gpu = task.device == "gpu"

    @pipeline_def(batch_size=task.batch_size, num_threads=task.workers, device_id=0 if gpu else None, seed=1)
    def graph() -> Any:
        jpegs, _ = fn.readers.file(file_root=task.root, random_shuffle=True, initial_fill=1024)
        return of_files(jpegs)

    pipeline = graph()
    pipeline.build()
    return pipeline


def _crops(jpegs: Any, task: Task) -> Any:
    start, size = fn.random_crop_generator(
        fn.peek_image_shape(jpegs), random_area=AREA, random_aspect_ratio=ASPECT, seed=1
    )
    return fn.decoders.image_slice(jpegs, start=start, shape=size, axes=[0, 1], device=_decoder(task))


def _decoder(task: Task) -> str:
    return "mixed" if task.device == "gpu" else "cpu"


def _in_workers(task: Task, pixels: Callable[[str], int]) -> Iterator[int]:
    """Of as many files as a batch has, by torch's worker processes."""
    from torch.utils.data import DataLoader, Dataset, RandomSampler

    class Files(Dataset):
        paths = scan(task.root).paths()

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, k: int) -> int:
            return pixels(self.paths[k])

    sampler = RandomSampler(Files(), num_samples=EPOCH)
    while True:
        yield from map(
            int, DataLoader(Files(), task.batch_size, sampler=sampler, num_workers=task.workers, collate_fn=sum)
        )
