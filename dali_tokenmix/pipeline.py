"""The train and eval graphs: JPEG bytes in, mixed batch and soft targets out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline

from . import decorators, nodes, op
from .label_maps import TokenTargets, flat
from .label_nodes import Labelling, stored_labels
from .placing import needed
from .planner import BatchPlanner
from .regions import Size
from .sources.samples import Samples
from .supervision import BY_LABELS

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # torchvision's RandomResizedCrop
EVAL_RESIZE = 256 / 224  # shorter side before the centre crop, in longer sides of the crop
DTYPES = {"float32": types.FLOAT, "float16": types.FLOAT16, "uint8": types.UINT8}
LINEAR = {"interp_type": types.INTERP_LINEAR, "antialias": True}


@dataclass(frozen=True)
class Graph:
    """All that a graph is made of.

    samples: what is read, and its labels. supervision: what makes targets of them, with label_maps, a store, or
    teacher, a model, but for "imagenet". device_id: of the GPU. seeds: (shuffle, crop, flip, mix, others).
    repeats: how often each image that is read is in a batch.
    """

    samples: Samples
    batch_size: int
    image_size: Size
    mixer: Any
    num_classes: int
    smoothing: float
    device: Literal["cpu", "gpu"]
    device_id: int | None
    train: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    augment: Callable[[DataNode], DataNode] | None
    dtype: str
    layout: Literal["NCHW", "NHWC"]
    shard_id: int
    num_shards: int
    last_batch: Literal["drop", "partial", "fill"]
    supervision: str = "imagenet"
    label_maps: Any = None
    teacher: Any = None
    seeds: tuple[int, ...] = (0,) * 5
    threads: int = 1
    repeats: int = 1

    def build(self, planner: BatchPlanner, *, num_threads: int, depth: int, checkpoint: Any) -> Pipeline:
        """The built pipeline; outputs are images, targets and sample indices. planner draws its plans."""

        @decorators.pipeline(enable_conditionals=self.augment is not None)  # DALI's auto_aug asks for it
        def graph() -> tuple[DataNode, ...]:
            return self.outputs(planner)

        pipeline = graph(
            batch_size=self.batch_size,
            num_threads=num_threads,
            device_id=self.device_id,
            seed=self.seeds[4],
            prefetch_queue_depth=depth,
            enable_checkpointing=True,  # always: it changes the order in which DALI shuffles
            checkpoint=checkpoint,
        )
        pipeline.build()
        return pipeline

    def outputs(self, planner: BatchPlanner) -> tuple[DataNode, ...]:
        """(images, targets, indices), or (images, *TokenTargets, indices).

        With an augment DALI rewrites this function, for its `if`s.
        """
        jpegs, index = self._read()
        images, crop = self._images(jpegs)
        if self.augment is not None:
            images = self.augment(images)
        images, targets = self._mixed(images, index, crop, planner)
        return images, *flat(targets), index

    @decorators.do_not_convert
    def _mixed(
        self, images: DataNode, index: DataNode, crop: dict[str, DataNode], planner: BatchPlanner
    ) -> tuple[DataNode, DataNode | TokenTargets]:
        known = {"seeds": nodes.random_seeds(self.seeds[3]), "index": index}
        if self.scores_by_store:
            known |= crop
        if self.augment is not None:
            if not isinstance(images, DataNode):
                raise TypeError(f"augment must return one DALI node, got {type(images).__name__}")
            images = nodes.require_uint8(images)
            known["shapes"] = images.shape(dtype=types.INT64)

        def plan(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
            return planner(**dict(zip(known, arrays, strict=True)))

        to_score = self.scores_by_store and bool(needed(self.mixer))  # once they are placed
        rows, ids, *maps = op.host(plan, *known.values(), outputs=2 + to_score)
        labelling = Labelling(
            self.supervision, self.num_classes, self.smoothing, self.mixer, "NHWC", images, self.threads
        )
        stored = None
        if self.supervision in BY_LABELS and self.label_maps is not None:
            stored = stored_labels(self.label_maps, index, crop, self.num_classes)
        rows, targets, seen = labelling.targets(ids, rows, self.teacher, stored, lambda: planner.mixing, *maps)
        if self.mixer is not None:
            images = nodes.mix(images, rows, self.mixer, "NHWC", *seen, threads=self.threads)
        return self._normalised(images), targets

    @property
    def labels(self) -> np.ndarray:
        """Of the samples, by index."""
        return self.samples.labels

    @property
    def scores_by_store(self) -> bool:
        """Whether the plan's label weights come from stored maps."""
        return self.supervision == "tokenmix" and self.label_maps is not None

    @decorators.do_not_convert
    def _images(self, jpegs: DataNode) -> tuple[DataNode, dict[str, DataNode]]:
        return self._train_images(jpegs) if self.train else (self._eval_images(jpegs), {})

    @decorators.do_not_convert
    def _read(self) -> tuple[DataNode, DataNode]:
        shuffle = self.seeds[0] if self.train else None
        jpegs, index = self.samples.read(shuffle=shuffle, shard_id=self.shard_id, num_shards=self.num_shards)
        if self.repeats == 1:
            return jpegs, index
        # What is read and not decoded costs little: DALI maps files. In rounds, so that flipped partners are others.
        which = [k % (self.batch_size // self.repeats) for k in range(self.batch_size)]
        return tuple(fn.permute_batch(node, indices=which) for node in (jpegs, index))

    def _train_images(self, jpegs: DataNode) -> tuple[DataNode, dict[str, DataNode]]:
        """Random crop, decoded alone, resized and mirrored in place; and the crop, as planner.boxes_of() takes it."""
        full = fn.peek_image_shape(jpegs)
        start, size = fn.random_crop_generator(full, random_area=AREA, random_aspect_ratio=ASPECT, seed=self.seeds[1])
        crops = fn.decoders.image_slice(jpegs, start=start, shape=size, axes=[0, 1], device=self._decode_on)
        mirrored = fn.random.coin_flip(seed=self.seeds[2], dtype=types.INT32)
        if self.device == "cpu":  # DALI's own is half as fast there: benchmarks/throughput.py
            images = nodes.resized(crops, mirrored, self.image_size, self.threads)
        else:
            images = nodes.mirror(fn.resize(crops, size=self.image_size, **LINEAR), mirrored)
        return images, {"start": start, "size": size, "full": full, "mirrored": mirrored}

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
        if self.device == "cpu":  # DALI's own takes four times as long there: benchmarks/kernels.py
            return nodes.normalised(images, self.mean, self.std, self.dtype, self.layout, self.threads)
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
