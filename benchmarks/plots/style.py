"""What all plots share: colours that the colour-blind can tell apart, bars with their spread, the origin below."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from .found import Row

# Okabe and Ito's palette
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"),
    "#8A8A8A",
)
DPI = 110
BAR = 0.8  # of the room a group of bars has
SMALL = 7.5  # points
COLOURS = 128  # of a picture


def figure(width: float, height: float, title: str) -> Figure:
    """Inches."""
    made = Figure((width, height), dpi=DPI, layout="constrained")
    made.suptitle(title, fontsize=11, x=0.01, ha="left")
    return made


def bars(
    ax: Axes,
    names: list[str],
    series: dict[str, dict[str, Row]],
    colours: dict[str, str] | Callable[[str], str],
    text: Callable[[Row], str],
    most: float | None = None,
) -> None:
    """Lying bars, a group a name, from the top; medians with p20..p80, and what `text` says of each.

    series: {label: {name: row}}. colours: by label; or, of a single series, by name. most: where the axis has to reach;
    what is longer is cut off. None: to the longest.
    """
    thick = BAR / len(series)
    most = most or max(row["p80"] for rows in series.values() for row in rows.values())
    for k, (label, rows) in enumerate(series.items()):
        for place, name in enumerate(names):
            if name not in rows:
                continue
            row, y = rows[name], place - BAR / 2 + (k + 0.5) * thick
            colour = colours(name) if callable(colours) else colours[label]
            off = [[row["p50"] - row["p20"]], [row["p80"] - row["p50"]]]
            ax.barh(y, row["p50"], 0.9 * thick, color=colour, xerr=off, ecolor="#222222", error_kw={"lw": 1})
            whole = row["p50"] <= most
            at, offset, ink, side = (
                (min(row["p80"], most), 4, "black", "left") if whole else (most, 0, "white", "right")
            )
            style = {"va": "center", "ha": side, "color": ink, "fontsize": SMALL}
            ax.annotate(text(row), (at, y), (offset, 0), textcoords="offset points", **style)
        if not callable(colours):
            ax.barh([0], [0], color=colours[label], label=label)
    ax.set_yticks(range(len(names)), names, fontsize=8.5)
    ax.set_ylim(len(names) - 0.4, -0.6)
    if ax.get_xscale() == "log":
        least = min(row["p20"] for rows in series.values() for row in rows.values())
        ax.set_xlim(0.5 * least, 4 * most)  # room for the text
        ax.xaxis.set_major_formatter("{x:g}")
    else:
        ax.set_xlim(0, 1.15 * most)
    bare(ax)
    ax.grid(axis="x", alpha=0.3)


def curve(ax: Axes, rows: list[Row], along: str, label: str, colour: str) -> None:
    """Medians over a setting, with p20..p80 as a band."""
    rows = sorted(rows, key=lambda row: float(row["at"][along]))
    x = [float(row["at"][along]) for row in rows]
    ax.plot(x, [row["p50"] for row in rows], marker="o", ms=3.5, lw=1.5, color=colour, label=label)
    ax.fill_between(x, [row["p20"] for row in rows], [row["p80"] for row in rows], color=colour, alpha=0.15, lw=0)
    ax.set_xscale("log", base=2)
    ax.set_xticks(x, [f"{value:g}" for value in x])
    ax.minorticks_off()


def bare(ax: Axes) -> None:
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def caption(made: Figure, row: Row, setting: str = "") -> None:
    """Setting (the row's unless it is told), command, machine, commit and day, below."""
    origin = f"{setting or row['setting']}; {row['command']}\n{row['machine']}; commit {row['commit']}; {row['date']}. "
    origin += "Medians with p20 to p80."
    made.supxlabel(origin, fontsize=6.5, color="#555555", x=0.01, ha="left")


def save(made: Figure, path: Path) -> None:
    """As a picture of COLOURS colours, which takes a third of the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    made.savefig(drawn, format="png")
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)
