"""LightningDataModule: Loaders for training and validation, as Lightning makes its processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..loader import Loader
from .torch_loader import TorchLoader

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule as Base
else:
    # The two packages do not know each other's classes: the one that is in use.
    old = "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules
    Base = import_module("pytorch_lightning" if old else "lightning.pytorch").LightningDataModule

Data = str | Path | Any | Callable[[], Loader]
FOR_TRAINING = ("mixer", "smoothing", "augment", "repeats", "schedule", "supervision", "teacher", "label_maps")


class LightningDataModule(Base):
    """The data of a Trainer: fit(model, datamodule=LightningDataModule("train", "val", batch_size=128, mixer=...)).

    Each process of the Trainer loads its own shard, on its own device; use_distributed_sampler changes nothing. An
    epoch of Lightning's is one of the Loader's. Checkpoints, in mid-epoch too, hold where training stands.

    Args:
        train, val: folders of images by class, or sources as Loader(source=) takes them, or functions that make
            Loaders; val may be None.
        options: of Loader, for both; mixer, augment and what else is for training alone are left out of val's. In a
            run of more processes val repeats a shard's last sample where shards are not equal (last_batch="fill").
        val_options: what is different for val.

    Attributes:
        train_loader, val_loader: the Loaders, once the Trainer has called setup().

    Raises ValueError or TypeError for an argument that does not fit, when setup() is called; ValueError for options
    beside functions, for val with other classes than train, and for overfit_batches.
    """

    def __init__(
        self, train: Data, val: Data = None, *, val_options: dict[str, Any] | None = None, **options: Any
    ) -> None:
        super().__init__()
        if callable(train) and (options or val_options):
            given = ", ".join([*options, *(val_options or {})])
            raise ValueError(f"options are of Loaders made here, train is a function that makes its own: got {given}")
        if callable(train) and not (val is None or callable(val)):
            raise ValueError(f"val must be a function that makes a Loader, as train is one, got {val!r}")
        if decided := {"train", "shard_id", "num_shards"} & {*options, *(val_options or {})}:
            raise ValueError(f"{', '.join(sorted(decided))} must be left out: the Trainer decides")
        self._train, self._val, self._options, self._val_options = train, val, options, val_options or {}
        self._process: dict[str, Any] | None = None
        self._state: dict[str, Any] | None = None  # of a checkpoint, for train_dataloader()
        self.train_loader: Loader | None = None
        self.val_loader: Loader | None = None

    def setup(self, stage: str) -> None:
        """Makes the Loaders, once for a place in a run: another fit() goes on with them."""
        self._state = None  # an evaluation's checkpoint: the fit's own is restored after this
        process = self._of_trainer()
        if process == self._process:
            return
        self.train_loader = _loader(self._train, process | self._options)
        if self._val is not None:
            options = {name: value for name, value in self._options.items() if name not in FOR_TRAINING}
            last = {"last_batch": "partial" if process["num_shards"] == 1 else "fill"}
            classes = {"num_classes": self.train_loader.num_classes, "train": False}
            self.val_loader = _loader(self._val, process | options | last | classes | self._val_options)
            if self.val_loader.classes != self.train_loader.classes:
                raise ValueError(
                    f"val must have the classes of train, {_few(self.train_loader.classes)}, "
                    f"got {_few(self.val_loader.classes)}"
                )
        self._process = process

    def train_dataloader(self) -> TorchLoader:
        assert self.train_loader is not None
        loader, state, self._state = TorchLoader(self.train_loader), self._state, None
        if state is not None:
            loader.load_state_dict(state)
        return loader

    def val_dataloader(self) -> TorchLoader | list[Any]:
        return [] if self.val_loader is None else TorchLoader(self.val_loader)

    def state_dict(self) -> dict[str, Any]:
        """Where training stands. At an epoch's end Lightning restores this from a checkpoint, but not a DataLoader."""
        return {} if self.train_loader is None else TorchLoader(self.train_loader).state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Holds from the next fit on, so that evaluation takes checkpoints of any number of processes."""
        self._state = state_dict

    def _of_trainer(self) -> dict[str, Any]:
        """This process's part and device, as options of Loader."""
        if self.trainer is None:
            return {"shard_id": 0, "num_shards": 1}
        if getattr(self.trainer, "overfit_batches", 0):
            raise ValueError("overfit_batches needs batches that are the same in each epoch: train on a few files")
        part = {"shard_id": self.trainer.global_rank, "num_shards": self.trainer.world_size}
        device = self.trainer.strategy.root_device
        if "device" in self._options:
            return part
        return part | ({"device": "gpu", "device_id": device.index} if device.type == "cuda" else {"device": "cpu"})


def _loader(data: Data, options: dict[str, Any]) -> Loader:
    if not callable(data):
        return Loader(source=data, **options)
    loader = data()
    if not isinstance(loader, Loader):
        raise TypeError(f"train and val that are functions must return a Loader, got {type(loader).__name__}")
    return loader


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
