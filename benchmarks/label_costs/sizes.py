"""Bytes of a sample's labels: on disk, read for a batch, sent to a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from dense_labels import CLASSES, GRID, IMAGE, TOP
from results import Results
from stores import names_only, write_top_k
from timing import verdict

import dali_tokenmix as dtm
from dali_tokenmix.label_store import rows

IMAGENET, RELEASED_GB = 1_281_167, 8.3  # files, and what the released trees take in as many
MOST_GB = {"7 x 7 uint8": 0.1, "18 x 18 uint8": 0.6}  # for ImageNet
ID, FLOAT, BOX, FLIP = 4, 4, 16, 4


class Sample(NamedTuple):
    """Bytes of one. Sent: what has to reach the device beside the image."""

    disk: float
    read: float
    sent: float


def sizes(stores: dict[str, dtm.LabelStore], folder: Path, results: Results) -> None:
    """Prints the bytes of a sample, and ImageNet's by them."""
    print(f"\n{'bytes a sample':40}{'on disk':>10}{'read':>10}{'sent':>10}{'ImageNet':>12}")
    for name, sample in all_sizes(stores, folder).items():
        size = sample.disk * IMAGENET / 1e9
        print(f"{name:40}{sample.disk:10.0f}{sample.read:10.0f}{sample.sent:10.0f}{size:9.3f} GB")
        for metric, value in sample._asdict().items():
            results.add(name, f"bytes, {metric}", "bytes a sample", value)
        results.add(name, "ImageNet on disk", "GB", size)
        if name in MOST_GB:
            verdict(f"{size:.3f} GB <= {MOST_GB[name]}", size <= MOST_GB[name])
    print(f"A store is one file; the released trees are {IMAGENET}, of which each is read whole. Dense: targets of")
    print(f"{CLASSES} float32, and as many for each of {GRID[0]} x {GRID[1]} tokens, made on the host.")


def all_sizes(stores: dict[str, dtm.LabelStore], folder: Path) -> dict[str, Sample]:
    """Ours, then the usual ways. A store's file is counted with its header."""
    plan = dtm.draw(dtm.TokenMix(), 2, IMAGE).packed.shape[1] + ID
    found = {"by area": Sample(0, 0, plan), "a teacher online": Sample(0, 0, plan)}
    for name, store in stores.items():
        found[name] = Sample(on_disk(store), read(store), plan)
    first = next(iter(stores.values()))
    labels = write_top_k(folder / "top_k", names_only(folder, len(first)), 18, TOP, CLASSES)
    ids, scores = labels.topk(np.arange(1))
    sent = plan + ids.nbytes + scores.astype(np.float16).nbytes + BOX + FLIP
    found[f"top {TOP} of 18 x 18"] = Sample(on_disk(labels), read(labels), sent)
    tree = RELEASED_GB * 1e9 / IMAGENET
    tokens = GRID[0] * GRID[1]
    found["released tree, dense targets"] = Sample(tree, tree, FLOAT * CLASSES)
    found["released tree, dense targets of tokens"] = Sample(tree, tree, FLOAT * CLASSES * (1 + tokens))
    return found


def on_disk(store: dtm.LabelStore) -> float:
    return store.path.stat().st_size / len(store)


def read(store: dtm.LabelStore) -> int:
    """Of the memory-mapped file, for a sample."""
    return rows.record(rows.layout(store.map_type, store.k, store.map_size)).itemsize
