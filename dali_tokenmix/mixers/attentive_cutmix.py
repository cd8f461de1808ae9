"""AttentiveCutMix: the cells that a teacher attends to most (Walawalkar et al., ICASSP 2020, arXiv 2003.13048)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..checks import integer
from ..plan import Batch, Plan
from ..regions import Size, TopTokens, TopTokensShape
from .pairing import Pairing


@dataclass(frozen=True, kw_only=True)
class AttentiveCutMix(Pairing):
    """The partner's most attended cells replace the same cells of the sample (Walawalkar et al., ICASSP 2020).

    "Attentive CutMix: An Enhanced Data Augmentation Approach for Deep Learning Based Image Classification",
    arXiv 2003.13048.

    Args:
        k: how many cells, >= 1 and fewer than the grid has; the paper's 6.
        grid: rows and columns of cells laid over the image, the paper's 7 x 7: what a ResNet-50 makes of 224 x 224
            pixels. Cells are of one size, up to a pixel. A teacher's map of another size is averaged on them.
        mode, partner, prob: as in TokenMix. Nothing but partners and prob is random here.

    Attention is the mean over channels of a teacher's last features, on the clean image, whatever its class: pass
    teacher= to Loader or token_mix, or maps= to dtm.draw(). Of equally high cells the first is taken. Label weights are
    counted from the pixels that are pasted; both samples of a pair are pasted into each other, where the paper pastes
    one into the other. Raises ValueError for a value out of range, and when drawing for images of fewer pixels than
    cells on a side.
    """

    k: int = 6
    grid: tuple[int, int] = (7, 7)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.grid, tuple | list) or len(self.grid) != 2:
            raise ValueError(f"grid must be (rows, columns), got {self.grid!r}")
        rows, columns = (integer("grid", side, at_least=1, at_most=256) for side in self.grid)
        object.__setattr__(self, "grid", (rows, columns))
        integer("k", self.k, at_least=1)
        if self.k >= rows * columns:
            raise ValueError(f"k must leave a cell of the {rows} x {columns} grid to the sample, got {self.k}")

    def shapes(self, image_size: Size) -> tuple[TopTokensShape, ...]:
        """The layout of the plans drawn for images of (height, width) pixels."""
        return (TopTokensShape(0, self.grid),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws partners, and who is mixed; the cells are yet to be placed."""
        pairs = self.pairs(rng, batch)
        bits = np.zeros((batch.samples, *self.grid), np.uint8)
        bits.reshape(batch.samples, -1)[pairs.mixed, : self.k] = 1
        return Plan(pairs.partner, (TopTokens(bits, 0),), batch.image_size)
