"""TokenMix: masks made of patch blocks (Liu et al., ECCV 2022, arXiv 2207.08409)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..checks import choice, integer, number
from ..plan import Batch, Plan
from ..regions import Size, TokenGrid, Tokens
from ..runtime import block_mask
from .pairing import Pairing

LEAST_ASPECT = 0.3


@dataclass(frozen=True, kw_only=True)
class TokenMix(Pairing):
    """Tokens of the partner replace tokens of the sample, at the same places (Liu et al., arXiv 2207.08409).

    Args:
        patch_size: side of a token in pixels, >= 1. The image need not divide into tokens: the last row and column
            are then smaller, and weights are counted in pixels.
        mask: "block" (the paper: a union of rectangles of at least min_tokens, aspect log-uniform in [0.3, 1/0.3]),
            "random" (tokens drawn one by one) or "region" (one CutMix box on the token grid, clipped at its border).
        ratio: share of tokens that come from the partner, in (0, 1). Block and random masks take exactly
            int(ratio * tokens); a region's box is clipped, so that it takes at most about that.
        min_tokens: smallest rectangle of a block mask, >= 1. Near the end, where no rectangle of that size can be
            placed without overshooting, smaller ones fill up.
        mode: "pair" draws a mask for each pair, "batch" one for all, "elem" one for each sample.
        partner: "flip" pairs sample i with N-1-i, "random" pairs at random. The odd one out stays as it is.
        prob: probability that a pair (a batch, a sample: see mode) is mixed at all.
        compat: "official" draws block masks by the released code's rules: int(ratio * tokens) + min_tokens of them,
            minimum area 1, at most 10 attempts a rectangle, rectangles narrower and lower than the grid. The paper's
            own 14 x 14 grid then loses 112 tokens of 196 in about 98.7 % of draws.

    Raises ValueError for a value out of range, and when drawing for a grid that the mask cannot fit.
    """

    patch_size: int = field(default=16, kw_only=False)
    mask: Literal["block", "random", "region"] = "block"
    ratio: float = 0.5
    min_tokens: int = 14
    compat: Literal["official"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("patch_size", self.patch_size, at_least=1)
        choice("mask", self.mask, ("block", "random", "region"))
        number("ratio", self.ratio, above=0, below=1)
        integer("min_tokens", self.min_tokens, at_least=1)
        choice("compat", self.compat, (None, "official"))
        if self.compat and self.mask != "block":
            raise ValueError(f"compat='official' reproduces block masks, got mask={self.mask!r}")

    def shapes(self, image_size: Size) -> tuple[TokenGrid, ...]:
        """The layout of the plans drawn for images of (height, width) pixels."""
        return (TokenGrid.of(self.patch_size, image_size),)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        """Draws masks and partners for a batch."""
        pairs = self.pairs(rng, batch)
        (grid,) = self.shapes(batch.image_size)
        draw_masks = {"block": self._block, "random": self._random, "region": self._region}[self.mask]
        masks = draw_masks(rng, grid, pairs.groups)
        bits = masks[pairs.group] * pairs.mixed[:, None, None].astype(np.uint8)
        return Plan(pairs.partner, (Tokens(bits, self.patch_size),), batch.image_size)

    def _total(self, grid: TokenGrid) -> int:
        if self.compat and min(grid.grid) < 2:
            raise ValueError(f"compat='official' needs a grid of at least 2 x 2, got {grid.grid[0]} x {grid.grid[1]}")
        total = int(self.ratio * grid.tokens + 1e-9)  # 0.29 * 100 is 28.999...
        total += self.min_tokens if self.compat else 0
        if not 0 < total < grid.tokens + bool(self.compat):
            rule = f"int(ratio * tokens){' + min_tokens' if self.compat else ''}"
            raise ValueError(
                f"{rule} must leave tokens on both sides, got {total} of the {grid.grid[0]} x {grid.grid[1]} grid "
                f"(patch_size={self.patch_size}, ratio={self.ratio}, min_tokens={self.min_tokens}, "
                f"compat={self.compat!r}): take smaller patches or larger images"
            )
        return total

    def _block(self, rng: np.random.Generator, grid: TokenGrid, count: int) -> np.ndarray:
        seeds = rng.integers(0, 2**64, count, np.uint64)
        return block_mask(
            seeds,
            grid.grid,
            total=self._total(grid),
            min_area=1 if self.compat else self.min_tokens,
            log_aspect=-math.log(LEAST_ASPECT),
            official=self.compat == "official",
        )

    def _random(self, rng: np.random.Generator, grid: TokenGrid, count: int) -> np.ndarray:
        total = self._total(grid)
        taken = rng.random((count, grid.tokens)).argpartition(total - 1, axis=1)[:, :total]
        masks = np.zeros((count, grid.tokens), np.uint8)
        np.put_along_axis(masks, taken, 1, axis=1)
        return masks.reshape(count, *grid.grid)

    def _region(self, rng: np.random.Generator, grid: TokenGrid, count: int) -> np.ndarray:
        boxes = clipped_boxes(rng, grid.grid, np.full(count, self.ratio))
        if (boxes[:, 2:] == boxes[:, :2]).any():
            raise ValueError(
                f"mask='region' with ratio={self.ratio} has no box of whole tokens on the "
                f"{grid.grid[0]} x {grid.grid[1]} grid: sides would be under one token"
            )
        y, x = (np.arange(side) for side in grid.grid)
        y0, x0, y1, x1 = (edge[:, None] for edge in boxes.T)
        bits: np.ndarray = ((y0 <= y) & (y < y1))[:, :, None] & ((x0 <= x) & (x < x1))[:, None, :]
        return bits.astype(np.uint8)


def clipped_boxes(rng: np.random.Generator, size: Size, share: np.ndarray) -> np.ndarray:
    """CutMix's boxes: (N, 4) int32 y0, x0, y1, x1 with the image's aspect and `share` (N,) of its area, centre uniform.

    What lies outside is clipped, so the area that is left may be smaller (Yun et al., ICCV 2019, arXiv 1905.04899).
    """
    edges = []
    for side in size:
        length = (side * np.sqrt(share)).astype(np.int32)
        start = rng.integers(0, side, len(share)) - length // 2
        edges.append((np.clip(start, 0, side), np.clip(start + length, 0, side)))
    (y0, y1), (x0, x1) = edges
    return np.stack([y0, x0, y1, x1], axis=1).astype(np.int32)
