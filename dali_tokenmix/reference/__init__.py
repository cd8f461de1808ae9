"""The definition of every kernel in slow NumPy.

Tests hold the kernels that make pixels and draw to it bit for bit, and those that make labels, which sum in another
order, to 1e-6.
"""

from .content import luminance, placed_at_peak, placed_on_top
from .draws import Words, block_mask, philox4x32, taylor_exp
from .geometry import mirrored, normalised, resize_weights, resized
from .labels import cell_shares, crop_labels, dense_maps, roi_align, scored, soft_targets
from .mixing import blended, mixed

__all__ = ["Words", "blended", "block_mask", "cell_shares", "crop_labels", "dense_maps", "luminance", "mirrored"]
__all__ += [
    "mixed",
    "normalised",
    "philox4x32",
    "placed_at_peak",
    "placed_on_top",
    "resize_weights",
    "resized",
    "roi_align",
    "scored",
    "soft_targets",
    "taylor_exp",
]
