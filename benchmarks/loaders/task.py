"""What every loader is asked to do, the same for all, and where each is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPOCH = 2**20  # samples, where a loader lets one choose: no epoch ends while the clock runs, as with a large data set


@dataclass(frozen=True)
class Task:
    """RandomResizedCrop to size, flip, float32 NCHW normalised by MEAN and STD, from class folders below root.

    workers: threads or processes, and CPUs that all of it may use. folder: for what a loader needs beside the files.
    """

    root: str
    folder: str
    batch_size: int
    workers: int
    device: str
    size: int = 224

    @property
    def store(self) -> Path:
        """Activation maps of all files, of noise."""
        return Path(self.folder) / "labels.safetensors"

    @property
    def beton(self) -> Path:
        """FFCV's file."""
        return Path(self.folder) / "photographs.beton"


Source = Callable[[Task], Iterator[Any]]
TORCHVISION, FFCV = "torchvision v1", "FFCV, jpg"
TOKEN_MIX, STORE, TEACHER = "Loader, TokenMix", "Loader, TokenMix, store", "Loader, TokenMix, teacher"
READ, DECODE_CROP = "read, DALI", "decode the crop, DALI"
LOADERS = {  # module and function; the function makes batches (images, targets) for ever
    TORCHVISION: "torchvision_loaders:pil",
    "torchvision v2": "torchvision_loaders:tensors",
    "torchvision decode_jpeg": "torchvision_loaders:decoded",
    "timm, Mixup": "timm_loader:mixed",
    "plain DALI": "plain_dali:batches",
    FFCV: "ffcv_loader:batches",
    "SPDL": "spdl_loader:batches",
    "Loader": "ours:plain",
    TOKEN_MIX: "ours:token_mix",
    STORE: "ours:with_store",
    TEACHER: "our_teacher:with_teacher",
}
PREPARED = {STORE, FFCV}  # need a file that is written before
SCORED = {STORE, TEACHER}  # by content: rows of their targets need not sum to 1
CEILINGS = {  # the function makes how much of it a batch was: bytes for "read", pixels for the others
    READ: "ceilings:read",
    "decode, DALI": "ceilings:decode",
    DECODE_CROP: "ceilings:decode_crop",
    "decode, torchvision": "ceilings:decode_torchvision",
    "decode, Pillow": "ceilings:decode_pillow",
    "resize, DALI": "ceilings:resize_dali",
    "resize, ours": "ceilings:resize_ours",
}


def source(name: str) -> Source:
    """The function of a loader or ceiling. Raises ImportError where its library is not installed."""
    return getattr(*_found(name))


def preparation(name: str) -> Callable[[Task], None]:
    """What writes the file that a loader in PREPARED needs."""
    module, function = _found(name)
    return getattr(module, f"prepare_{function}")


def _found(name: str) -> tuple[ModuleType, str]:
    module, _, function = (LOADERS | CEILINGS)[name].partition(":")
    return import_module(f"loaders.{module}"), function
