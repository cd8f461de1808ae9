"""TokenMix, CutMix and MixUp inside an NVIDIA DALI pipeline, with soft labels."""

from importlib import import_module
from typing import Any

from .labels import crop_maps, scored, soft_targets
from .mixers import Choice, CutMix, MixUp, TokenMix
from .mixing import apply, draw
from .plan import Plan

__version__ = "0.1.0"
__all__ = ["Choice", "CutMix", "Loader", "MixUp", "Plan", "TokenMix"]
__all__ += ["apply", "crop_maps", "draw", "fn", "scored", "soft_targets"]


def __getattr__(name: str) -> Any:
    """fn and Loader on first use: drawing and mixing work without DALI and torch."""
    if name == "fn":
        return import_module(".fn", __name__)
    if name in ("Loader", "IMAGENET_MEAN", "IMAGENET_STD"):
        return getattr(import_module(".loader", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
