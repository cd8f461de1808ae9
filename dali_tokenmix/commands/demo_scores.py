"""The demo's picture, second panel: targets by area beside targets by content. Arrays in, a Pillow image out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from .demo_drawing import (
    INK,
    MARGIN,
    OWN,
    OWN_PALE,
    PAPER,
    PARTNER,
    PARTNER_PALE,
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
from .demo_picture import counted, mask_tile, tokens_along
from .demo_teacher import LOOKED_AT, Scores

TOP, CAPTION, ROW_GAP, BOTTOM = 158, 36, 22, 72
MAP, STAND_IN = "activation map", "stand-in map"
COLUMNS = ("sample", MAP, "partner", MAP, "TokenMix mask", "TokenMix", "its two targets")
GROUPS = (0, 0, 1, 1, 2, 2, 3)
MASK, MIXED, TARGET = 4, 5, 6
LINE = 31  # from one weight to the next


def scores_panel(scores: Scores, rows: Sequence[int]) -> Image.Image:
    """An RGB image with a row for each sample in `rows`: itself, its partner, their maps, the mix and two targets."""
    height = tile_box(len(rows) - 1, 0)[3] + CAPTION + BOTTOM
    image = blank(height, *headings(scores))
    for column, name in enumerate(COLUMNS):
        x0, y0, _, _ = tile_box(0, column)
        quiet = name == MAP or name.endswith("mask")
        shown = STAND_IN if name == MAP and scores.known is None else name
        write(image, (x0, y0 - 13), shown, size=17, colour=QUIET if quiet else INK)
    for row, sample in enumerate(rows):
        _draw_row(image, row, scores, sample)
    _draw_legend(image, height - 42)
    return image


def headings(scores: Scores) -> tuple[str, str]:
    """Title and subtitle of the panel: what gave the maps."""
    h, w = scores.maps.shape[1:]
    if scores.known is None:
        return "Labels scored by stand-in maps, no teacher", f"Maps of {h} x {w}: the contrast in the picture"
    which = "that was given for it" if scores.given else f"that is likeliest in up to {LOOKED_AT} of its images"
    title = "Labels scored by a teacher"
    return title, f"{scores.teacher}, maps of {h} x {w}. Each folder stands for the teacher's class {which}"


def tile_box(row: int, column: int) -> tuple[int, int, int, int]:
    """Half-open x0, y0, x1, y1 of a tile of the panel."""
    x0, y0 = left_of(column, GROUPS), TOP + row * (TILE + CAPTION + ROW_GAP)
    return x0, y0, x0 + TILE, y0 + TILE


def heat_tile(image: np.ndarray, cells: np.ndarray, colour: str, covered: np.ndarray) -> np.ndarray:
    """(TILE, TILE, 3) uint8: an image in dark grey, with a map laid over it in colour and a mask's edge in white.

    Args:
        image: (H, W, 3) uint8.
        cells: (h, w) float32 >= 0; the largest has the full colour.
        covered: (TILE, TILE), the mask, 1 where the partner shows.
    """
    size = (TILE, TILE)
    grey = np.asarray(Image.fromarray(image).convert("L").resize(size, Image.Resampling.LANCZOS))[..., None] / 255
    peak = max(float(cells.max()), 1e-9)
    strength = np.asarray(Image.fromarray(cells / peak).resize(size, Image.Resampling.BICUBIC))[..., None].clip(0, 1)
    lit = 1 - (1 - grey / 2) * (1 - rgb(colour) / 255)
    made = 255 * (0.55 * grey * (1 - strength) + lit * strength)
    mask = Image.fromarray(covered.astype(np.uint8))
    edge = np.asarray(mask.filter(ImageFilter.MaxFilter(3))) != np.asarray(mask.filter(ImageFilter.MinFilter(3)))
    return np.where(edge[..., None], rgb(PAPER), made).clip(0, 255).astype(np.uint8)


def _draw_row(image: Image.Image, row: int, scores: Scores, sample: int) -> None:
    partner = int(scores.mix.partner[sample])
    y, x = (tokens_along(side, scores.mix.patch) for side in scores.images.shape[1:3])
    covered = scores.mix.mask[sample][y[:, None], x]
    for column, shown, colour in ((0, sample, OWN), (2, partner, PARTNER)):
        label = int(scores.labels[shown])
        x0, y0, _, y1 = tile_box(row, column)
        paste(image, (x0, y0), scores.images[shown])
        named(image, (x0, y1 + 25), scores.classes[label], colour)
        x0, y0, _, y1 = tile_box(row, column + 1)
        paste(image, (x0, y0), heat_tile(scores.images[shown], scores.maps[shown], colour, covered))
        caption = "contrast, no teacher" if scores.known is None else f"teacher's class {scores.known[label]}"
        write(image, (x0, y1 + 25), caption, colour=QUIET)
    x0, y0, _, y1 = tile_box(row, MASK)
    paste(image, (x0, y0), mask_tile(scores.mix, sample, scores.images.shape[1:3]))
    write(image, (x0, y1 + 25), counted(scores.mix, sample), colour=QUIET)
    paste(image, tile_box(row, MIXED)[:2], scores.mix.images[sample])
    _draw_target(image, row, scores, sample, partner)


def _draw_target(image: Image.Image, row: int, scores: Scores, sample: int, partner: int) -> None:
    """For each of the two classes its weight by area, in a pale, and below it its weight by content."""
    x0, y, _, _ = tile_box(row, TARGET)
    y += 12
    pair = (int(scores.labels[sample]), int(scores.labels[partner]))
    for label, colour, pale in zip(pair, (OWN, PARTNER), (OWN_PALE, PARTNER_PALE), strict=True):
        if colour == PARTNER and label == pair[0]:
            break  # one class: its target is one number
        named(image, (x0, y), scores.classes[label], colour)
        weight(image, (x0, y + 28), "by area", float(scores.by_area[sample, label]), pale, ink=QUIET)
        weight(image, (x0, y + 28 + LINE), "by content", float(scores.mix.targets[sample, label]), colour)
        y += 28 + 2 * LINE + 14


def _draw_legend(image: Image.Image, y: int) -> None:
    x = MARGIN
    for colours, text in (
        ((OWN_PALE, PARTNER_PALE), "by area: the share of the pixels"),
        ((OWN, PARTNER), "by content: the share of a class's own map that shows"),
    ):
        for colour in colours:
            dot(image, (x + 1, y), colour)
            x += 14
        x += 4 + write(image, (x + 4, y + 11), text, colour=QUIET) + 30
    write(image, (x, y + 11), "White lines are the edge of the mask", colour=QUIET)
