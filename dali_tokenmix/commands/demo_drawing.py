"""What the panels of the demo's picture are drawn with: tiles, letters, dots and bars on a Pillow image."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE = 168  # pixels, 12 for each token of a 14 x 14 grid
MARGIN, GAP, GROUP_GAP = 48, 12, 34
WIDTH = 2 * MARGIN + 7 * TILE + 3 * GAP + 3 * GROUP_GAP  # of a panel: seven columns in four groups
CORNER, DOT = 7, 11
FINE = 4  # round things and letters are drawn larger by this much
PAPER, INK, QUIET, TRACK = "#fbfaf7", "#26262e", "#85838c", "#e9e6df"
OWN, PARTNER = "#f0a25a", "#3f86b5"
OWN_TINT = "#fbe3cb"
OWN_PALE, PARTNER_PALE = "#f8d0aa", "#a9c9de"


def blank(height: int, title: str, subtitle: str) -> Image.Image:
    """An empty panel with its headings."""
    panel = Image.new("RGB", (WIDTH, height), PAPER)
    write(panel, (MARGIN, 62), title, size=30)
    write(panel, (MARGIN, 92), subtitle, size=16, colour=QUIET)
    return panel


def left_of(column: int, groups: tuple[int, ...]) -> int:
    """x0 of a column of tiles; columns of a group stand close together."""
    return MARGIN + column * (TILE + GAP) + groups[column] * (GROUP_GAP - GAP)


def paste(image: Image.Image, position: tuple[int, int], pixels: np.ndarray, side: int = TILE) -> None:
    """Pastes (H, W, 3) uint8 as a tile with round corners."""
    tile = Image.fromarray(pixels)
    if tile.size != (side, side):
        tile = tile.resize((side, side), Image.Resampling.LANCZOS)
    corners = Image.new("L", (FINE * side, FINE * side))
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, FINE * side - 1, FINE * side - 1), FINE * CORNER, 255)
    image.paste(tile, position, corners.reduce(FINE))


def dot(image: Image.Image, position: tuple[int, int], colour: str) -> None:
    disc = Image.new("L", (FINE * DOT, FINE * DOT))
    ImageDraw.Draw(disc).ellipse((0, 0, FINE * DOT - 1, FINE * DOT - 1), 255)
    image.paste(colour, position, disc.reduce(FINE))


def write(
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


def named(image: Image.Image, position: tuple[int, int], name: str, colour: str) -> None:
    """A class beside a dot of its colour, as wide as a tile."""
    x, y = position
    dot(image, (x + 1, y - 11), colour)
    write(image, (x + 18, y), name, room=TILE - 18)


def weight(image: Image.Image, position: tuple[int, int], name: str, value: float, colour: str, ink: str = INK) -> None:
    """A weight in [0, 1]: its name, its number, and below them a bar as long as the weight."""
    x, y = position
    write(image, (x, y), name, colour=ink, room=TILE - 48)
    write(image, (x + TILE, y), f"{value:.2f}", anchor="rs")
    draw = ImageDraw.Draw(image)
    for length, fill in ((TILE, TRACK), (round(TILE * min(value, 1.0)), colour)):
        if length:
            draw.rounded_rectangle((x, y + 7, x + length - 1, y + 11), 2, fill)


def rgb(colour: str) -> np.ndarray:
    """(3,) of a colour written #rrggbb."""
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8).astype(int)
