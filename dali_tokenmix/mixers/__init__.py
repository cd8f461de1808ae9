"""Mixers: each draws a Plan. A new one is a file with shapes() and draw(), and a line here."""

from .choice import Choice
from .cutmix import CutMix
from .mixup import MixUp
from .token_mix import TokenMix

__all__ = ["Choice", "CutMix", "MixUp", "TokenMix"]
