"""Runs a teacher over a folder of images and writes what it sees to a label store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nvidia.dali import fn
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline
from torch.utils.dlpack import from_dlpack

from .. import devices, settings
from ..checks import choice, image_size, integer
from ..pipeline import LINEAR, whole_image
from ..progress import progress
from ..readable import explain
from ..sources.samples import Samples
from ..sources.scanned import scanned
from . import rows as label_rows
from .store import LabelStore
from .writer import Run, checked_path

RESIZE = "the whole image to image_size, whatever its aspect ratio; linear with antialias, by DALI"
DEPTH = 2  # batches that DALI makes ahead
Device = Literal["cpu", "gpu"]


def make_labels(
    root: Any,
    teacher: Any,
    out: str | Path,
    *,
    maps: Literal["uint8", "float16"] | None = "uint8",
    topk: int = 0,
    batch_size: int = 64,
    device: Device | None = None,
    num_threads: int | None = None,
    shard_id: int = 0,
    num_shards: int = 1,
) -> LabelStore | None:
    """Labels all images below root: the store, or None while other shards are unfinished.

    An image is squashed whole to the teacher's input size, whatever its aspect ratio, so that its map covers all of it.
    Beside `out` lies a journal of what is done, `<out>.<shard>-of-<shards>.partial`: after a kill, the same call goes
    on with it, and the store is the same to the byte. The shard that is finished last makes the store. A store that is
    there already is returned if its labels are those asked for; it is never overwritten.

    Args:
        root: a folder with a folder of images for each class, or any other source of images, one of dtm.sources; or
            what dataset.scan() found in one.
        teacher: a Teacher that has a class for each folder, in their order, or anything with its image_size, map_size,
            num_classes, device, description(), call and topk().
        out: the file to write, in a folder that exists.
        maps: how the maps of the images' own classes are stored. "uint8" is off by at most 1/510 of a map's largest
            value, "float16" by 2^-11 of each value or 3e-8. None: not at all.
        topk: classes to store at each place of the map, with their scores, at most all; 0: none.
        batch_size: images a batch. It may change the last bits of what the teacher computes, so a journal keeps to it.
        device: where images are decoded and resized; None: where the teacher is.
        num_threads: CPU threads of DALI; None: all CPUs of this process.
        shard_id, num_shards: this process's part of the images.

    Raises ValueError or TypeError for an argument that does not fit, for labels of an image that are negative, infinite
    or NaN, for a journal or a store of other labels; RuntimeError for an image that cannot be decoded. What the teacher
    raises is not caught.
    """
    choice("maps", maps, (*label_rows.MAP_TYPES, None))
    if isinstance(teacher, type) or not callable(teacher) or not hasattr(teacher, "map_size"):
        kind = teacher.__name__ if isinstance(teacher, type) else type(teacher).__name__
        raise TypeError(f"teacher must be a Teacher, got {kind}: pass Teacher(model)")
    if integer("topk", topk, at_least=0, at_most=teacher.num_classes) == 0 and maps is None:
        raise ValueError("maps is None and topk is 0: there is nothing to store. Pass maps='uint8' or topk=5")
    batch_size = integer("batch_size", batch_size, at_least=1)
    num_shards = integer("num_shards", num_shards, at_least=1)
    shard = integer("shard_id", shard_id, at_least=0, at_most=num_shards - 1)
    threads = settings.threads(num_threads)
    device = devices.resolve(device or ("gpu" if torch.device(teacher.device).type == "cuda" else "cpu"))
    data = scanned(root)
    if teacher.num_classes != len(data.classes):
        raise ValueError(
            f"the teacher has {teacher.num_classes} classes, {data.root} has {len(data.classes)}: "
            "Teacher(classes=...) says which of its classes each of those is"
        )
    if maps is not None and data.labels.ndim == 2:
        raise ValueError(
            f"maps are of each image's own class, and the labels of {data.root} are rows, not class ids: pass "
            "maps=None and topk=, or class ids"
        )
    size = image_size(teacher.image_size)
    labels = label_rows.describe(data, teacher.description(), teacher.map_size, maps, topk)
    labels |= {"image_size": size, "resize": RESIZE}
    run = Run(checked_path(out), labels, {"batch_size": batch_size, "device": device}, batch_size, num_shards)
    if (there := run.finished()) is not None:
        return there
    samples = run.samples(shard)
    with run.journal(shard) as journal, progress(_work(run, shard, journal.done)) as show:
        for batch, images in _batches(data, samples[journal.done :], size, batch_size, device, threads):
            show(batch.start - samples.start, len(samples))
            seen = _seen(teacher, images, data.labels[batch], maps is not None, topk)
            journal.append(label_rows.pack(run.layout, data.files[batch], **seen))
    return run.finish(shard)


def _seen(teacher: Any, images: torch.Tensor, labels: np.ndarray, maps: bool, topk: int) -> dict[str, np.ndarray]:
    """The labels that are asked for: maps; ids and scores."""
    seen = {"maps": teacher(images, torch.from_numpy(labels.astype(np.int64)))} if maps else {}
    if topk:
        seen["ids"], seen["scores"] = teacher.topk(images, topk)
    return {name: tensor.cpu().numpy() for name, tensor in seen.items()}


def _batches(
    data: Samples, samples: range, size: tuple[int, int], batch_size: int, device: Device, threads: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    """(slice of the samples, (N, H, W, 3) uint8 images on the device), in order; the last may be smaller."""
    if not samples:
        return
    part = data.chosen(np.arange(samples.start, samples.stop))
    pipeline = Pipeline(
        batch_size, threads, torch.cuda.current_device() if device == "gpu" else None, prefetch_queue_depth=DEPTH
    )
    with pipeline:
        pipeline.set_outputs(*graph(part, size, device))
    pipeline.build()
    for start in range(samples.start, samples.stop, batch_size):
        batch = slice(start, min(start + batch_size, samples.stop))
        try:
            images, index = pipeline.run()
        except RuntimeError as error:
            near = range(len(part.files))[start - samples.start :][: (DEPTH + 2) * batch_size]
            raise RuntimeError(explain(error, part, near, num_threads=threads)) from error
        expected = np.arange(start, batch.stop) - samples.start
        if not np.array_equal(index.as_array().reshape(-1)[: len(expected)], expected):
            raise RuntimeError(f"DALI's reader left the order of the files at sample {start}: please report this")
        yield batch, from_dlpack(images.as_tensor())[: batch.stop - start]


def graph(data: Samples, size: tuple[int, int], device: Device) -> tuple[DataNode, DataNode]:
    """Nodes of whole images, squashed to `size`, and of their numbers, in order."""
    jpegs, index = data.read(shuffle=None)
    images = whole_image(jpegs, fn.peek_image_shape(jpegs), "mixed" if device == "gpu" else "cpu")
    return fn.resize(images, size=size, **LINEAR), index


def _work(run: Run, shard: int, done: int) -> str:
    part = f", shard {shard} of {run.num_shards}" if run.num_shards > 1 else ""
    return f"labelling {len(run.samples(shard))} images{part}" + (f", going on after {done}" if done else "")
