"""The demo's picture: arrays in, a Pillow image out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .demo_data import Mix, Samples

TILE = 168  # pixels, 12 for each token of a 14 x 14 grid
MARGIN, GAP, GROUP_GAP = 48, 12, 34
TOP, CAPTION, ROW_GAP, BOTTOM = 150, 70, 18, 66
CORNER = 7
PAPER, INK, QUIET, TRACK = "#fbfaf7", "#26262e", "#85838c", "#e9e6df"
OWN, PARTNER = "#f0a25a", "#3f86b5"
OWN_TINT = "#fbe3cb"
COLUMNS = ("sample", "partner", "MixUp", "CutMix mask", "CutMix", "TokenMix mask", "TokenMix")
GROUPS = (0, 0, 1, 2, 2, 3, 3)  # columns of a group stand close together


def picture(samples: Samples, rows: Sequence[int], subtitle: str) -> Image.Image:
    """One row for each of the batch's samples in `rows`: itself, its partner, and each mix with its mask and target."""
    width = tile_box(0, len(COLUMNS) - 1)[2] + MARGIN
    height = tile_box(len(rows) - 1, 0)[3] + CAPTION + BOTTOM
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, 38), "MixUp, CutMix and TokenMix in one DALI pipeline", INK, _font(30), "ls", stroke_width=0.4)
    draw.text((MARGIN, 66), subtitle, QUIET, _font(16), "ls")
    for column, name in enumerate(COLUMNS):
        x0, y0, _, _ = tile_box(0, column)
        draw.text((x0, y0 - 14), name, QUIET if name.endswith("mask") else INK, _font(17), "ls")
    for row, sample in enumerate(rows):
        _draw_row(image, row, samples, sample)
    _draw_legend(draw, height - 40)
    return image


def tile_box(row: int, column: int) -> tuple[int, int, int, int]:
    """Half-open x0, y0, x1, y1 of a tile."""
    x0 = MARGIN + column * (TILE + GAP) + GROUPS[column] * (GROUP_GAP - GAP)
    y0 = TOP + row * (TILE + CAPTION + ROW_GAP)
    return x0, y0, x0 + TILE, y0 + TILE


def _draw_row(image: Image.Image, row: int, samples: Samples, sample: int) -> None:
    mixup, cutmix, tokenmix = samples.mixes
    partner = int(mixup.partner[sample])
    own_class, other_class = int(samples.labels[sample]), int(samples.labels[partner])
    draw = ImageDraw.Draw(image)
    for column, (shown, colour) in enumerate(((sample, OWN), (partner, PARTNER))):
        _paste(image, row, column, samples.images[shown])
        x0, _, x1, y1 = tile_box(row, column)
        draw.ellipse((x0 + 1, y1 + 14, x0 + 11, y1 + 24), colour)
        _text(draw, (x0 + 20, y1 + 25), samples.classes[samples.labels[shown]], x1 - x0 - 20)
    for column, mix in ((2, mixup), (4, cutmix), (6, tokenmix)):
        _paste(image, row, column, mix.images[sample])
        _draw_target(draw, row, column, samples.classes, mix.targets[sample], own_class, other_class)
    for column, mix in ((3, cutmix), (5, tokenmix)):
        size = samples.images.shape[1:3]
        _paste(image, row, column, mask_tile(mix, sample, size))
        x0, _, _, y1 = tile_box(row, column)
        shown = mix.mask[sample]
        counted = f"{shown.sum()} of {shown.size} tokens" if mix.patch > 1 else f"{100 * shown.mean():.0f} % of the pixels"
        draw.text((x0, y1 + 25), counted, QUIET, _font(15), "ls")


def mask_tile(mix: Mix, sample: int, image_size: tuple[int, int]) -> np.ndarray:
    """(TILE, TILE, 3) uint8: the partner's colour where the partner shows, and fine lines between tokens."""
    y, x = (((np.arange(TILE) + 0.5) * side / TILE).astype(int) // mix.patch for side in image_size)
    shown = mix.mask[sample][y[:, None], x].astype(bool)
    colours = np.where(shown[..., None], _rgb(PARTNER), _rgb(OWN_TINT))
    if mix.patch > 1:
        line = np.zeros((TILE, TILE), bool)
        line[1:] |= (y[1:] != y[:-1])[:, None]
        line[:, 1:] |= x[1:] != x[:-1]
        colours = np.where(line[..., None], (3 * colours + _rgb(PAPER)) // 4, colours)
    return colours.astype(np.uint8)


def _draw_target(
    draw: ImageDraw.ImageDraw, row: int, column: int, classes: Sequence[str], target: np.ndarray, own: int, other: int
) -> None:
    """The target's classes with their weights, each with a bar; the sample's own class first."""
    x0, _, x1, y1 = tile_box(row, column)
    for line, label in enumerate(dict.fromkeys((own, other))):
        y, weight = y1 + 25 + 31 * line, float(target[label])
        _text(draw, (x0, y), classes[label], TILE - 48)
        draw.text((x1, y), f"{weight:.2f}", INK, _font(15), "rs")
        bar = (x0, y + 7, x1 - 1, y + 11)
        draw.rounded_rectangle(bar, 2, TRACK)
        if weight > 0:
            filled = (x0, y + 7, x0 + max(3, round(TILE * weight)) - 1, y + 11)
            draw.rounded_rectangle(filled, 2, OWN if label == own else PARTNER)


def _draw_legend(draw: ImageDraw.ImageDraw, y: int) -> None:
    x = MARGIN
    for colour, text in ((OWN, "the sample and its class"), (PARTNER, "the partner and its class")):
        draw.ellipse((x, y, x + 10, y + 10), colour)
        draw.text((x + 18, y + 11), text, QUIET, _font(15), "ls")
        x += 18 + int(draw.textlength(text, _font(15))) + 30
    draw.text((x, y + 11), "Bars: the soft target, counted from what is pasted. No label smoothing.", QUIET, _font(15), "ls")


def _paste(image: Image.Image, row: int, column: int, pixels: np.ndarray) -> None:
    """Pastes (H, W, 3) uint8 as a tile with round corners."""
    tile = Image.fromarray(pixels)
    if tile.size != (TILE, TILE):
        tile = tile.resize((TILE, TILE), Image.Resampling.LANCZOS)
    corners = Image.new("L", (4 * TILE, 4 * TILE))
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, 4 * TILE - 1, 4 * TILE - 1), 4 * CORNER, 255)
    image.paste(tile, tile_box(row, column)[:2], corners.resize((TILE, TILE), Image.Resampling.BOX))


def _text(draw: ImageDraw.ImageDraw, position: tuple[int, int], text: str, width: int) -> None:
    """Writes text, cut off with an ellipsis where it is wider than width."""
    font = _font(15)
    if draw.textlength(text, font) > width:
        while text and draw.textlength(text + "…", font) > width:
            text = text[:-1]
        text += "…"
    draw.text(position, text, INK, font, "ls")


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _rgb(colour: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8).astype(int)
