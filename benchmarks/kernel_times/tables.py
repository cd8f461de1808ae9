"""What kernels.py found, as tables on stdout and rows of its CSV; and whether it is as fast as it has to be."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from results import Results
from timing import spread, verdict
from traffic import Shapes

from .contenders import WITH_MAPS
from .each import Timed
from .peers import Found
from .scaling import Point

FORMS = ("NumPy", "torch")
MOST_OF_A_COPY = 1.3  # times a copy, that a kernel may take on float32 NCHW
LEAST_FASTER = 10  # times, than any other way to mix
MIXING = ("exchange", "blend")  # kernels that it is asked of
JUDGED = (128, 224)  # images, and pixels of a side, that both are for


def kernels(found: Iterable[Timed], shapes: Shapes, results: Results) -> None:
    """A line a kernel, then whether those that mix float32 NCHW are close to a copy."""
    setting = {"batch": shapes.batch, "size": shapes.height, "patch": shapes.patch}
    float32: list[Timed] = []
    for number, timed in enumerate(found):
        ours = [way for way in timed.seconds if way not in ("copy", *FORMS)]
        if number == 0:
            print(f"\n{'ms a batch':29}{'MB':>8}{'copy':>23}", end="")
            print("".join(f"{way:>23}{'GB/s':>7}{'of copy':>8}" for way in ours), "    NumPy    torch")
        line = f"{timed.name:29}{timed.moved / 1e6:8.2f}{spread(1e3 * timed.seconds['copy'], digits=3):>23}"
        for way in ours:
            seconds = timed.seconds[way]
            rate, share = timed.moved / np.median(seconds) / 1e9, 100 * np.median(timed.share(way))
            line += f"{spread(1e3 * seconds, digits=3):>23}{rate:7.1f}{share:6.0f} %"
        medians = [
            f"{1e3 * np.median(timed.seconds[form]):9.3f}" if form in timed.seconds else 9 * " " for form in FORMS
        ]
        print(line, "".join(medians), flush=True)
        add(timed, results, **setting)
        if timed.name.endswith("float32 NCHW") and timed.name.startswith(MIXING):
            float32.append(timed)
    if float32 and judged(shapes):
        for timed in float32:
            for way in timed.seconds:
                if way not in ("copy", *FORMS):
                    times = float(np.median(1 / timed.share(way)))
                    line = f"{timed.name}, {way}: {times:.2f} of a copy's time <= {MOST_OF_A_COPY}"
                    verdict(line, times <= MOST_OF_A_COPY)


def add(timed: Timed, results: Results, **setting: object) -> None:
    """Its rows: times, and of the kernel and the copy GB/s and the share of the copy's bandwidth."""
    results.add(timed.name, "bytes moved", "MB", timed.moved / 1e6, **setting)
    for way, seconds in timed.seconds.items():
        results.add(timed.name, f"time, {way}", "ms", 1e3 * seconds, **setting)
        if way not in FORMS:
            results.add(timed.name, f"bandwidth, {way}", "GB/s", timed.moved / seconds / 1e9, **setting)
        if way not in ("copy", *FORMS):
            results.add(timed.name, f"of the copy's bandwidth, {way}", "%", 100 * timed.share(way), **setting)


def mixing(found: Found, shapes: Shapes, results: Results) -> None:
    """A line a way, then each of the others against ours as our pipeline does it: uint8 NHWC, in place, all threads."""
    setting = {"batch": shapes.batch, "size": shapes.height}
    print(f"\n{'whole mixing, ms a batch':56}{'':>22}{'/ copy of float32 images':>28}")
    results.add("np.copyto, float32", "whole mixing", "ms", 1e3 * found.copy, **setting)
    for way, seconds in sorted(found.seconds.items(), key=lambda item: item[0].what):
        times = np.median(seconds / found.copy)
        print(f"{way.name:56}{spread(1e3 * seconds):>22}{times:27.2f}x", flush=True)
        results.add(way.name, "whole mixing", "ms", 1e3 * seconds, **setting)
    for way, reason in found.refused.items():
        print(f"{way.name:56}{'cannot':>22}   {reason}")
    ours = {way.what: seconds for way, seconds in found.seconds.items() if way.as_in_pipeline}
    said = judged(shapes)
    for way, seconds in found.seconds.items():
        if way.ours or way.dtype != "float32":
            continue
        for what in dict.fromkeys((way.what, "TokenMix") if way.what != WITH_MAPS else (way.what,)):
            ratio = seconds / ours[what]
            if said:
                line = f"{way.name} / our {what}: {spread(ratio, digits=1)} >= {LEAST_FASTER}"
                verdict(line, bool(np.median(ratio) >= LEAST_FASTER))
            results.add(way.name, f"times our {what}, uint8 in place", "x", ratio, **setting)


def curves(found: Iterable[Point], results: Results) -> None:
    """A line a point."""
    before = ""
    for point in found:
        timed, s = point.timed, point.shapes
        if before != (before := f"{timed.name} by {point.curve}"):
            print(f"\n{before}")
        setting = {"curve": point.curve, "batch": s.batch, "size": s.height, "patch": s.patch}
        if point.curve == "threads":
            setting["threads"] = point.value
        line = f"{point.value:6}{timed.moved / 1e6:9.2f} MB  copy {spread(1e3 * timed.seconds['copy'], digits=3):23}"
        for way in timed.seconds:
            if way != "copy":
                times = np.median(1 / timed.share(way))
                line += f"{way} {spread(1e3 * timed.seconds[way], digits=3):23}{times:5.2f}x    "
        print(line.rstrip(), flush=True)
        add(timed, results, **setting)


def judged(shapes: Shapes) -> bool:
    """Whether these are the sizes that the targets are for; says so if they are not."""
    if (shapes.batch, shapes.height) == JUDGED:
        return True
    print(f"  not judged: the target is for {JUDGED[0]} images of {JUDGED[1]} x {JUDGED[1]}")
    return False
