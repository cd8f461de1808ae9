"""Plots of kernels.py: kernels by a copy, by NumPy and torch, whole mixing, and how kernels scale."""

from __future__ import annotations

from matplotlib.figure import Figure

from .found import Found, Missing, Row, by_case
from .style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, bare, bars, caption, curve, figure

WAYS = {"one thread": SKY, "all threads": BLUE, "kernel": BLUE}
FORMS = {"NumPy": ORANGE, "torch": PURPLE}
CURVES = {"batch": "images in a batch", "size": "pixels of a side", "patch": "pixels of a patch", "threads": "threads"}
CASES = {
    "exchange_tokens uint8 NHWC": BLUE,
    "exchange_tokens float32 NCHW": SKY,
    "blend uint8 NHWC": VERMILION,
    "blend float32 NCHW": ORANGE,
}


def by_copy(found: Found) -> Figure:
    """The share of a copy's bandwidth, with the mark that mixing kernels are held to."""
    series = by_way(found, "of the copy's bandwidth", WAYS)
    names = list(next(iter(series.values())))
    first = next(iter(series.values()))[names[0]]
    made = figure(8, 1.4 + 0.36 * len(names), "Kernels by a copy that moves as many bytes")
    ax = made.subplots()
    longest = max(row["p50"] for rows in series.values() for row in rows.values())
    bars(ax, names, series, WAYS, lambda row: f"{row['p50']:.0f}", 1.1 * longest)
    ax.axvline(100, color="#444444", lw=1)
    ax.axvline(100 / 1.3, color=GREEN, lw=1, ls="--", label="1.3 times the copy's time")
    ax.set_xlabel("% of the copy's bandwidth")
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    caption(made, first)
    return made


def by_forms(found: Found) -> Figure:
    """Milliseconds beside NumPy's and torch's."""
    series = by_way(found, "time", WAYS | FORMS)
    names = list(next(iter(series.values())))
    first = next(iter(series.values()))[names[0]]
    made = figure(8, 1.4 + 0.5 * len(names), "Kernels by what one writes in NumPy and torch")
    ax = made.subplots()
    ax.set_xscale("log")
    bars(ax, names, series, WAYS | FORMS, lambda row: f"{row['p50']:.3g}")
    ax.set_xlabel("ms a batch")
    ax.legend(fontsize=8, frameon=False, loc="upper right")
    caption(made, first)
    return made


def by_way(found: Found, metric: str, ways: dict[str, str]) -> dict[str, dict[str, Row]]:
    """{way: {case: row}} of the ways that there are. Raises Missing if there are none."""
    series = {way: by_case(rows) for way in ways if (rows := found.of("kernels", f"{metric}, {way}"))}
    if not series:
        raise Missing(f"no rows of kernels with {metric}")
    return series


def mixing(found: Found) -> Figure:
    """Whole batches: draw, pixels, targets."""
    rows = by_case(found.needed("kernels", "whole mixing"))
    names = sorted(rows, key=lambda name: rows[name]["p50"])
    first = rows[names[0]]
    made = figure(8, 1.3 + 0.3 * len(names), "A batch mixed: mask drawn, pixels mixed, targets made")
    ax = made.subplots()
    ax.set_xscale("log")

    def colour(name: str) -> str:
        return GREY if name.startswith("np.copyto") else BLUE if "ours" in name else ORANGE

    bars(ax, names, {"": rows}, colour, lambda row: f"{row['p50']:.3g}")
    ax.set_xlabel("ms a batch")
    caption(made, first)
    return made


def scaling(found: Found) -> Figure:
    """A panel a curve: GB/s by batch, image, patch and threads; a copy's dotted."""
    metrics = ("bandwidth, all threads", "bandwidth, kernel", "bandwidth, copy")
    panels = {name: rows for name in CURVES if (rows := found.of("kernels", *metrics, curve=name))}
    if not panels:
        raise Missing("no rows of kernels with a curve")
    made = figure(10.5, 6.5, "How the kernels that mix scale: bytes read and written a second")
    axes = made.subplots(2, 2, sharey=True).ravel()
    for ax, (name, rows) in zip(axes, panels.items(), strict=False):
        for case, colour in CASES.items():
            mine = [row for row in rows if row["case"] == case]
            kernel = [row for row in mine if row["metric"] != "bandwidth, copy"]
            copy = [row for row in mine if row["metric"] == "bandwidth, copy"]
            if kernel:
                curve(ax, kernel, name, case, colour)
                level = sorted((float(row["at"][name]), row["p50"]) for row in copy)
                ax.plot(*zip(*level, strict=True), ls=":", lw=1.2, color=colour)
        ax.set_xlabel(CURVES[name])
        ax.grid(alpha=0.3)
        bare(ax)
    axes[0].set_ylim(0, 1.1 * max(row["p50"] for rows in panels.values() for row in rows))
    for ax in axes[::2]:
        ax.set_ylabel("GB/s")
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    axes[0].plot([], [], ":", color=GREY, label="a copy of as many bytes")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    setting = "all threads, and the usual batch, image and patch, where they are not on the axis"
    caption(made, next(iter(panels.values()))[0], setting)
    return made
