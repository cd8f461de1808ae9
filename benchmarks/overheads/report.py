"""What was measured, as tables to read and as rows of the CSV."""

from __future__ import annotations

import numpy as np
from gpu.place import Cpu
from results import Results
from timing import spread

from .loaders import Turns
from .measure import Measured, ways
from .rows import BY_AREA, CUTMIX, STORED, Row

WIDTH = 43  # of a row's name
BOUNDS = {BY_AREA: 0.1, STORED: 0.15}  # % of a step
SET_FOR = "DeiT-T in float32, batch 32, on a CPU"
PAPER = "The paper, table 4, GPU time against CutMix: masks +0.0 %, labels of a teacher +0.8 %."


def mixing(table: list[Row], found: Measured, results: Results, place: Cpu, setting: dict) -> None:
    """Two lines a row, ours and the usual way's; against a step where there was training."""
    main, other = place.clocks
    head = f"{'':{WIDTH}} {'':5} {f'mixing, ms of {main}':>26} {f'ms of {other}':>10}"
    if found.steps:
        head += f" {'% of a step':>22} {'with step, ms':>14} {'against CutMix':>15} {'paper':>8}"
    print(head)
    for row in table:
        for way in ways(row):
            taken, first = found.mixing[row.name, way], way == "ours"
            results.add(row.name, f"mixing, {way}", "ms", 1e3 * taken.main, **setting)
            results.add(row.name, f"{other}, {way}", "ms", 1e3 * taken.other, **setting)
            line = f"{row.name if first else '':{WIDTH}} {way:>5} {spread(1e3 * taken.main):>26}"
            line += f" {1e3 * np.median(taken.other):10.2f}"
            for step in found.steps:
                share, more = found.share(row.name, way, step), found.against(CUTMIX, row.name, way, step)
                both = 1e3 * (np.median(taken.main) + np.median(found.steps[step].main))
                results.add(row.name, f"share of a step, {way}", "%", share, **setting)
                results.add(row.name, f"overhead against CutMix, {way}", "%", more, **setting)
                line += f" {spread(share, digits=3):>22} {both:14.1f} {f'{more:+.3f} %':>15}"
                line += f" {row.paper if first else '':>8}"
            print(line.rstrip())
    for step, taken in found.steps.items():
        results.add(step, "step", "ms", 1e3 * taken.main, **setting)
        results.add(step, f"step, {other}", "ms", 1e3 * taken.other, **setting)
        name = f"a step of {step}, forward and backward"
        print(f"{name:{WIDTH + 6}} {spread(1e3 * taken.main, digits=1):>26} {1e3 * np.median(taken.other):10.1f}")
    if place.device == "gpu" and found.late:
        print(f"The host was not ahead of the GPU, whose time has waiting in it: {'; '.join(found.late)}")


def claims(found: Measured, place: Cpu) -> None:
    """The paper's two figures beside ours, where they can be compared."""
    print(f"\n{PAPER}")
    if place.device != "gpu" or not found.steps:
        print("Here: GPU time is not measured" + (", this is a CPU." if place.device != "gpu" else " without a step."))
        return
    for step in found.steps:
        masks, labels = (found.against(CUTMIX, name, "ours", step) for name in (BY_AREA, STORED))
        print(f"Here, beside {step}: masks {masks:+.2f} %, labels of a store {labels:+.2f} %.")


def bounds(found: Measured, judged: bool) -> None:
    """Prints whether the bounds hold. judged: whether this run is of the kind that they were set for."""
    for name, most in BOUNDS.items():
        for step in found.steps:
            share = float(np.median(found.share(name, "ours", step)))
            word = ("holds " if share <= most else "MISSED") if judged else f"not judged, set for {SET_FOR}:"
            print(f"  {word}  {name}: {share:.3f} % of a step <= {most} %")


def loaders(
    table: list[Row], turns: dict[str, Turns], found: Measured, results: Results, place: Cpu, setting: dict
) -> None:
    """A line a Loader, with the verdict where there was a step to compare with."""
    print(
        f"\n{'the Loader':{WIDTH}} {'images/s':>24} {'CPU ms an image':>22} {'callbacks, ms':>14} {'% of its CPU':>13}"
    )
    for row in table:
        turn = turns[row.name]
        rate, cpu = setting["batch"] / turn.wall, 1e3 * turn.cpu / setting["batch"]
        results.add(row.name, "Loader", "images/s", rate, **setting)
        results.add(row.name, "Loader, CPU an image", "ms", cpu, **setting)
        line = f"{row.name:{WIDTH}} {spread(rate, digits=0):>24} {spread(cpu, digits=3):>22}"
        if row.teacher is None:
            inside, share = 1e3 * turn.callbacks, 100 * turn.callbacks / turn.cpu
            results.add(row.name, "callbacks", "ms", inside, **setting)
            results.add(row.name, "callbacks by the Loader's CPU time", "%", share, **setting)
            line += f" {np.median(inside):14.2f} {np.median(share):13.2f}"
        print(line)
    for step in found.steps:
        verdicts(table, turns, found, step)
    if place.device == "cpu" and found.steps:
        print("On a CPU model and Loader share the cores: a loop takes up to the sum of both.")


def verdicts(table: list[Row], turns: dict[str, Turns], found: Measured, step: str) -> None:
    """Who is waited for, row by row."""
    seconds = float(np.median(found.steps[step].main))
    print(f"\nWhat a training loop waits for, where a step of {step} takes {1e3 * seconds:.1f} ms:")
    for row in table:
        batch = float(np.median(turns[row.name].wall))
        bound = "loader-bound" if batch > seconds else "model-bound"
        mixed = np.median(found.share(row.name, "ours", step))
        print(f"  {bound:12}  {row.name:{WIDTH}} {1e3 * batch:9.1f} ms a batch; mixing is {mixed:.3f} % of the step")


def whole(seconds: dict[str, np.ndarray], results: Results, setting: dict) -> None:
    """Whole steps; their differences are noise for the most part."""
    print(f"\n{'whole steps on batches of the Loader':{WIDTH}} {'ms':>24} {'against CutMix':>15}")
    for name, found in seconds.items():
        more = 100 * (np.median(found) / np.median(seconds[CUTMIX]) - 1)
        results.add(name, "whole step", "ms", 1e3 * found, **setting)
        print(f"{name:{WIDTH}} {spread(1e3 * found, digits=1):>24} {f'{more:+.1f} %':>15}")
