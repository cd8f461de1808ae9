"""What a loader delivers, in figures, and whether two loaders deliver the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dali_tokenmix.dataset import scan

from .task import DECODE_CROP, READ, Task

MOST_CLASSES = 16  # with more, a few hundred images do not tell the classes' means
# In standard deviations of normalised pixels, over some 500 images; mixing by alpha lowers the contrast.
SAME_MEAN, SAME_CONTRAST, SAME_CLASS = 0.12, 0.25, 0.35


@dataclass(frozen=True)
class Output:
    """Of some batches. shape: of images without the batch. mean: of each channel. contrast: of all pixels.

    sums: the smallest and the largest sum of a row of targets. by_class: (classes, 3), the mean of each class's images
    as the targets have it, by least squares; empty with many classes.
    """

    shape: list[int]
    dtype: str
    mean: list[float]
    contrast: float
    sums: list[float]
    by_class: list[list[float]]

    @classmethod
    def of(cls, source: Iterator[Any], batches: int, classes: int) -> Output:
        """From the next batches. Targets may be class ids or a column a class."""
        means, squares, targets = [], [], []
        for images, labels in islice(source, batches):
            pixels = np.asarray(images.cpu())
            means.append(pixels.mean((2, 3)))
            squares.append(np.einsum("nchw,nchw->", pixels, pixels, dtype=np.float64) / pixels.size)  # without a copy
            targets.append(_columns(np.asarray(labels.cpu()), classes))
        by_image, rows = np.concatenate(means), np.concatenate(targets)
        by_class = np.linalg.lstsq(rows, by_image, rcond=None)[0].tolist() if classes <= MOST_CLASSES else []
        sums, mean = rows.sum(1), by_image.mean(0)
        contrast = float(np.sqrt(np.mean(squares) - np.square(mean).mean()))
        form = list(pixels.shape[1:]), pixels.dtype.name
        return cls(*form, mean.tolist(), contrast, [float(sums.min()), float(sums.max())], by_class)

    def differences(self, other: Output, scored: bool) -> list[str]:
        """In what it is not as the other is. scored: rows of targets need not sum to 1."""
        low, high = (0.0, 2.0) if scored else (1 - 1e-4, 1 + 1e-4)
        found = [] if low <= self.sums[0] <= self.sums[1] <= high else [f"rows of targets sum to {self.sums}"]
        found += [
            f"{name} {mine}, expected {theirs}"
            for name in ("shape", "dtype")
            if (mine := getattr(self, name)) != (theirs := getattr(other, name))
        ]
        for name, most in (("mean", SAME_MEAN), ("contrast", SAME_CONTRAST), ("by_class", SAME_CLASS)):
            mine, theirs = (np.array(getattr(output, name)) for output in (self, other))
            if not np.abs(mine - theirs).max(initial=0) <= most:
                found.append(f"{name} {np.round(mine, 2).tolist()}, expected {np.round(theirs, 2).tolist()}")
        return found


def amount_bounds(name: str, task: Task) -> tuple[float, float]:
    """What a ceiling makes of an image on the average, bytes or pixels: at least, at most, by the files' headers.

    Not one number: batches are some files of all, and boxes are random.
    """
    if name.startswith("resize"):
        return task.size**2, task.size**2
    files = [Path(path) for path in scan(task.root).paths()]
    if name == READ:
        mean = float(np.mean([file.stat().st_size for file in files]))
    else:
        mean = float(np.mean([np.prod(_size(file)) for file in files]))
    return (0.3 * mean, 0.7 * mean) if name == DECODE_CROP else (0.8 * mean, 1.2 * mean)


def _size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


def _columns(targets: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[targets.reshape(-1)] if targets.ndim == 1 else targets
