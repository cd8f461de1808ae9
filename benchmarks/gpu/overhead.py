"""What mixing a batch costs beside a training step: the rows of benchmarks/overhead.py, with a small teacher.

No DALI here: the functions that its callbacks call, timed by events, without waiting for the GPU in between. In a
pipeline they run ahead of the step. CuPy and torch are both on the default stream, which keeps their work in order. The
step: forward and backward of DeiT-T (timm), or of a plain torch transformer of its size.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from overheads import given
from overheads.measure import Measured, measured, ways
from overheads.rows import Row, table
from overheads.steps import Step, deit_tiny
from traffic import Shapes

from .place import Cpu, quantiles
from .teacher import small_teacher

FILES = 512


def rows(shapes: Shapes, place: Cpu, rounds: int) -> list[dict[str, Any]]:
    """A row a way to mix: milliseconds, and its share of each kind of step. Then a row a step."""
    teacher = small_teacher(shapes, place.torch_device)
    asked = table(shapes.patch, {teacher.name: teacher})
    name, model = deit_tiny(shapes)
    steps = {f"{name}, float32": Step(model, shapes, place)}
    if place.device == "gpu":
        steps[f"{name}, bfloat16"] = Step(model, shapes, place, amp=True)
    with tempfile.TemporaryDirectory() as folder:
        data = given.folder_of_noise(Path(folder), FILES)
        batches = given.batches(given.write_store(Path(folder) / "labels", data, shapes), shapes)
        checked(asked, batches[0], place)
        found = measured(asked, batches, steps, place, rounds=rounds, step_rounds=rounds)
    told = [told_row(row, way, found, place) for row in asked for way in ways(row)]
    return told + [
        {"way": f"{step}, forward and backward", "ms": quantiles(1e3 * taken.main)}
        for step, taken in found.steps.items()
    ]


def checked(asked: list[Row], batch: given.Given, place: Cpu) -> None:
    """Raises AssertionError where the usual way makes something else, if there is what it needs."""
    if "usual" in ways(asked[0]):
        from overheads.check import agree

        for row in asked:
            agree(row, batch, place)


def told_row(row: Row, way: str, found: Measured, place: Cpu) -> dict[str, Any]:
    taken, (main, other) = found.mixing[row.name, way], place.clocks
    return {
        "way": f"{row.name}: {way}",
        f"ms, {main}": quantiles(1e3 * taken.main),
        f"ms, {other}": quantiles(1e3 * taken.other),
        **{f"% of {step}": quantiles(found.share(row.name, way, step)) for step in found.steps},
    }
