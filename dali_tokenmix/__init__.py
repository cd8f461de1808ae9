"""TokenMix, CutMix and MixUp inside an NVIDIA DALI pipeline, with soft labels."""

from .labels import soft_targets
from .mixers import Choice, CutMix, MixUp, TokenMix
from .mixing import apply, draw
from .plan import Plan

__all__ = ["Choice", "CutMix", "MixUp", "Plan", "TokenMix", "apply", "draw", "soft_targets"]
