"""What happens where: Tokens (a bit mask on the patch grid), Box (pixels), Blend (a weight), Quarters
(four crops). A file each.

A region holds the data of a batch; its shape (TokenGrid, BoxShape, BlendShape) says how a sample's data is packed
into a plan row, and is known before anything is drawn.
"""

from .base import Region, RegionShape, SampleMask, Size
from .blend import Blend, BlendShape
from .box import Box, BoxShape
from .chains import Chains, ChainsShape
from .erased import ErasedBoxes, ErasedBoxesShape, ErasedCells, ErasedCellsShape, erases
from .fill import Fill
from .placed import PeakBox, PeakBoxShape, TopTokens, TopTokensShape, kinds, placed_shapes
from .quarters import Quarters, QuartersShape
from .resized import Resized, ResizedShape
from .tokens import TokenGrid, Tokens

__all__ = ["Blend", "BlendShape", "Box", "BoxShape", "Region", "RegionShape", "SampleMask", "Size"]
__all__ += ["ErasedBoxes", "ErasedBoxesShape", "ErasedCells", "ErasedCellsShape", "Fill", "erases"]
__all__ += [
    "Chains",
    "ChainsShape",
    "PeakBox",
    "PeakBoxShape",
    "Quarters",
    "QuartersShape",
    "Resized",
    "ResizedShape",
    "TokenGrid",
    "Tokens",
    "TopTokens",
    "TopTokensShape",
    "kinds",
    "placed_shapes",
]
