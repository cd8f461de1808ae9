"""Mixers: each draws a Plan. A new one is a file with shapes() and draw(), and a line here."""

from .attentive_cutmix import AttentiveCutMix as AttentiveCutMix
from .augmix import AugMix as AugMix
from .choice import Choice as Choice
from .cutmix import CutMix as CutMix
from .cutout import Cutout as Cutout
from .hide_and_seek import HideAndSeek as HideAndSeek
from .mixup import MixUp as MixUp
from .random_erasing import RandomErasing as RandomErasing
from .resize_mix import ResizeMix as ResizeMix
from .ricap import RICAP as RICAP
from .saliency_mix import SaliencyMix as SaliencyMix
from .sequence import Sequence as Sequence
from .token_mix import TokenMix as TokenMix

__all__ = [name for name, value in list(vars().items()) if isinstance(value, type)]
