"""The demo's second picture: a cell a method, the same photographs in each. Arrays in, a Pillow image out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from .demo_drawing import INK, MARGIN, OWN, PAPER, PARTNER, QUIET, WIDTH, dot, paste, rgb, write
from .demo_methods import PHOTOGRAPHS, Shown

COLOURS = (OWN, PARTNER, "#6fa86c", "#9b72b0")  # of the photographs
ERASED = "#5d5b64"
CELLS, GAP, CELL_GAP = 3, 8, 36  # cells in a row; pixels
TILE = (WIDTH - 2 * MARGIN - (CELLS - 1) * CELL_GAP - CELLS * (PHOTOGRAPHS - 1) * GAP) // (CELLS * PHOTOGRAPHS)
MAP = 48  # pixels of a side of the small maps
HEAD, ROW, TOP, BOTTOM = 46, 46 + 104 + 6 + 48 + 30, 128, 66
LEAST = 0.005  # a weight that is written


def gallery(photographs: np.ndarray, names: Sequence[str], shown: Sequence[Shown], subtitle: str) -> Image.Image:
    """An RGB image: (n, H, W, 3) uint8 photographs with their classes, then what each method makes of them."""
    height = TOP + ROW * -(-(len(shown) + 1) // CELLS) + BOTTOM
    image = Image.new("RGB", (WIDTH, height), PAPER)
    write(image, (MARGIN, 62), "Every method on the same photographs", size=30)
    write(image, (MARGIN, 92), subtitle, size=16, colour=QUIET)
    _draw_photographs(image, photographs, names)
    for number, method in enumerate(shown, start=1):
        _draw_method(image, number, method)
    _draw_legend(image, height - 36)
    return image


def tile_box(cell: int, sample: int) -> tuple[int, int, int, int]:
    """Half-open x0, y0, x1, y1 of a tile."""
    row, column = divmod(cell, CELLS)
    x0 = MARGIN + column * (PHOTOGRAPHS * (TILE + GAP) - GAP + CELL_GAP) + sample * (TILE + GAP)
    y0 = TOP + row * ROW + HEAD
    return x0, y0, x0 + TILE, y0 + TILE


def map_tile(shares: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8: whose pixels (n, h, w) shares are, in their colours, mixed where they are blended."""
    colours = np.array([rgb(colour) for colour in COLOURS[: len(shares)]])
    erased = np.clip(1 - shares.sum(0), 0, 1)[..., None] * rgb(ERASED)
    mixed: np.ndarray = np.rint(np.moveaxis(shares, 0, -1) @ colours + erased).astype(np.uint8)
    return mixed


def _draw_photographs(image: Image.Image, photographs: np.ndarray, names: Sequence[str]) -> None:
    x0, y0, _, y1 = tile_box(0, 0)
    write(image, (x0, y0 - 24), "photographs", size=17)
    for sample, name in enumerate(names):
        x0, _, _, _ = tile_box(0, sample)
        paste(image, (x0, y0), photographs[sample], TILE)
        dot(image, (x0 + 1, y1 + 10), COLOURS[sample])
        write(image, (x0 + 16, y1 + 21), name, size=13, room=TILE - 16)


def _draw_method(image: Image.Image, number: int, method: Shown) -> None:
    x0, y0, _, y1 = tile_box(number, 0)
    write(image, (x0, y0 - 24), method.name, size=17)
    write(image, (x0, y0 - 8), method.paper, size=12, colour=QUIET)
    for sample in range(len(method.images)):
        x0, _, _, _ = tile_box(number, sample)
        paste(image, (x0, y0), method.images[sample], TILE)
        small = Image.fromarray(map_tile(method.shares[sample])).resize((MAP, MAP), Image.Resampling.BOX)
        image.paste(small, (x0, y1 + 6))
        _draw_target(image, (x0 + MAP + 6, y1 + 6), method.targets[sample])


def _draw_target(image: Image.Image, position: tuple[int, int], target: np.ndarray) -> None:
    """The weights of a target, the largest first."""
    x, y = position
    for line, label in enumerate([k for k in np.argsort(-target, kind="stable") if target[k] >= LEAST]):
        image.paste(COLOURS[label], (x, y + 12 * line + 2, x + 8, y + 12 * line + 10))
        write(image, (x + 12, y + 12 * line + 10), f"{target[label]:.2f}", size=11, colour=INK)


def _draw_legend(image: Image.Image, y: int) -> None:
    x = MARGIN
    text = "Small maps: whose pixels show, in the photographs' colours. Numbers: the soft targets, without smoothing"
    x += write(image, (x, y + 11), text, colour=QUIET) + 24
    dot(image, (x, y), ERASED)
    write(image, (x + 17, y + 11), "erased", colour=QUIET)
