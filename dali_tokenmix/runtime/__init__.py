"""The kernels, on whichever device holds the data: check, compute the geometry, pack, launch."""

from .draw import block_mask, philox
from .mix import apply_plan, mirror
from .normalise import normalise
from .place import place
from .relabel import crop_labels, mix_labels, token_labels
from .resize import resize
from .score import crop_maps, score, targets

__all__ = [
    "apply_plan",
    "block_mask",
    "crop_labels",
    "crop_maps",
    "mirror",
    "mix_labels",
    "normalise",
    "philox",
    "place",
    "resize",
]
__all__ += ["score", "targets", "token_labels"]
