"""The plot of methods.py: every method by a copy of the bytes that it must move."""

from __future__ import annotations

from matplotlib.figure import Figure

from .found import Found, by_case
from .style import BLUE, GREEN, SKY, bars, caption, figure

WAYS = {"mixing": "the pixels", "draw and mixing": "the draw and the pixels"}
COLOURS = {"the pixels": BLUE, "the draw and the pixels": SKY}
BOUND = 2


def methods(found: Found) -> Figure:
    """Times a copy, one thread against one."""
    series = {label: by_case(found.needed("methods", f"{way} by the copy")) for way, label in WAYS.items()}
    names, first = list(series["the pixels"]), next(iter(series["the pixels"].values()))
    made = figure(8, 1.4 + 0.42 * len(names), "Methods by a copy of the bytes that they must move, one thread")
    ax = made.subplots()
    most = 1.05 * max(BOUND, *(row["p80"] for row in series["the draw and the pixels"].values()))
    bars(ax, names, series, COLOURS, lambda row: f"{row['p50']:.2f}", most)
    ax.axvline(BOUND, color=GREEN, lw=1, ls="--", label="twice the copy's time")
    ax.set_xlabel("times the copy")
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    caption(made, first)
    return made
