"""Mixers that optimise what they mix, for the training step: they need the saliency of the model that is trained."""

from .comixup import CoMixup
from .puzzlemix import PuzzleMix
from .saliency import input_saliency

__all__ = ["CoMixup", "PuzzleMix", "input_saliency"]
