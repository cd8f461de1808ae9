"""Labels that are given beside a source, instead of its own: class ids, or a row of numbers for each sample."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 4096  # rows looked at at a time: they may be a memory map
MOST_CLASSES = 2**20  # dense targets have a column for each


def given_labels(labels: Any, samples: int, root: Any) -> np.ndarray:
    """(samples,) int32 class ids, or (samples, C) rows as they are, of a NumPy array, a list or an .npy file.

    Raises ValueError or TypeError that names what does not fit.
    """
    name, array = "labels", labels
    if isinstance(labels, str | os.PathLike):
        name = f"labels of {labels}"
        try:
            array = np.load(Path(labels), mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise ValueError(f"labels must be an array or an .npy file of one, got {labels}: no such file") from error
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"labels must be an .npy file of numbers, got {labels}: {error}") from error
    try:
        array = np.asarray(array)
    except (ValueError, TypeError, RuntimeError) as error:  # uneven rows; torch tensors that NumPy cannot have
        raise TypeError(
            f"{name} must be what NumPy makes an array of numbers of, got {labels!r:.80}: {error}"
        ) from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numbers, class ids (N,) or rows (N, C), got {array.dtype}")
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise ValueError(f"{name} must be class ids (N,) or rows (N, C), got shape {array.shape}")
    if len(array) != samples:
        raise ValueError(
            f"{name} must be one for each sample, in the source's order: got {len(array)}, {root} has {samples}"
        )
    if array.ndim == 2 and (array.shape[1] > 1 or array.dtype.kind in "bf"):
        check_rows(name, array)
        return array
    return class_ids(name, array.reshape(-1))


def class_ids(name: str, ids: np.ndarray, classes: Sequence[str] | None = None, where: Any = None) -> np.ndarray:
    """(N,) int32. classes: their names, where they are known. where: index -> what to call a sample."""
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must be whole numbers where there is one a sample, got {ids.dtype}")
    most = MOST_CLASSES if classes is None else len(classes)
    wrong = np.flatnonzero((ids < 0) | (ids >= most))
    if wrong.size:
        limit = f"[0, {most})" if classes is None else f"[0, {most}), the {most} classes"
        place = f"sample {wrong[0]}" if where is None else where(int(wrong[0]))
        raise ValueError(f"{name} must be class ids in {limit}, got {ids[wrong[0]]} for {place}")
    return ids.astype(np.int32)


def numbered(labels: np.ndarray) -> tuple[str, ...]:
    """Names of classes that have only numbers: as many as the largest id or the rows say."""
    return tuple(map(str, range(int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1])))


def check_rows(name: str, rows: np.ndarray) -> None:
    """Raises ValueError unless all numbers are finite and >= 0."""
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        with np.errstate(over="ignore"):
            good = np.isfinite(part.astype(np.float32)) & (part >= 0)
        if not good.all():
            row, column = np.argwhere(~good)[0]
            raise ValueError(
                f"{name} must be finite and >= 0, got {part[row, column]} for sample {start + row}, class {column}"
            )
