"""What methods.py found: a line a method, rows of its CSV, and whether the bound holds."""

from __future__ import annotations

import numpy as np
from results import Results
from timing import spread, verdict
from traffic import Shapes

from .measure import Timed

BOUND = 2  # times the copy of the bytes that it must move: the most that a method may take
WAYS = ("mixing", "draw and mixing")
COLUMNS = {"MB": 7, "copy, ms": 22, "mixing, ms": 22, "x": 7, "draw and mixing, ms": 22, "x ": 7, "maps, ms": 22}
JUDGED = (128, 224)  # images, and pixels of a side, that the bound is for


def heading() -> None:
    print("".join([f"{'method':18}", *(f"{name:>{width}}" for name, width in COLUMNS.items())]), flush=True)


def line(name: str, found: Timed, results: Results, setting: dict) -> dict[str, float]:
    """Prints and keeps what was found of a method. Returns its time in copies, by way."""
    results.add(name, "bytes of the copy", "MB", found.moved / 1e6, **setting)
    for way, seconds in found.seconds.items():
        results.add(name, way, "ms", 1e3 * seconds, **setting)
    for way in WAYS:
        results.add(name, f"{way} by the copy", "x", found.ratio(way), **setting)
    ratios = {way: float(np.median(found.ratio(way))) for way in WAYS}
    cells = [f"{np.median(found.moved) / 1e6:.1f}", ms(found, "copy")]
    cells += [cell for way in WAYS for cell in (ms(found, way), f"{ratios[way]:.2f}")] + [ms(found, "maps")]
    print(f"{name:18}" + "".join(f"{c:>{w}}" for c, w in zip(cells, COLUMNS.values(), strict=True)), flush=True)
    return ratios


def verdicts(ratios: dict[str, dict[str, float]], shapes: Shapes) -> None:
    """Whether each method keeps within the bound, with its draw and without."""
    if (shapes.batch, shapes.height) != JUDGED:
        print(f"not judged: the bound is for {JUDGED[0]} images of {JUDGED[1]} x {JUDGED[1]}")
        return
    for name, by_way in ratios.items():
        for way, times in by_way.items():
            verdict(f"{name}, {way}: {times:.2f} copies of the bytes it must move <= {BOUND}", times <= BOUND)


def ms(found: Timed, way: str) -> str:
    return spread(1e3 * found.seconds[way]) if way in found.seconds else ""
