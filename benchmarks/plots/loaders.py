"""Plots of throughput.py: images a second by loader, and by the number of workers."""

from __future__ import annotations

from collections import Counter

from matplotlib.figure import Figure

from .found import Found, Missing, Row, by_case
from .style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, bare, bars, caption, curve, figure

RATE = ("images/s", "throughput")
RATIO = ("ratio to torchvision v1", "throughput by that of torchvision v1")
CEILINGS = ("read", "decode", "resize")  # what such a name begins with is a part of a loader's work
LONGEST = "read"  # dwarfs all others: cut off
OTHERS = (ORANGE, GREEN, VERMILION, PURPLE, SKY)


def throughput(found: Found) -> Figure:
    rows = found.needed("throughput", *RATE)
    usual = Counter(workers(row) for row in rows).most_common(1)[0][0]
    rates = by_case([row for row in rows if workers(row) == usual])
    ratios = by_case([row for row in found.of("throughput", *RATIO) if workers(row) == usual])
    names = sorted(rates, key=lambda name: (is_ceiling(name), -rates[name]["p50"]))

    def told(row: Row) -> str:
        ratio = ratios.get(row["case"])
        return f"{row['p50']:.0f}" + (f"  {ratio['p50']:.2f}x" if ratio else "")

    first = rates[names[0]]
    made = figure(8, 1.3 + 0.32 * len(names), "Images a second from JPEG files, training transforms")
    ax = made.subplots()
    reach = [rates[name]["p80"] for name in names if not name.startswith(LONGEST)]
    bars(ax, names, {"": rates}, colour_of, told, max(reach, default=None))
    ax.set_xlabel("images/s; x: by torchvision v1's, round by round; grey: parts of a loader's work alone")
    caption(made, first)
    return made


def by_workers(found: Found) -> Figure:
    rows = [row for row in found.of("throughput", *RATE) if workers(row) and not is_ceiling(row["case"])]
    cases = {row["case"]: [other for other in rows if other["case"] == row["case"]] for row in rows}
    cases = {name: points for name, points in cases.items() if len({workers(row) for row in points}) > 1}
    if not cases:
        raise Missing("no rows of throughput with several numbers of workers")
    made = figure(6.5, 4, "Images a second by threads (DALI) or worker processes")
    ax = made.subplots()
    others = iter(OTHERS * len(cases))
    for name, points in cases.items():
        curve(ax, points, along(points[0]), name, BLUE if name.startswith("Loader") else next(others))
    ax.set_xlabel("threads or workers")
    ax.set_ylabel("images/s")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8, frameon=False)
    bare(ax)
    setting = rows[0]["at"] | {along(rows[0]): "all shown"}
    caption(made, rows[0], " ".join(f"{name}={value}" for name, value in setting.items()))
    return made


def along(row: Row) -> str:
    """How the setting calls them."""
    return "workers" if "workers" in row["at"] else "threads"


def workers(row: Row) -> str | None:
    return row["at"].get(along(row))


def is_ceiling(name: str) -> bool:
    return name.startswith(CEILINGS)


def colour_of(name: str) -> str:
    """Ours, the ceilings, the others."""
    return GREY if is_ceiling(name) else BLUE if name.startswith("Loader") else ORANGE
