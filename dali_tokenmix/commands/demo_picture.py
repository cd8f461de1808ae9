"""The demo's picture, first panel: what MixUp, CutMix and TokenMix make of a batch. Arrays in, a Pillow image out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from .demo_data import Mix, Samples
from .demo_drawing import (
    INK,
    MARGIN,
    OWN,
    OWN_TINT,
    PAPER,
    PARTNER,
    QUIET,
    TILE,
    blank,
    dot,
    left_of,
    named,
    paste,
    rgb,
    weight,
    write,
)

TOP, CAPTION, ROW_GAP, BOTTOM = 158, 70, 18, 72
COLUMNS = ("sample", "partner", "MixUp", "CutMix mask", "CutMix", "TokenMix mask", "TokenMix")
GROUPS = (0, 0, 1, 2, 2, 3, 3)


def picture(samples: Samples, rows: Sequence[int], subtitle: str) -> Image.Image:
    """An RGB image with a row for each sample in `rows`: itself, its partner, mixes, masks and targets."""
    height = tile_box(len(rows) - 1, 0)[3] + CAPTION + BOTTOM
    image = blank(height, "MixUp, CutMix and TokenMix in one DALI pipeline", subtitle)
    for column, name in enumerate(COLUMNS):
        x0, y0, _, _ = tile_box(0, column)
        write(image, (x0, y0 - 13), name, size=17, colour=QUIET if name.endswith("mask") else INK)
    for row, sample in enumerate(rows):
        _draw_row(image, row, samples, sample)
    _draw_legend(image, height - 42)
    return image


def stacked(panels: Sequence[Image.Image]) -> Image.Image:
    """Panels of one width below each other."""
    image = Image.new("RGB", (panels[0].width, sum(panel.height for panel in panels)), PAPER)
    y = 0
    for panel in panels:
        image.paste(panel, (0, y))
        y += panel.height
    return image


def tile_box(row: int, column: int) -> tuple[int, int, int, int]:
    """Half-open x0, y0, x1, y1 of a tile."""
    x0 = left_of(column, GROUPS)
    y0 = TOP + row * (TILE + CAPTION + ROW_GAP)
    return x0, y0, x0 + TILE, y0 + TILE


def mask_tile(mix: Mix, sample: int, image_size: tuple[int, int]) -> np.ndarray:
    """(TILE, TILE, 3) uint8: the partner's colour where the partner shows, with fine lines between tokens."""
    y, x = (tokens_along(side, mix.patch) for side in image_size)
    shown = mix.mask[sample][y[:, None], x].astype(bool)
    colours = np.where(shown[..., None], rgb(PARTNER), rgb(OWN_TINT))
    if mix.patch > 1:
        line = np.zeros((TILE, TILE), bool)
        line[1:] |= (y[1:] != y[:-1])[:, None]
        line[:, 1:] |= x[1:] != x[:-1]
        colours = np.where(line[..., None], (3 * colours + rgb(PAPER)) // 4, colours)
    return colours.astype(np.uint8)


def tokens_along(side: int, patch: int) -> np.ndarray:
    """(TILE,) the row or column of tokens that each pixel of a tile shows, of an image with that side."""
    return ((np.arange(TILE) + 0.5) * side / TILE).astype(int) // patch


def counted(mix: Mix, sample: int) -> str:
    """How much of a mask is the partner's, in words."""
    shown = mix.mask[sample]
    return f"{100 * shown.mean():.0f} % of the pixels" if mix.patch == 1 else f"{shown.sum()} of {shown.size} tokens"


def _draw_row(image: Image.Image, row: int, samples: Samples, sample: int) -> None:
    mixup, cutmix, tokenmix = samples.mixes
    partner = int(mixup.partner[sample])
    pair = [int(samples.labels[k]) for k in (sample, partner)]
    for column, (shown, colour) in enumerate(((sample, OWN), (partner, PARTNER))):
        x0, y0, _, y1 = tile_box(row, column)
        paste(image, (x0, y0), samples.images[shown])
        named(image, (x0, y1 + 25), samples.classes[pair[column]], colour)
    for column, mix in ((2, mixup), (4, cutmix), (6, tokenmix)):
        x0, y0, _, y1 = tile_box(row, column)
        paste(image, (x0, y0), mix.images[sample])
        for line, label in enumerate(dict.fromkeys(pair)):
            colour = OWN if label == pair[0] else PARTNER
            value = float(mix.targets[sample, label])
            weight(image, (x0, y1 + 25 + 31 * line), samples.classes[label], value, colour)
    for column, mix in ((3, cutmix), (5, tokenmix)):
        x0, y0, _, y1 = tile_box(row, column)
        paste(image, (x0, y0), mask_tile(mix, sample, samples.images.shape[1:3]))
        write(image, (x0, y1 + 25), counted(mix, sample), colour=QUIET)


def _draw_legend(image: Image.Image, y: int) -> None:
    x = MARGIN
    for colour, text in ((OWN, "the sample and its class"), (PARTNER, "the partner and its class")):
        dot(image, (x + 1, y), colour)
        x += 18 + write(image, (x + 18, y + 11), text, colour=QUIET) + 30
    write(image, (x, y + 11), "Bars are the soft targets, here without label smoothing", colour=QUIET)
