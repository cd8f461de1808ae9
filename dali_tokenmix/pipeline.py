"""The train and eval graphs: JPEG bytes in, mixed batch and soft targets out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline

from . import nodes, op
from .regions import Size

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # torchvision's RandomResizedCrop
EVAL_RESIZE = 256 / 224  # shorter side before the centre crop, in longer sides of the crop
DTYPES = {"float32": types.FLOAT, "float16": types.FLOAT16, "uint8": types.UINT8}
LINEAR = {"interp_type": types.INTERP_LINEAR, "antialias": True}


@dataclass(frozen=True)
class Graph:
    """All that a graph is made of. `labels` are those of `paths`; seeds: (shuffle, crop, flip, mix, others)."""

    paths: list[str]
    labels: np.ndarray
    batch_size: int
    image_size: Size
    mixer: Any
    num_classes: int
    smoothing: float
    device: Literal["cpu", "gpu"]
    train: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    augment: Callable[[DataNode], DataNode] | None
    dtype: str
    layout: Literal["NCHW", "NHWC"]
    shard_id: int
    num_shards: int
    last_batch: Literal["drop", "partial", "fill"]
    seeds: tuple[int, ...] = (0,) * 5

    def build(
        self, planner: BatchPlanner, *, num_threads: int, depth: int, device_id: int | None, checkpoint: Any
    ) -> Pipeline:
        """The built pipeline; outputs are images, targets and sample indices. planner draws its plans."""
        pipeline = Pipeline(
            self.batch_size,
            num_threads,
            device_id,
            seed=self.seeds[4],
            prefetch_queue_depth=depth,
            enable_checkpointing=True,  # always: it changes the order in which DALI shuffles
            checkpoint=checkpoint,
        )
        with pipeline:
            pipeline.set_outputs(*self.outputs(planner))
        pipeline.build()
        return pipeline

    def outputs(self, planner: BatchPlanner) -> tuple[DataNode, DataNode, DataNode]:
        """The graph: (images, targets, indices)."""
        jpegs, index = self._read()
        images = self._train_images(jpegs) if self.train else self._eval_images(jpegs)
        if self.augment is not None:
            images = self.augment(images)
        inputs: tuple[DataNode, ...] = (nodes.random_seeds(self.seeds[3]), index)
        if self.augment is not None:
            inputs += (images.shape(dtype=types.INT64),)
        rows, ids = op.host(planner, *inputs, outputs=2)
        if self.mixer is not None:
            images = nodes.mix(images, rows, self.mixer, "NHWC")
        targets = nodes.soft_targets(ids, rows, self.num_classes, self.smoothing, images)
        return self._normalised(images), targets, index

    def _read(self) -> tuple[DataNode, DataNode]:
        order = (
            {"shuffle_after_epoch": True, "shuffle_after_epoch_seed": self.seeds[0]}
            if self.train
            else {"stick_to_shard": True}
        )
        jpegs, index = fn.readers.file(
            files=self.paths,
            labels=list(range(len(self.paths))),  # the sample's index: whatever belongs to a sample is looked up by it
            shard_id=self.shard_id,
            num_shards=self.num_shards,
            pad_last_batch=True,  # every epoch then begins with a batch of its own
            name="Reader",
            **order,
        )
        return jpegs, index

    def _train_images(self, jpegs: DataNode) -> DataNode:
        """Random crop, decoded alone, and resized; mirrored by handing the resize its columns from right to left."""
        start, shape = fn.random_crop_generator(
            fn.peek_image_shape(jpegs), random_area=AREA, random_aspect_ratio=ASPECT, seed=self.seeds[1]
        )
        crops = fn.decoders.image_slice(jpegs, start=start, shape=shape, axes=[0, 1], device=self._decode_on)
        mirrored = fn.cast(fn.random.coin_flip(seed=self.seeds[2]), dtype=types.FLOAT)
        zero = mirrored * 0.0
        return fn.resize(
            crops,
            size=self.image_size,
            roi_start=fn.stack(zero, mirrored),
            roi_end=fn.stack(zero + 1.0, 1.0 - mirrored),
            roi_relative=True,
            **LINEAR,
        )

    def _eval_images(self, jpegs: DataNode) -> DataNode:
        """torchvision's Resize (shorter side) and CenterCrop, with their rounding, in one resize of what stays."""
        shape = fn.peek_image_shape(jpegs)
        images = whole_image(jpegs, shape, self._decode_on)
        full = (shape[0], shape[1])
        shorter = math.min(*full)
        starts, ends = [], []
        for side, crop in zip(full, self.image_size, strict=True):
            # torchvision: int(side * resized / shorter), and an offset rounded half to even
            resized = (round(max(self.image_size) * EVAL_RESIZE) * side) // shorter
            margin = resized - crop
            offset = (margin + ((margin // 2) & 1)) // 2
            starts.append(offset * side / resized)
            ends.append((offset + crop) * side / resized)
        start, end = (fn.cast(fn.stack(*edges), dtype=types.FLOAT) for edges in (starts, ends))
        return fn.resize(images, size=self.image_size, roi_start=start, roi_end=end, **LINEAR)

    def _normalised(self, images: DataNode) -> DataNode:
        layout = self.layout[1:]
        if self.mean is None or self.std is None:
            return images if layout == "HWC" else fn.transpose(images, perm=[2, 0, 1])
        return fn.crop_mirror_normalize(
            images,
            dtype=DTYPES[self.dtype],
            output_layout=layout,
            mean=[255 * value for value in self.mean],
            std=[255 * value for value in self.std],
        )

    @property
    def _decode_on(self) -> str:
        return "mixed" if self.device == "gpu" else "cpu"


def whole_image(jpegs: DataNode, shape: DataNode, device: str) -> DataNode:
    """Decoded in full, but only once `shape` is known: DALI 2.4's decoder can crash on a header that cannot be read."""
    size = fn.cast(shape[0:2], dtype=types.INT32)
    return fn.decoders.image_slice(jpegs, start=[0, 0], shape=size, axes=[0, 1], device=device)


class BatchPlanner:
    """Seeds and sample indices of a batch -> plan rows and class ids. Its only state that counts is `mixing`.

    recent: the indices of the last batches, for the message should one of their files be unreadable.
    """

    def __init__(self, graph: Graph, mixing: bool, depth: int) -> None:
        self.graph, self.mixing, self.depth = graph, mixing, depth
        self.recent: list[np.ndarray] = []

    def __call__(self, seeds: np.ndarray, index: np.ndarray, *shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        graph, index = self.graph, index.reshape(-1)
        self.recent = [*self.recent[-2 * self.depth - 2 :], index.copy()]
        expected = (*graph.image_size, 3)
        if shapes and (wrong := [tuple(map(int, s)) for s in shapes[0] if tuple(s) != expected]):
            raise ValueError(f"augment must return images of shape {expected}, got {wrong[0]}")
        if graph.mixer is None or not self.mixing:
            rows = nodes.untouched_plan(graph.mixer, len(index), graph.image_size)
        else:
            valid = without_padding(index) if graph.last_batch == "partial" else len(index)
            rows = nodes.packed_plan(graph.mixer, seeds, graph.image_size, valid)
        return rows, graph.labels[index]


def without_padding(index: np.ndarray) -> int:
    """How many samples of a batch are no padding: the reader pads with its last sample, and has all others once."""
    differs = np.flatnonzero(index != index[-1])
    return int(differs[-1]) + 2 if len(differs) else 1


def shard_samples(samples: int, graph: Graph) -> int:
    """Samples of this shard in every epoch; shards differ by one at most."""
    return samples * (graph.shard_id + 1) // graph.num_shards - samples * graph.shard_id // graph.num_shards


def padded_batches(samples: int, graph: Graph) -> int:
    """Batches that the reader makes of an epoch, the same for every shard: the largest shard's, padded."""
    return -(-samples // (graph.num_shards * graph.batch_size))


def batches(samples: int, graph: Graph) -> int:
    """Batches of an epoch that the last_batch policy yields."""
    if graph.last_batch == "drop":
        return samples // graph.num_shards // graph.batch_size
    if graph.last_batch == "partial":
        return -(-shard_samples(samples, graph) // graph.batch_size)
    return padded_batches(samples, graph)
