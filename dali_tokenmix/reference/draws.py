"""The definitions of the kernels that draw: Philox and block masks."""

from __future__ import annotations

import numpy as np


def philox4x32(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds of Philox on four 32-bit words (Salmon et al., SC 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        low, high = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(high >> 32) ^ c[1] ^ k[0], high & 0xFFFFFFFF, (low >> 32) ^ c[3] ^ k[1], low & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


class Words:
    """The words of one seed in order, and numbers made of them."""

    def __init__(self, seed: int) -> None:
        self.key = [seed & 0xFFFFFFFF, seed >> 32]
        self.counter = 0
        self.ready: list[int] = []

    def word(self) -> int:
        if not self.ready:
            self.ready = philox4x32([self.counter, 0, 0, 0], self.key)
            self.counter += 1
        return self.ready.pop(0)

    def uniform(self) -> float:
        return self.word() / 2**32

    def below(self, n: int) -> int:
        return self.word() * n >> 32


def taylor_exp(x: float) -> float:
    """exp(x) by its Taylor polynomial of degree 12."""
    total = 1.0
    for n in range(12, 0, -1):
        total = 1.0 + x * total / n
    return total


def block_mask(
    seed: int,
    grid: tuple[int, int],
    *,
    total: int,
    min_area: int,
    log_aspect: float,
    official: bool,
    attempts: int = 10,
) -> np.ndarray:
    """(gh, gw) uint8: rectangles of at least min_area tokens are added until exactly `total` are masked.

    A rectangle that would overshoot, or not fit the grid, is refused; after `attempts` refusals in a row the least
    area is halved (official: the mask stays short).
    """
    height, width = grid
    words, mask = Words(seed), np.zeros(grid, np.uint8)
    least, refused = min_area, 0
    while (left := total - int(mask.sum())) > 0:
        smallest = min(least, left)
        area = smallest + words.uniform() * (left - smallest)
        aspect = taylor_exp((2.0 * words.uniform() - 1.0) * log_aspect)
        h, w = int(np.sqrt(area * aspect) + 0.5), int(np.sqrt(area / aspect) + 0.5)
        fits = (h < height and w < width) if official else (h <= height and w <= width and h * w >= smallest)
        added = 0
        if fits:
            y, x = words.below(height - h + 1), words.below(width - w + 1)
            block = mask[y : y + h, x : x + w]
            added = int((block == 0).sum())
            if added <= left:
                block[:] = 1
            else:
                added = 0
        if added:
            least, refused = min_area, 0
            continue
        refused += 1
        if refused == attempts:
            if official:
                break
            least, refused = max(1, min(least, left) // 2), 0
    return mask
