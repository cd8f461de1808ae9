"""Kernels that make targets from a plan's weights."""

from __future__ import annotations

import math

from .arrays import View
from .launch import Work, launch


def targets(labels: View, rows: View, out: View, *, smoothing: float, threads: int | None = None) -> None:
    """Writes dense soft targets: labels (N,) int32, packed plan rows (N, bytes), out (N, C) float32, on one device."""
    samples, classes = out.shape
    launch(
        out.device,
        "targets",
        "Targets",
        (labels.address, rows.address, out.address),
        Work(samples, classes),
        threads=threads or 1,
        rows=(rows.strides[0], 0),
        samples=samples,
        classes=classes,
        keep=1.0 - smoothing,
        floor=smoothing / classes,
        unknown=math.nan,
    )
