"""A picture of a mixed batch with its targets, for the examples' --out."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dali_tokenmix.commands.demo_drawing import GAP, INK, MARGIN, OWN, PAPER, PARTNER, TILE, paste, weight, write

COLUMNS, BELOW = 6, 76  # tiles in a row; pixels under a tile for two weights
DESCRIBED = 40


def save_strip(path: str, title: str, images: np.ndarray, targets: np.ndarray, classes: list[str]) -> None:
    """The first samples, images (N, H, W, 3) uint8, each with the two classes that weigh most in targets (N, C)."""
    shown = min(len(images), 2 * COLUMNS)
    rows = -(-shown // COLUMNS)
    width = 2 * MARGIN + COLUMNS * TILE + (COLUMNS - 1) * GAP
    sheet = Image.new("RGB", (width, MARGIN + DESCRIBED + rows * (TILE + BELOW)), PAPER)
    write(sheet, (MARGIN, MARGIN), title, size=22)
    for n in range(shown):
        x = MARGIN + n % COLUMNS * (TILE + GAP)
        y = MARGIN + DESCRIBED - 16 + n // COLUMNS * (TILE + BELOW)
        paste(sheet, (x, y), images[n])
        first, second = np.argsort(targets[n], kind="stable")[::-1][:2]
        for below, (which, colour) in enumerate(((first, OWN), (second, PARTNER))):
            weight(sheet, (x, y + TILE + 20 + 28 * below), classes[which], float(targets[n, which]), colour, INK)
    sheet.save(path, format="PNG")


def as_uint8(images: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """Normalised (N, 3, H, W) images as they look: (N, H, W, 3) uint8."""
    pixels = images.astype(np.float32).transpose(0, 2, 3, 1) * std + mean
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
