"""The pictures of semantics.md: python docs/pictures.py [--out docs]

Photographs are scikit-image's. The activation maps are drawn by hand, a bump where the object is, so that the pictures
need no teacher; masks, mixed images, crops and weights are the package's own.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from skimage import data

import dali_tokenmix as dtm

SIDE = 224
BLUE, ORANGE = "#0072B2", "#E69F00"
STRATEGIES = {
    'mask="block"\nthe paper, 98 of 196': dtm.TokenMix(mode="elem", partner="random"),
    'compat="official"\nreleased code, 112': dtm.TokenMix(compat="official", mode="elem"),
    'mask="random"': dtm.TokenMix(mask="random", mode="elem"),
    'mask="region"\na box of tokens': dtm.TokenMix(mask="region", mode="elem"),
    "CutMix(alpha=1)\na box of pixels": dtm.CutMix(mode="elem"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the pictures")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    save(masks(), out / "semantics-masks.png")
    save(pair(), out / "semantics-pair.png")
    save(crop(), out / "semantics-crop.png")


def masks(draws: int = 6) -> Figure:
    """A row a strategy; orange is where the partner shows."""
    made = Figure((8.2, 1.15 * len(STRATEGIES)), dpi=100, layout="constrained")
    axes = made.subplots(len(STRATEGIES), draws)
    for row, (name, mixer) in zip(axes, STRATEGIES.items(), strict=True):
        plan = dtm.draw(mixer, draws, SIDE, seed=3)
        for ax, mask, share in zip(row, plan.pixel_mask(), plan.other, strict=True):
            ax.imshow(np.where(mask[..., None] > 0, (230, 159, 0), (225, 232, 240)).astype(np.uint8))
            ax.set_xticks(np.arange(0, SIDE, 16) - 0.5, [])
            ax.set_yticks(np.arange(0, SIDE, 16) - 0.5, [])
            ax.grid(color="white", lw=0.5)
            ax.tick_params(length=0)
            ax.set_title(f"{100 * share:.0f} %", fontsize=7, pad=2)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return made


def pair() -> Figure:
    """Two samples, what comes of them, and the weights of both supervisions."""
    photos = np.stack([square(data.astronaut()), square(data.chelsea())])
    maps = np.stack([bump((5, 6), 2.0), bump((5, 7), 2.6)])
    plan = dtm.draw(dtm.TokenMix(), 2, SIDE, seed=4)
    mixed = dtm.apply(plan, photos.copy())
    made = Figure((8.2, 4.0), dpi=100, layout="constrained")
    axes = made.subplots(2, 5, width_ratios=[1, 1, 1, 1, 1.4])
    for a, row in enumerate(axes):
        b = int(plan.partner[a])
        show(row[0], photos[a], f"sample {'ab'[a]}, class {a}")
        show(row[1], photos[a], "its map A (by hand)", heat=maps[a])
        row[2].imshow(plan.mask()[a], cmap="gray_r", vmin=0, vmax=1.6)
        bare(row[2], "m: dark = the partner")
        show(row[3], mixed[a], "mixed")
        weights = {"imagenet": plan, "tokenmix": dtm.scored(plan, maps)}
        for y, known in enumerate(weights.values()):
            row[4].barh(y, known.own[a], color=BLUE)
            row[4].barh(y, known.other[a], left=known.own[a], color=ORANGE)
            total = known.own[a] + known.other[a]
            row[4].text(0.02, y, f"{known.own[a]:.2f}", color="white", va="center", fontsize=8)
            row[4].text(float(total) - 0.02, y, f"{known.other[a]:.2f}", va="center", ha="right", fontsize=8)
        row[4].set_yticks([0, 1], list(weights), fontsize=8)
        row[4].set_xlim(0, 1.3)
        row[4].set_ylim(1.6, -0.6)
        row[4].tick_params(axis="x", labelsize=7)
        row[4].set_title(f"own (class {a}), other (class {b})", fontsize=8)
    return made


def crop() -> Figure:
    """A stored map follows crop and flip; the released code's follows another crop."""
    photo, box, full = data.astronaut(), (0.0, 0.25, 0.45, 0.95), bump((3, 6), 1.6, side=14)
    height, width = photo.shape[:2]
    y0, x0, y1, x1 = (round(part * side) for part, side in zip(box, (height, width) * 2, strict=True))
    cut = square(photo[y0:y1, x0:x1])[:, ::-1]
    made = Figure((8.2, 2.5), dpi=100, layout="constrained")
    whole, right, official = made.subplots(1, 3)
    show(whole, photo, "whole image, its stored map, a crop box", heat=full)
    whole.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="white", lw=2))
    boxes, flips = np.array([box], np.float32), np.array([True])
    show(right, cut, "crop, mirrored; crop_maps(...)", heat=dtm.crop_maps(full[None], boxes, flips, (14, 14))[0])
    theirs = dtm.crop_maps(full[None], boxes, flips, (14, 14), compat="official")[0]
    show(official, cut, 'the same, compat="official": x, y swapped', heat=theirs)
    return made


def square(photo: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BILINEAR)).copy()


def bump(centre: tuple[float, float], width: float, side: int = 14) -> np.ndarray:
    """(side, side) float32, 1 in the centre (row, column)."""
    y, x = np.indices((side, side))
    return np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2)).astype(np.float32)


def show(ax: Any, photo: np.ndarray, title: str, heat: np.ndarray | None = None) -> None:
    height, width = photo.shape[:2]
    ax.imshow(photo)
    if heat is not None:
        ax.imshow(heat, extent=(-0.5, width - 0.5, height - 0.5, -0.5), cmap="inferno", alpha=0.55, vmin=0)
    bare(ax, title)


def bare(ax: Any, title: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, fontsize=8)


def save(made: Figure, path: Path) -> None:
    """With 128 colours, a third of the bytes."""
    drawn = io.BytesIO()
    made.savefig(drawn, format="png")
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main()
