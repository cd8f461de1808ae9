"""Label stores of noise: as large, and as quick to read, as a teacher's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dali_tokenmix as dtm
from dali_tokenmix.dataset import ImageFolder
from dali_tokenmix.label_store import rows
from dali_tokenmix.label_store.writer import Run


def names_only(folder: Path, samples: int) -> ImageFolder:
    """A data set of so many images that nobody will look at."""
    files = tuple(f"class/{number:07}.jpg" for number in range(samples))
    return ImageFolder(folder, ("class",), files, np.zeros(samples, np.int32), {})


def write_store(path: Path, data: ImageFolder, side: int, kind: str) -> dtm.LabelStore:
    """A map of noise for each file, checked, by the writer that make-labels has. kind: "uint8" or "float16"."""
    maps = np.random.default_rng(0).exponential(1, (len(data.files), side, side))
    store = _written(path, data, (side, side), kind, maps=maps)
    error = np.abs(store.maps(np.arange(len(store))) - maps).max((1, 2)) / maps.max((1, 2))
    assert error.max() < 1 / 509, error.max()
    return store


def write_top_k(path: Path, data: ImageFolder, side: int, k: int, classes: int) -> dtm.LabelStore:
    """The k strongest classes of each cell, checked."""
    rng, shape = np.random.default_rng(0), (len(data.files), k, side, side)
    band = classes // k  # the k classes of a cell differ
    ids = rng.integers(0, band, shape) + band * np.arange(k)[:, None, None]
    scores = rng.normal(4, 2, shape).astype(np.float16)
    store = _written(path, data, (side, side), None, k, ids=ids, scores=scores)
    for found, given in zip(store.topk(np.arange(len(store))), (ids, scores), strict=True):
        assert np.array_equal(found, given)
    return store


def _written(
    path: Path, data: ImageFolder, size: tuple[int, int], kind: str | None, k: int = 0, **labels: np.ndarray
) -> dtm.LabelStore:
    run = Run(path, rows.describe(data, {"teacher": "noise"}, size, kind, k), {}, step=len(data.files))
    with run.journal(0) as journal:
        journal.append(rows.pack(run.layout, data.files, **labels))
    return run.finish(0)
