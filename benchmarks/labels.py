"""What stored label maps cost: milliseconds a batch, images a second of a Loader, bytes on disk, read and sent.

Batch: look maps up in a store, cut them to crops and flips, score a TokenMix plan, make dense targets; on one thread.
Against it torch, from 18 x 18 cells of five logits and class ids each, in memory: "dense" as the released TokenMix code
does it (all classes get a plane, roi_align cuts them all, one is kept; here the whole batch at once), "one plane" with
the plane of the image's class alone. Loader: supervision="tokenmix" from a store against "imagenet" on the same
photographs. What is compared takes turns. `python benchmarks/labels.py --help`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from throughput import make_photographs, measure
from timing import describe_machine, interleaved, spread
from torchvision.ops import roi_align

import dali_tokenmix as dtm
from dali_tokenmix.dataset import ImageFolder, scan
from dali_tokenmix.label_store import rows
from dali_tokenmix.label_store.writer import Run

CLASSES, IMAGE, GRID, SMOOTHING, TOP = 1000, 224, (14, 14), 0.1, 5
STORES = {"7 x 7 uint8": (7, "uint8"), "18 x 18 uint8": (18, "uint8"), "18 x 18 float16": (18, "float16")}
LARGEST = "18 x 18 float16"
MOST_GB = {"7 x 7 uint8": 0.1, "18 x 18 uint8": 0.6}  # for ImageNet
IMAGENET, RELEASED_GB = 1_281_167, 8.3  # files, and what the released trees take in as many
COPIES = 4  # of a batch, taken in turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=128, help="of the store path (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=4096, help="in a store (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="of the store path (default: %(default)s)")
    parser.add_argument("--loader-rounds", type=int, default=15, help="of 16 batches of 64 (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="threads of a Loader")
    options = parser.parse_args()
    print(f"{describe_machine()}\ntorch on {torch.get_num_threads()} threads; load {os.getloadavg()[0]:.2f}\n")
    with tempfile.TemporaryDirectory() as folder:
        print(f"writing stores of {options.samples} maps", flush=True)
        files = tuple(f"class/{number:07}.jpg" for number in range(options.samples))
        data = ImageFolder(Path(folder), ("class",), files, np.zeros(options.samples, np.int32), {})
        stores = {name: write_store(Path(folder) / name, data, *kind) for name, kind in STORES.items()}
        store_path(stores, options)
        loaders(Path(folder), options)
        sizes(stores, options)


def store_path(stores: dict[str, dtm.LabelStore], options: argparse.Namespace) -> None:
    """Prints the milliseconds of a batch, of each store and of torch."""
    print("checking that store, one plane and dense give the same targets", flush=True)
    batches = {name: [Batch.of(store, options.batch_size, k) for k in range(COPIES)] for name, store in stores.items()}
    for name, store in stores.items():
        for batch in batches[name]:
            ours = from_store(store, batch)
            for other in (one_plane(batch), dense(batch)):
                np.testing.assert_allclose(ours, other, rtol=0, atol=1e-5)
    print(f"timing\n\n{f'ms, batch of {options.batch_size}':17}", end="")
    print(f"{'store':>20}{'one plane':>20}{'dense':>26}{'dense / store':>24}", flush=True)
    for name, store in stores.items():
        work = {  # each store's turn comes after dense, which leaves nothing in the caches
            "one plane": lambda call: one_plane(batches[LARGEST][call % COPIES]),
            "dense": lambda call: dense(batches[LARGEST][call % COPIES]),
            "store": lambda call, name=name, store=store: from_store(store, batches[name][call % COPIES]),
        }
        plane, all_planes, ours = interleaved(work, options.rounds).values()
        print(f"{name:17}{spread(ours, 1e3):>20}{spread(plane, 1e3):>20}{spread(all_planes, 1e3, 1):>26}", end="")
        print(f"{spread(all_planes / ours, 1, 0):>24}")
        middle, ratio = 1e3 * np.median(ours), np.median(all_planes) / np.median(ours)
        verdict(f"{middle:.2f} ms <= 2", middle <= 2)
        verdict(f"dense / store {ratio:.0f} >= 100", ratio >= 100)


def loaders(folder: Path, options: argparse.Namespace) -> None:
    """Prints images a second with labels by area and with labels from a store."""
    print("\nmaking photographs; checking that both loaders give the same images", flush=True)
    root = make_photographs(folder / "photographs")
    store = write_store(folder / "labels", scan(root), *STORES[LARGEST])
    setting = argparse.Namespace(rounds=options.loader_rounds, workers=options.workers, batches=16, batch_size=64)
    sources = {
        "imagenet": endless(root, setting, supervision="imagenet"),
        "tokenmix": endless(root, setting, supervision="tokenmix", label_maps=store),
    }
    (images, by_area), (same, by_map) = (next(source) for source in sources.values())
    assert torch.equal(images, same)
    assert ((by_map >= 0) & by_map.isfinite()).all()
    assert not torch.allclose(by_area, by_map, atol=1e-3)
    rates = measure(sources, setting)
    for name, rate in rates.items():
        print(f"Loader, {name}  {spread(rate, digits=0)} images/s")
    print(f"tokenmix / imagenet, round by round  {spread(rates['tokenmix'] / rates['imagenet'], digits=3)}")
    ratio = np.median(rates["tokenmix"]) / np.median(rates["imagenet"])
    verdict(f"tokenmix / imagenet {ratio:.3f} >= 0.97", ratio >= 0.97)


def sizes(stores: dict[str, dtm.LabelStore], options: argparse.Namespace) -> None:
    """Prints the bytes of a sample, and ImageNet's by them."""
    sent = dtm.draw(dtm.TokenMix(), options.batch_size, IMAGE).packed.shape[1] + np.dtype(np.int32).itemsize
    print(f"\n{'bytes a sample':17}{'read':>8}{'sent':>8}{'ImageNet':>12}")
    for name, store in stores.items():
        each = store.path.stat().st_size / len(store)  # with its part of the header
        size = each * IMAGENET / 1e9
        print(f"{name:17}{int(each):8}{sent:8}{size:9.3f} GB in one file")
        if name in MOST_GB:
            verdict(f"{size:.3f} GB <= {MOST_GB[name]}", size <= MOST_GB[name])
    print(f"{'released trees':33}{RELEASED_GB:9.3f} GB in {IMAGENET} files")


