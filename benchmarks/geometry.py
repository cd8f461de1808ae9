"""What our graphs and DALI's decoders make of files, image by image, with the boxes that were drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from labels import write_store
from nvidia.dali import fn, pipeline_def

import dali_tokenmix as dtm
from dali_tokenmix import planner
from dali_tokenmix.dataset import scan

BATCH = 32


@dataclass(frozen=True)
class Drawn:
    """A training image, (size, size, 3) uint8, of file `index`, which is (height, width).

    box: (top, left, height, width) in pixels, then mirrored or not.
    """

    index: int
    image: np.ndarray
    full: tuple[int, int]
    box: tuple[int, int, int, int]
    mirrored: bool


def evaluated(root: Path, size: int, device: str, threads: int) -> list[np.ndarray]:
    """(size, size, 3) uint8 of each file."""
    loader = dtm.Loader(root, train=False, **_plain(size, device, threads))
    return [image for images, _ in loader for image in images.cpu().numpy().copy()]


def trained(root: Path, size: int, device: str, threads: int, at_least: int, store: Path) -> list[Drawn]:
    """Whole epochs of training images, unmixed. store: where label maps may be written.

    A Loader keeps its boxes to itself, but for the planner, who cuts stored maps by them: that is where they are read.
    """
    batches: list[dict[str, np.ndarray]] = []
    cut = planner.boxes_of

    def reading(**crop: np.ndarray) -> Any:
        batches.append({name: array.copy() for name, array in crop.items()})
        return cut(**crop)

    maps = write_store(store, scan(root), 7, "uint8")
    unmixed = {"mixer": dtm.TokenMix(prob=0.0), "supervision": "tokenmix", "label_maps": maps}
    loader = dtm.Loader(root, **unmixed, **_plain(size, device, threads))
    found: list[Drawn] = []
    with mock.patch.object(planner, "boxes_of", reading):
        count = 0
        while len(found) < at_least:
            for images, _ in loader:
                found += _drawn(loader.indices, images.cpu().numpy().copy(), batches[count])
                count += 1
    return found


def decoded(paths: list[str], boxes: list[tuple[int, int, int, int]], device: str, threads: int) -> list[np.ndarray]:
    """The box (top, left, height, width) of each file, (height, width, 3) uint8, as DALI's decoder has it."""
    gpu, number = device == "gpu", iter(range(len(paths)))
    corners = np.array(boxes, np.int32)

    def sample() -> tuple[np.ndarray, ...]:
        k = next(number)  # ends the pipeline's run with StopIteration
        return np.fromfile(paths[k], np.uint8), corners[k, :2], corners[k, 2:]

    @pipeline_def(batch_size=1, num_threads=threads, device_id=0 if gpu else None, prefetch_queue_depth=1)
    def graph() -> Any:
        jpegs, start, shape = fn.external_source(source=sample, num_outputs=3, batch=False)
        where = {"start": start, "shape": shape, "axes": [0, 1]}
        return fn.decoders.image_slice(jpegs, device="mixed" if gpu else "cpu", **where)

    pipeline = graph()
    pipeline.build()
    return [np.array(pipeline.run()[0].as_cpu().at(0)) for _ in paths]


def _plain(size: int, device: str, threads: int) -> dict[str, Any]:
    return {
        "batch_size": BATCH,
        "image_size": size,
        "device": device,
        "num_threads": threads,
        "dtype": "uint8",
        "layout": "NHWC",
        "last_batch": "partial",
    }


def _drawn(indices: np.ndarray, images: np.ndarray, crop: dict[str, np.ndarray]) -> list[Drawn]:
    """Of a batch; the crops of its padding are left over."""
    boxes = np.concatenate([crop["start"], crop["size"]], axis=1).tolist()
    full, mirrored = crop["full"][:, :2].tolist(), crop["mirrored"].reshape(-1).tolist()
    return [
        Drawn(int(index), image, tuple(full[k]), tuple(boxes[k]), bool(mirrored[k]))
        for k, (index, image) in enumerate(zip(indices, images, strict=True))
    ]
