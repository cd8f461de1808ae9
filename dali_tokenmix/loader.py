"""Loader: class folders of images -> mixed batches and soft targets, as torch tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nvidia.dali.pipeline import Pipeline

from . import run_state, settings
from .checks import integer
from .label_maps import TokenTargets
from .pipeline import batches, padded_batches, shard_samples
from .planner import BatchPlanner
from .readable import explain
from .run_state import RunState
from .settings import IMAGENET_MEAN, IMAGENET_STD


class Loader:
    """An iterable of (images, targets), an epoch a loop.

    images: (N, 3, H, W) or (N, H, W, 3) torch tensor on the device, normalised, mixed. targets: (N, num_classes)
    float32 soft targets. Both share DALI's memory, no copy; they stay valid as long as they are held.

    Args:
        root: a folder with a folder of images for each class; classes are numbered in sorted order, as torchvision
            does.
        batch_size: samples a batch.
        image_size: of the output in pixels, one number or (height, width).
        mixer: TokenMix(...), CutMix(...), MixUp(...), Choice(...); None loads without mixing.
        num_classes: columns of the targets, at least the number of class folders; None: just as many.
        smoothing: label smoothing in [0, 1]; None: 0.1 for training, 0 (exact one-hot rows) for evaluation.
        device: "gpu", "cpu", or None: the GPU if there is one.
        device_id: which GPU, from 0; None: torch's current one.
        train: True shuffles, crops at random (area 0.08..1, aspect 3/4..4/3), flips and mixes. False keeps the order,
            resizes the shorter side to 256/224 of image_size (its larger number) and crops the centre; no mixer.
        mean, std: of the channels, for values in [0, 1]. With dtype="uint8" pixels come as they are: None for both.
        augment: a function of a DALI node, uint8 HWC -> uint8 HWC of the same size, put between resize and mix.
        dtype: "float32", "float16" or "uint8".
        layout: "NCHW" or "NHWC".
        num_threads: CPU threads of DALI; None: all CPUs of this process.
        prefetch: batches made ahead.
        shard_id, num_shards: this process's part of the data. Shards are disjoint and draw differently.
        seed: of everything random. Equal seeds give equal batches, whatever num_threads and prefetch are.
        last_batch: "drop" leaves out what does not fill a batch, so that every shard has the same number of batches.
            "partial" yields it as a smaller batch; a shard may have one batch more than another. "fill" repeats the
            shard's last sample, on every shard to the same number of batches.
        supervision: how targets are made; all but the first need teacher or label_maps.
            "imagenet": the two labels are weighed by area.
            "tokenmix": by how much of each object shows, on a teacher's activation maps (arXiv 2207.08409).
            "relabel": each label is replaced by what a teacher sees in the crop, softmax over classes of its label map;
            they are mixed by area (arXiv 2101.05022).
            "tokenlabeling": the same, and every token is labelled as well (arXiv 2104.10858); targets are TokenTargets,
            a named tuple that losses.TokenLabelingLoss takes.
        teacher: a Teacher, which looks at every clean image on its way.
        label_maps: a LabelStore or its path, made once for the data. Stored maps follow crop and flip, but not what
            augment may do to an image.
        on_error: "raise" names the unreadable file when it is met. "skip" decodes every file once before the first
            epoch, leaves out the unreadable ones and lists them in `skipped`.

    Attributes:
        classes: names of the class folders. files: paths below root, in the order of indices.
        skipped: {path below root: reason}. epoch, batch: of the batch that comes next.
        indices: (N,) int64 NumPy array, positions in `files` of the batch yielded last.
        mixing: set it to False, and from the next batch on nothing is mixed; True mixes again.

    Iterating again after a loop that was left early begins the next epoch. One loop runs at a time.
    Raises ValueError or TypeError for an argument that does not fit, RuntimeError for a file that cannot be decoded.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        batch_size: int = 128,
        image_size: int | tuple[int, int] = 224,
        mixer: Any = None,
        num_classes: int | None = None,
        smoothing: float | None = None,
        device: Literal["cpu", "gpu"] | None = None,
        device_id: int | None = None,
        train: bool = True,
        mean: tuple[float, ...] | None = IMAGENET_MEAN,
        std: tuple[float, ...] | None = IMAGENET_STD,
        augment: Callable | None = None,
        dtype: Literal["float32", "float16", "uint8"] = "float32",
        layout: Literal["NCHW", "NHWC"] = "NCHW",
        num_threads: int | None = None,
        prefetch: int = 2,
        shard_id: int = 0,
        num_shards: int = 1,
        seed: int = 0,
        last_batch: Literal["drop", "partial", "fill"] = "drop",
        supervision: Literal["imagenet", "tokenmix", "relabel", "tokenlabeling"] = "imagenet",
        teacher: Any = None,
        label_maps: Any = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        self._graph, self._data = settings.graph(
            root,
            batch_size=batch_size,
            image_size=image_size,
            mixer=mixer,
            num_classes=num_classes,
            smoothing=smoothing,
            device=device,
            device_id=device_id,
            train=train,
            mean=mean,
            std=std,
            augment=augment,
            dtype=dtype,
            layout=layout,
            shard_id=shard_id,
            num_shards=num_shards,
            last_batch=last_batch,
            supervision=supervision,
            teacher=teacher,
            label_maps=label_maps,
            on_error=on_error,
        )
        self._threads = settings.threads(num_threads)
        self._depth = integer("prefetch", prefetch, at_least=1, at_most=64)
        self._seed = integer("seed", seed, at_least=0, at_most=2**63 - 1)
        self.device = self._graph.device
        if self.device == "gpu" and self._graph.device_id is None:
            self._graph = replace(self._graph, device_id=torch.cuda.current_device())
        self.classes, self.files, self.skipped = self._data.classes, self._data.files, self._data.skipped
        self.num_classes, self.batch_size = self._graph.num_classes, self._graph.batch_size
        self.epoch, self.batch = 0, 0
        self.indices = np.zeros(0, np.int64)
        self._length = batches(len(self.files), self._graph)
        self._mixing, self._origin, self._loops, self._resumed = True, 0, 0, False
        self._pipeline: Pipeline | None = None
        self._checkpoint: bytes | None = None  # of a pipeline that was closed
        self._failed, self._process = False, os.getpid()
        self._planner: BatchPlanner | None = None

    def __len__(self) -> int:
        """Batches in an epoch of this shard."""
        return self._length

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Any]]:
        self._check_process()  # before a pipeline is dropped: in a forked child that would hang
        if self._failed or (self.batch and not self._resumed):
            self._start_epoch(self.epoch + (self.batch > 0))
        self._resumed = False
        self._loops += 1
        return self._loop(self._loops)

    def _loop(self, number_of_loop: int) -> Iterator[tuple[torch.Tensor, Any]]:
        for _ in range(self._length - self.batch):
            if number_of_loop != self._loops:
                raise RuntimeError("another loop over this loader has begun: one runs at a time")
            yield self._next()

    def _next(self) -> tuple[torch.Tensor, Any]:
        images, targets, index = self._run()
        valid = len(images)
        if self._graph.last_batch == "partial":
            valid = min(valid, shard_samples(len(self.files), self._graph) - self.batch * valid)
        self.indices = index[:valid]
        self.batch += 1
        if self.batch == self._length:
            for _ in range(padded_batches(len(self.files), self._graph) - self._length):
                self._run()  # what the policy leaves out, so that the reader's next batch is an epoch's first
            self.epoch, self.batch = self.epoch + 1, 0
        if self._graph.supervision == "tokenlabeling":
            return images[:valid], TokenTargets(*(part[:valid] for part in targets))
        return images[:valid], targets[0][:valid]

    def _run(self) -> tuple[torch.Tensor, list[torch.Tensor], np.ndarray]:
        self._check_process()
        if self._pipeline is None:
            self._build(self._checkpoint)
        assert self._pipeline is not None
        assert self._planner is not None
        try:
            images, *targets, index = self._pipeline.run()
        except RuntimeError as error:
            recent = [self._graph.paths[k] for batch in reversed(self._planner.recent) for k in batch]
            self._pipeline, self._checkpoint, self._failed = None, None, True
            raise RuntimeError(explain(error, recent, self._graph.paths, self._threads)) from error
        return (
            torch.from_dlpack(images.as_tensor()),
            [torch.from_dlpack(part.as_tensor()) for part in targets],
            index.as_array().reshape(-1).astype(np.int64),
        )

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError("a Loader does not survive a fork: make a new one in the child process")

    def _build(self, checkpoint: bytes | None) -> None:
        seeds = run_state.seeds(self._seed, self._origin, self._graph.shard_id)
        graph = replace(self._graph, seeds=seeds, threads=self._threads)
        self._planner = BatchPlanner(graph, self._mixing, self._depth)
        self._pipeline = graph.build(
            self._planner,
            num_threads=self._threads,
            depth=self._depth,
            checkpoint=checkpoint,
        )

    def _start_epoch(self, epoch: int) -> None:
        """An epoch from its first batch, in a pipeline of its own: seeds come from the epoch it starts at."""
        self._pipeline = self._checkpoint = None
        self.epoch, self.batch, self._origin, self._failed = epoch, 0, epoch, False

    @property
    def mixing(self) -> bool:
        """Whether batches are mixed from the next one on."""
        return self._mixing

    @mixing.setter
    def mixing(self, value: bool) -> None:
        value = bool(value)
        if value != self._mixing and self._pipeline is not None:
            self.close()  # batches made ahead are mixed as before: the next one is made again
        self._mixing = value

    def state_dict(self) -> dict[str, Any]:
        """Where the run is, between any two batches, in plain numbers and text: torch.save and JSON take it."""
        checkpoint = self._checkpoint if self._pipeline is None else self._pipeline.checkpoint()
        state = RunState(self.epoch, self.batch, self._origin, self._mixing, checkpoint)
        return run_state.saved(state, run_state.identity(self._graph, self._data, self._seed))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where state_dict() was taken: the next batches are, bit for bit, those of the run it came from.

        num_threads and prefetch may differ. Raises ValueError that names what else differs.
        """
        run = run_state.identity(self._graph, self._data, self._seed)
        found = run_state.restored(state, run, self._length)
        self.epoch, self.batch, self._origin, self._mixing, self._checkpoint = found
        self._pipeline, self._failed, self._resumed = None, False, True
        self._loops += 1

    def close(self) -> None:
        """Frees the pipeline and its threads. The next batch builds a new one, which goes on where this one was."""
        if self._pipeline is not None:
            self._checkpoint = self._pipeline.checkpoint()
        self._pipeline = self._planner = None
