"""The geometry of a launch."""

from __future__ import annotations

from dataclasses import dataclass

THREADS_A_BLOCK = 256
MOST_BLOCKS = 2**31 - 1  # a grid's x dimension


@dataclass(frozen=True)
class Work:
    """rows are independent; lanes work side by side on one. What a row and a lane are is the kernel's affair."""

    rows: int
    lanes: int

    @property
    def block(self) -> tuple[int, int]:
        """(x, y): lanes rounded up to a power of two, at most a warp, and as many rows as fill a block."""
        x = min(32, 1 << max(0, self.lanes - 1).bit_length())
        return x, THREADS_A_BLOCK // x

    @property
    def grid(self) -> int:
        """Blocks in x; kernels stride over the rest where there are more rows."""
        return max(1, min(MOST_BLOCKS, -(-self.rows // self.block[1])))
