"""The demo's picture: arrays in, a Pillow image out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .demo_data import Mix, Samples

TILE = 168  # pixels, 12 for each token of a 14 x 14 grid
MARGIN, GAP, GROUP_GAP = 48, 12, 34
TOP, CAPTION, ROW_GAP, BOTTOM = 158, 70, 18, 72
CORNER, DOT = 7, 11
FINE = 4  # round things and letters are drawn larger by this much
PAPER, INK, QUIET, TRACK = "#fbfaf7", "#26262e", "#85838c", "#e9e6df"
OWN, PARTNER = "#f0a25a", "#3f86b5"
OWN_TINT = "#fbe3cb"
COLUMNS = ("sample", "partner", "MixUp", "CutMix mask", "CutMix", "TokenMix mask", "TokenMix")
GROUPS = (0, 0, 1, 2, 2, 3, 3)  # columns of a group stand close together


def picture(samples: Samples, rows: Sequence[int], subtitle: str) -> Image.Image:
    """An RGB image with a row for each sample in `rows`: itself, its partner, mixes, masks and targets."""
    width = tile_box(0, len(COLUMNS) - 1)[2] + MARGIN
    height = tile_box(len(rows) - 1, 0)[3] + CAPTION + BOTTOM
    image = Image.new("RGB", (width, height), PAPER)
    _write(image, (MARGIN, 62), "MixUp, CutMix and TokenMix in one DALI pipeline", size=30)
    _write(image, (MARGIN, 92), subtitle, size=16, colour=QUIET)
    for column, name in enumerate(COLUMNS):
        x0, y0, _, _ = tile_box(0, column)
        _write(image, (x0, y0 - 13), name, size=17, colour=QUIET if name.endswith("mask") else INK)
    for row, sample in enumerate(rows):
        _draw_row(image, row, samples, sample)
    _draw_legend(image, height - 42)
    return image


def tile_box(row: int, column: int) -> tuple[int, int, int, int]:
    """Half-open x0, y0, x1, y1 of a tile."""
    x0 = MARGIN + column * (TILE + GAP) + GROUPS[column] * (GROUP_GAP - GAP)
    y0 = TOP + row * (TILE + CAPTION + ROW_GAP)
    return x0, y0, x0 + TILE, y0 + TILE


def mask_tile(mix: Mix, sample: int, image_size: tuple[int, int]) -> np.ndarray:
    """(TILE, TILE, 3) uint8: the partner's colour where the partner shows, with fine lines between tokens."""
    y, x = (((np.arange(TILE) + 0.5) * side / TILE).astype(int) // mix.patch for side in image_size)
    shown = mix.mask[sample][y[:, None], x].astype(bool)
    colours = np.where(shown[..., None], _rgb(PARTNER), _rgb(OWN_TINT))
    if mix.patch > 1:
        line = np.zeros((TILE, TILE), bool)
        line[1:] |= (y[1:] != y[:-1])[:, None]
        line[:, 1:] |= x[1:] != x[:-1]
        colours = np.where(line[..., None], (3 * colours + _rgb(PAPER)) // 4, colours)
    return colours.astype(np.uint8)


def _draw_row(image: Image.Image, row: int, samples: Samples, sample: int) -> None:
    mixup, cutmix, tokenmix = samples.mixes
    partner = int(mixup.partner[sample])
    pair = [int(samples.labels[k]) for k in (sample, partner)]
    for column, (shown, colour) in enumerate(((sample, OWN), (partner, PARTNER))):
        _paste(image, row, column, samples.images[shown])
        x0, _, _, y1 = tile_box(row, column)
        _dot(image, (x0 + 1, y1 + 14), colour)
        _write(image, (x0 + 18, y1 + 25), samples.classes[pair[column]], room=TILE - 18)
    for column, mix in ((2, mixup), (4, cutmix), (6, tokenmix)):
        _paste(image, row, column, mix.images[sample])
        for line, label in enumerate(dict.fromkeys(pair)):
            colour = OWN if label == pair[0] else PARTNER
            _draw_weight(image, row, column, line, samples.classes[label], float(mix.targets[sample, label]), colour)
    for column, mix in ((3, cutmix), (5, tokenmix)):
        _paste(image, row, column, mask_tile(mix, sample, samples.images.shape[1:3]))
        x0, _, _, y1 = tile_box(row, column)
        shown = mix.mask[sample]
        counted = f"{shown.sum()} of {shown.size} tokens"
        if mix.patch == 1:
            counted = f"{100 * shown.mean():.0f} % of the pixels"
        _write(image, (x0, y1 + 25), counted, colour=QUIET)


def _draw_weight(image: Image.Image, row: int, column: int, line: int, name: str, weight: float, colour: str) -> None:
    """One class of a target: its name, its weight in [0, 1], and a bar as long as the weight."""
    x0, _, x1, y1 = tile_box(row, column)
    y = y1 + 25 + 31 * line
    _write(image, (x0, y), name, room=TILE - 48)
    _write(image, (x1, y), f"{weight:.2f}", anchor="rs")
    draw = ImageDraw.Draw(image)
    for length, fill in ((TILE, TRACK), (round(TILE * weight), colour)):
        if length:
            draw.rounded_rectangle((x0, y + 7, x0 + length - 1, y + 11), 2, fill)


def _draw_legend(image: Image.Image, y: int) -> None:
    x = MARGIN
    for colour, text in ((OWN, "the sample and its class"), (PARTNER, "the partner and its class")):
        _dot(image, (x + 1, y), colour)
        x += 18 + _write(image, (x + 18, y + 11), text, colour=QUIET) + 30
    _write(image, (x, y + 11), "Bars are the soft targets, here without label smoothing", colour=QUIET)


def _paste(image: Image.Image, row: int, column: int, pixels: np.ndarray) -> None:
    """Pastes (H, W, 3) uint8 as a tile with round corners."""
    tile = Image.fromarray(pixels)
    if tile.size != (TILE, TILE):
        tile = tile.resize((TILE, TILE), Image.Resampling.LANCZOS)
    corners = Image.new("L", (FINE * TILE, FINE * TILE))
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, FINE * TILE - 1, FINE * TILE - 1), FINE * CORNER, 255)
    image.paste(tile, tile_box(row, column)[:2], corners.reduce(FINE))


def _dot(image: Image.Image, position: tuple[int, int], colour: str) -> None:
    dot = Image.new("L", (FINE * DOT, FINE * DOT))
    ImageDraw.Draw(dot).ellipse((0, 0, FINE * DOT - 1, FINE * DOT - 1), 255)
    image.paste(colour, position, dot.reduce(FINE))


def _write(
    image: Image.Image,
    position: tuple[int, int],
    text: str,
    *,
    size: int = 15,
    colour: str = INK,
    anchor: str = "ls",
    room: int | None = None,
) -> int:
    """Writes text on a baseline and returns its width in pixels; cut off with an ellipsis where it is wider than room.

    Drawn larger and reduced: hinting at this size would space the letters unevenly.
    """
    font = ImageFont.load_default(FINE * size)
    shown = text
    while room and len(shown) > 1 and font.getlength(shown) > FINE * room:
        text = text[:-1]
        shown = text.rstrip() + "…"
    width = -(-int(font.getlength(shown)) // FINE) + 2
    letters = Image.new("L", (FINE * width, FINE * 2 * size))
    ImageDraw.Draw(letters).text((0, FINE * size), shown, 255, font, "ls")
    x, y = position
    image.paste(colour, (x if anchor == "ls" else x - width + 2, y - size), letters.reduce(FINE))
    return width


def _rgb(colour: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8).astype(int)