def verdict(line: str, holds: bool) -> None:
    print(f"  {'holds ' if holds else 'MISSED'}  {line}", flush=True)


@dataclass
class Batch:
    """Samples of a store with their crops and plan; and what of it torch takes, made before the clock runs."""

    indices: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    flips: np.ndarray
    plan: dtm.Plan
    ids: torch.Tensor  # (N, 5, h, w) int64
    scores: torch.Tensor  # (N, 5, h, w) float32
    rois: torch.Tensor  # (N, 5): sample, x0, y0, x1, y1 in cells
    own: torch.Tensor  # (N,) int64: labels

    @classmethod
    def of(cls, store: dtm.LabelStore, n: int, seed: int) -> Batch:
        """RandomResizedCrop's boxes of random samples. The store's numbers are the first of each cell's five logits."""
        rng = np.random.default_rng(seed)
        indices, labels = rng.choice(len(store), n, replace=False), rng.integers(0, CLASSES, n, np.int32)
        area, aspect = rng.uniform(0.08, 1, (n, 1)), (4 / 3) ** rng.uniform(-1, 1, (n, 1))
        sides = np.sqrt(area * np.hstack([1 / aspect, aspect])).clip(max=1)  # height, width
        corner = rng.random((n, 2)) * (1 - sides)
        boxes = np.hstack([corner, corner + sides]).clip(0, 1).astype(np.float32)
        flips, plan = rng.random(n) < 0.5, dtm.draw(dtm.TokenMix(), n, IMAGE, seed)
        further, scores = rng.integers(1, CLASSES, (n, TOP, *store.map_size)), rng.random((n, TOP, *store.map_size))
        further[:, 0], scores[:, 0] = 0, store.maps(indices)
        ids = torch.from_numpy((labels[:, None, None, None] + further) % CLASSES)
        cells = torch.from_numpy(boxes[:, [1, 0, 3, 2]] * np.float32(store.map_size[0]))
        rois, own = torch.column_stack([torch.arange(n), cells]), torch.from_numpy(labels).long()
        return cls(indices, labels, boxes, flips, plan, ids, torch.from_numpy(scores).float(), rois, own)


def from_store(store: dtm.LabelStore, batch: Batch) -> np.ndarray:
    maps = dtm.crop_maps(store.maps(batch.indices), batch.boxes, batch.flips, GRID)
    return dtm.soft_targets(dtm.scored(batch.plan, maps), batch.labels, CLASSES, SMOOTHING)


def dense(batch: Batch) -> torch.Tensor:
    samples, _, height, width = batch.scores.shape
    planes = torch.zeros(samples, CLASSES, height, width).scatter_(1, batch.ids, batch.scores)
    cropped = roi_align(planes, batch.rois, GRID, aligned=True)
    return torch_targets(cropped[torch.arange(samples), batch.own], batch)


def one_plane(batch: Batch) -> torch.Tensor:
    planes = batch.scores.where(batch.ids == batch.own[:, None, None, None], 0).sum(1, keepdim=True)
    return torch_targets(roi_align(planes, batch.rois, GRID, aligned=True)[:, 0], batch)


def torch_targets(maps: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(N, CLASSES) from each sample's map of its own class, cropped, (N, 14, 14)."""
    maps = maps.where(~torch.from_numpy(batch.flips)[:, None, None], maps.flip(2))
    maps = maps / maps.sum((1, 2), keepdim=True)
    mask, partner = torch.from_numpy(batch.plan.mask()), torch.tensor(batch.plan.partner)
    shown = torch.stack([((1 - mask) * maps).sum((1, 2)), (mask * maps[partner]).sum((1, 2))], 1)
    classes = torch.stack([batch.own, batch.own[partner]], 1)
    return torch.full((len(maps), CLASSES), SMOOTHING / CLASSES).scatter_add_(1, classes, (1 - SMOOTHING) * shown)


def write_store(path: Path, data: ImageFolder, side: int, kind: str) -> dtm.LabelStore:
    """A map of noise for each file, checked, by the writer that make-labels has."""
    maps = np.random.default_rng(0).exponential(1, (len(data.files), side, side))
    run = Run(path, rows.describe(data, {"teacher": "noise"}, (side, side), kind, 0), {}, step=len(data.files))
    with run.journal(0) as journal:
        journal.append(rows.pack(run.layout, data.files, maps))
    store = run.finish(0)
    error = np.abs(store.maps(np.arange(len(store))) - maps).max((1, 2)) / maps.max((1, 2))
    assert error.max() < 1 / 509, error.max()
    return store


def endless(root: Path, setting: argparse.Namespace, **options) -> Iterator:
    """Batches of a Loader that mixes tokens, epoch after epoch."""
    mixer, threads = dtm.TokenMix(), setting.workers
    loader = dtm.Loader(root, batch_size=setting.batch_size, mixer=mixer, num_threads=threads, **options)
    while True:
        yield from loader


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"\n{time.perf_counter() - start:.0f} s in all; load {os.getloadavg()[0]:.2f}")
