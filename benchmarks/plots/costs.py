"""Plots of overhead.py and labels.py: what mixing and its labels cost, ours beside the usual way."""

from __future__ import annotations

from matplotlib.figure import Figure

from .found import Found, Row, by_case
from .style import BLUE, GREY, ORANGE, bars, caption, figure

OURS, USUAL = "ours", "the usual way"
COLOURS = {OURS: BLUE, USUAL: ORANGE, "the teacher's features alone": GREY}


def overhead(found: Found) -> Figure:
    """Shares of a step; where there was no step, milliseconds."""
    steps = found.of("overhead", "step")
    metric = "share of a step" if steps else "mixing"
    series = {
        label: by_case(found.needed("overhead", f"{metric}, {way}"))
        for label, way in ((OURS, "ours"), (USUAL, "usual"))
    }
    names, first = list(series[OURS]), next(iter(series[OURS].values()))
    unit = "ms a batch"
    if steps:
        unit = f"% of a step of {steps[-1]['case']}, which takes {steps[-1]['p50']:.0f} ms"
    made = figure(8, 1.4 + 0.48 * len(names), "What mixing and its labels cost, ours and the usual way")
    ax = made.subplots()
    ax.set_xscale("log")
    bars(ax, names, series, COLOURS, number)
    ax.set_xlabel(unit)
    ax.legend(fontsize=8, frameon=False, loc="upper right")
    caption(made, first)
    return made


def labels(found: Found) -> Figure:
    """From maps, or with a teacher online from clean images, to dense targets."""
    ours, dense = (by_case(found.needed("labels", f"time, {way}")) for way in ("ours", "dense"))
    series = {OURS: ours, USUAL: dense}
    if features := by_case(found.of("labels", "time, features")):
        series["the teacher's features alone"] = features
    first = next(iter(ours.values()))
    made = figure(8, 1.5 + 0.55 * len(ours), "Labels from a teacher's maps: ours, and all classes dense in torch")
    ax = made.subplots()
    ax.set_xscale("log")
    bars(ax, list(ours), series, COLOURS, number)
    ax.set_xlabel("ms a batch")
    ax.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(series))
    caption(made, first)
    return made


def number(row: Row) -> str:
    return f"{row['p50']:.3g}"
