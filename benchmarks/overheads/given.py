"""What a batch is before it is mixed: images of noise, crops of them, and a store with a teacher's labels of noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from traffic import Shapes

import dali_tokenmix as dtm
from dali_tokenmix.dataset import ImageFolder
from dali_tokenmix.label_store import rows as label_rows
from dali_tokenmix.label_store.writer import Run

COPIES = 4  # of a batch, taken in turn, so that none is in the caches
FULL = (375, 500, 3)  # of the images that crops are of


@dataclass(frozen=True)
class Given:
    """A batch as the graph's planner and teacher find it.

    store: of the whole data set. labels: its classes, by sample. index: (N,) which samples these are. crop: as
    planner.boxes_of() takes it. pixels: (N, H, W, 3) uint8, cropped, mirrored and resized already.
    """

    shapes: Shapes
    store: dtm.LabelStore
    labels: np.ndarray
    index: np.ndarray
    crop: dict[str, np.ndarray]
    pixels: np.ndarray

    @property
    def own(self) -> np.ndarray:
        """(N,) int32 classes of the batch."""
        return self.labels[self.index]


def batches(store: dtm.LabelStore, s: Shapes, seed: int = 0) -> list[Given]:
    """COPIES batches. The first sample and the last, a pair, are of one class: the two terms of its target add."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, s.classes, len(store), np.int32)
    pixels = rng.integers(0, 256, (s.batch, s.height, s.width, s.channels), np.uint8)
    made = []
    for _ in range(COPIES):
        index = rng.choice(len(store), s.batch, replace=len(store) < s.batch)
        labels[index[-1]] = labels[index[0]]
        made.append(Given(s, store, labels, index, crops(rng, s.batch), pixels))
    return made


def crops(rng: np.random.Generator, samples: int) -> dict[str, np.ndarray]:
    """RandomResizedCrop's, of whole pixels, every other one mirrored."""
    sides = np.array(FULL[:2])
    area, aspect = rng.uniform(0.08, 1, (samples, 1)) * sides.prod(), (4 / 3) ** rng.uniform(-1, 1, (samples, 1))
    size = np.sqrt(area * np.hstack([1 / aspect, aspect])).clip(1, sides).astype(np.int32)
    start = (rng.random((samples, 2)) * (sides - size)).astype(np.int32)
    full = np.tile(np.array(FULL, np.int64), (samples, 1))
    return {"start": start, "size": size, "full": full, "mirrored": np.arange(samples, dtype=np.int32) % 2}


def write_store(path: Path, data: ImageFolder, s: Shapes) -> dtm.LabelStore:
    """Maps of noise in uint8, and the k classes of each cell, all different, with their scores, for each file."""
    rng, files = np.random.default_rng(0), len(data.files)
    maps = rng.exponential(1, (files, *s.map_size))
    band = s.classes // s.k
    shape = (files, s.k, *s.map_size)
    ids = rng.integers(0, band, shape, np.int32) + band * np.arange(s.k, dtype=np.int32)[:, None, None]
    scores = np.sort(rng.uniform(0, 4, shape), axis=1)[:, ::-1]
    run = Run(path, label_rows.describe(data, {"teacher": "noise"}, s.map_size, "uint8", s.k), {}, step=files)
    with run.journal(0) as journal:
        journal.append(label_rows.pack(run.layout, data.files, maps, ids, scores))
    store = run.finish(0)
    assert store is not None
    assert np.array_equal(store.topk([files - 1])[0], ids[-1:])
    return store


def folder_of_noise(root: Path, files: int) -> ImageFolder:
    """Names of files that are not there, for a store of their labels."""
    names = tuple(f"class/{number:07}.jpg" for number in range(files))
    return ImageFolder(root, ("class",), names, np.zeros(files, np.int32), {})
