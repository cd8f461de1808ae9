"""A Loader in Lightning, Accelerate and the Trainer of transformers. Each is imported when it is asked for."""

from typing import Any

from .torch_loader import TorchLoader
from .trainer import TrainerMixin

__all__ = ["LightningDataModule", "TorchLoader", "TrainerMixin"]


def __getattr__(name: str) -> Any:
    if name == "LightningDataModule":
        from .lightning import LightningDataModule

        return LightningDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
