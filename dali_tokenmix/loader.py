"""Loader: class folders of images -> mixed batches and soft targets, as torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from . import run_state, settings
from .checks import integer
from .interrupts import HeldInterrupt
from .label_maps import TokenTargets
from .phases import Schedule
from .pipeline import shard_samples
from .processes import Process, shard
from .settings import IMAGENET_MEAN, IMAGENET_STD


class Loader:
    """An iterable of (images, targets), an epoch a loop.

    images: (N, 3, H, W) or (N, H, W, 3) torch tensor on the device, normalised, mixed. targets: (N, num_classes)
    float32 soft targets. Both share DALI's memory, no copy; they stay valid as long as they are held.

    Args:
        root: a folder with a folder of images for each class; classes are numbered in sorted order, as torchvision
            does.
        source: instead of root, a path of class folders or one of dtm.sources: Folder, FileList, WebDataset, TFRecord,
            which also take labels= beside them, class ids or soft rows. docs/data.md shows each.
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
        shard_id, num_shards: this process's part of the data. Shards are disjoint and draw differently. None: the rank
            and number of processes of torch.distributed where it is initialised, else of torchrun, else 0 of 1.
        seed: of everything random. Equal seeds give equal batches, whatever num_threads and prefetch are.
        last_batch: "drop" leaves out what does not fill a batch, so that every shard has the same number of batches.
            "partial" yields it as a smaller batch; a shard may have one batch more than another. "fill" repeats the
            shard's last sample, on every shard to the same number of batches.
        repeats: repeated augmentation (arXiv 1901.09335, 1905.05393): every image is so many times in a batch, each
            time with a crop of its own. An epoch has as many batches as ever, so it shows every repeats-th image only,
            others each time. batch_size must divide by it; for training with last_batch="drop".
        schedule: a function of the epoch's number that gives a dict of image_size, prob and mixing, or some of them;
            what it leaves out is as the Loader was made. It is asked when an epoch begins. See set_image_size().
        supervision: how targets are made; all but the first need teacher or label_maps.
            "imagenet": the two labels are weighed by area.
            "tokenmix": by how much of each object shows, on a teacher's activation maps (arXiv 2207.08409).
            "relabel": each label is replaced by what a teacher sees in the crop, softmax over classes of its label map;
            they are mixed by area (arXiv 2101.05022).
            "tokenlabeling": the same, and every token is labelled as well (arXiv 2104.10858); targets are TokenTargets,
            a named tuple that losses.TokenLabelingLoss takes.
        teacher: a Teacher, which looks at every clean image on its way: for labels, and for a mixer that cuts by its
            attention (AttentiveCutMix). A Saliency does as one for "tokenmix".
        label_maps: a LabelStore or its path, made once for the data. Stored maps follow crop and flip, but not what
            augment may do to an image.
        on_error: "raise" names the unreadable file when it is met. "skip" decodes every file once before the first
            epoch, leaves out the unreadable ones and lists them in `skipped`.

    Attributes:
        classes: names of the class folders, or numbers. files: the samples, in the order of indices: paths below root,
            of tar shards shard/key, of TFRecords file/number.
        skipped: {sample: reason}.
        indices: (N,) int64 NumPy array, positions in `files` of the batch yielded last.
        mixing: set it to False, and from the next batch on nothing is mixed; True mixes again.
        prob: set it to a number in [0, 1], and from the next batch on mixers mix with that probability.

    Iterating again after a loop that was left early begins the next epoch. One loop runs at a time. A Ctrl-C that comes
    while a batch is made is raised after it, in front of the next, so that state_dict() is right whenever it comes. A
    Loader can be pickled: configuration and position. It does not survive a fork.
    Raises ValueError or TypeError for an argument that does not fit, RuntimeError for a file that cannot be decoded.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        source: Any = None,
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
        augment: Callable[[Any], Any] | None = None,
        dtype: Literal["float32", "float16", "uint8"] = "float32",
        layout: Literal["NCHW", "NHWC"] = "NCHW",
        num_threads: int | None = None,
        prefetch: int = 2,
        shard_id: int | None = None,
        num_shards: int | None = None,
        seed: int = 0,
        last_batch: Literal["drop", "partial", "fill"] = "drop",
        repeats: int = 1,
        schedule: Schedule | None = None,
        supervision: Literal["imagenet", "tokenmix", "relabel", "tokenlabeling"] = "imagenet",
        teacher: Any = None,
        label_maps: Any = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name != "self"}
        arguments["shard_id"], arguments["num_shards"] = shard(shard_id, num_shards)
        self._arguments, self._process = arguments, Process()
        self._graph, self._data = settings.graph(**arguments)
        self.device = self._graph.device
        if self.device == "gpu" and self._graph.device_id is None:
            self._graph = replace(self._graph, device_id=torch.cuda.current_device())
        self._run = settings.run(self._graph, seed=seed, num_threads=num_threads, prefetch=prefetch, schedule=schedule)
        self.classes, self.files, self.skipped = self._data.classes, self._data.files, self._data.skipped
        self.num_classes, self.batch_size = self._graph.num_classes, self._graph.batch_size
        self.indices = np.zeros(0, np.int64)
        self._loops, self._in_place = 0, False

    def __len__(self) -> int:
        """Batches in an epoch of this shard."""
        return self._run.length

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Any]]:
        self._process.check()  # before a pipeline is dropped: in a forked child that would hang
        if self._run.left_early and not self._in_place:
            self._run.begin(self._run.epoch_after)
        self._in_place = False
        self._loops += 1
        return self._loop(self._loops)

    def _loop(self, number_of_loop: int) -> Iterator[tuple[torch.Tensor, Any]]:
        interrupt = HeldInterrupt()
        try:
            for _ in range(len(self) - self.batch):
                if number_of_loop != self._loops:
                    raise RuntimeError("another loop over this loader has begun: one runs at a time")
                interrupt.deliver()
                with interrupt:
                    batch = self._next()
                yield batch
            interrupt.deliver()
        finally:
            interrupt.deliver_later()

    def _next(self) -> tuple[torch.Tensor, Any]:
        self._process.check()
        (images, targets, index), number = self._run.next()
        valid = len(images)
        if self._graph.last_batch == "partial":
            valid = min(valid, shard_samples(len(self.files), self._graph) - number * valid)
        self.indices = index[:valid]
        if self._graph.supervision == "tokenlabeling":
            return images[:valid], TokenTargets(*(part[:valid] for part in targets))
        return images[:valid], targets[0][:valid]

    @property
    def epoch(self) -> int:
        """Of the batch that comes next."""
        return self._run.epoch

    @property
    def batch(self) -> int:
        """The number in its epoch of the batch that comes next."""
        return self._run.batch

    def set_epoch(self, epoch: int) -> None:
        """The next loop runs this epoch, from its first batch.

        Where the loader stands there already, at its first batch or anywhere in it after load_state_dict(), nothing
        changes: call it in front of every loop, or never. Equal calls give equal batches; but an epoch that is jumped
        to is drawn afresh, from seed and epoch, and differs from one that is come to by the epochs before.
        """
        epoch = integer("epoch", epoch, at_least=0)
        self._process.check()
        if epoch != self.epoch or (self._run.left_early and not self._in_place):
            self._loops += 1
            self._run.begin(epoch)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the batches from the next one on."""
        return self._run.phase.image_size

    def set_image_size(self, image_size: int | tuple[int, int]) -> None:
        """Another image size from the next batch on, one number or (height, width): progressive resizing.

        Stored label maps and token labels follow. Raises ValueError for a size that the mixer cannot fit.
        """
        self._change(image_size=image_size)

    @property
    def mixing(self) -> bool:
        """Whether batches are mixed from the next one on."""
        return self._run.phase.mixing

    @mixing.setter
    def mixing(self, value: bool) -> None:
        self._change(mixing=value)

    @property
    def prob(self) -> float | None:
        """The probability of mixing from the next batch on; None: as the mixer was made."""
        return self._run.phase.prob

    @prob.setter
    def prob(self, value: float | None) -> None:
        self._change(prob=value)

    def _change(self, **changes: Any) -> None:
        self._process.check()
        self._run.change(self._run.phase.changed(self._graph, **changes))

    def state_dict(self) -> dict[str, Any]:
        """Where the run is, between any two batches, in plain numbers and text: torch.save and JSON take it."""
        self._process.check()
        return run_state.saved(self._run.state(), self._identity())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where state_dict() was taken: the next batches are, bit for bit, those of the run it came from.

        num_threads and prefetch may differ. Raises ValueError that names what else differs.
        """
        self._process.check()
        place = run_state.restored(state, self._identity(), self._graph, len(self))
        self._in_place = True
        self._loops += 1
        self._run.go_on(place)

    def _identity(self) -> dict[str, Any]:
        seed, scheduled = self._arguments["seed"], self._arguments["schedule"] is not None
        return run_state.identity(self._graph, self._data, seed, scheduled)

    def close(self) -> None:
        """Frees the pipeline, its memory and its threads. The next batch builds a new one, which goes on from here."""
        self._process.check()
        self._run.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Configuration and position: a copy, or what is unpickled in another process, goes on from the same batch."""
        return _remade, (self._arguments, self.state_dict())


def _remade(arguments: dict[str, Any], state: dict[str, Any]) -> Loader:
    loader = Loader(**arguments)
    loader.load_state_dict(state)
    return loader
