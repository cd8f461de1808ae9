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
import sys
import tempfile
import time
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import torch
from dense_labels import CLASSES, GRID, IMAGE, SMOOTHING, Batch, dense, dense_relabel, one_plane
from stores import names_only, write_store
from throughput import make_photographs
from timing import describe_machine, interleaved, spread

import dali_tokenmix as dtm
from dali_tokenmix.dataset import scan

STORES = {"7 x 7 uint8": (7, "uint8"), "18 x 18 uint8": (18, "uint8"), "18 x 18 float16": (18, "float16")}
LARGEST = "18 x 18 float16"
MOST_GB = {"7 x 7 uint8": 0.1, "18 x 18 uint8": 0.6}  # for ImageNet
IMAGENET, RELEASED_GB = 1_281_167, 8.3  # files, and what the released trees take in as many
COPIES = 4  # of a batch, taken in turn
WARM_UP, TURN = 4, 8  # batches of a Loader's turn: more than it makes ahead, then by the clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=128, help="of the store path (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=4096, help="in a store (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="of the store path (default: %(default)s)")
    parser.add_argument("--loader-rounds", type=int, default=24, help="of the Loader (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="threads of a Loader")
    options = parser.parse_args()
    print(f"{describe_machine()}\ntorch on {torch.get_num_threads()} threads; load {os.getloadavg()[0]:.2f}\n")
    with tempfile.TemporaryDirectory() as folder:
        print(f"writing stores of {options.samples} maps", flush=True)
        data = names_only(Path(folder), options.samples)
        stores = {name: write_store(Path(folder) / name, data, *kind) for name, kind in STORES.items()}
        store_path(stores, options)
        label_maps(stores[LARGEST], options)
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


def label_maps(store: dtm.LabelStore, options: argparse.Namespace) -> None:
    """Prints the milliseconds of relabel and tokenlabeling, from top-5 label maps in memory."""
    batches = [Batch.of(store, options.batch_size, k) for k in range(COPIES)]
    for name, tokens in (("relabel", False), ("tokenlabeling", True)):
        for found, expected in zip(by_labels(batches[0], tokens), dense_relabel(batches[0], tokens), strict=True):
            if isinstance(found, tuple):  # sparse: the k classes that are kept
                ids, found = found
                expected = expected.gather(2, torch.from_numpy(ids).long())
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)  # of scores in float16
        work = {
            "dense": lambda call, tokens=tokens: dense_relabel(batches[call % COPIES], tokens),
            "ours": lambda call, tokens=tokens: by_labels(batches[call % COPIES], tokens),
        }
        peer, ours = interleaved(work, max(3, options.rounds // 4)).values()
        print(
            f"{name:17}{spread(ours, 1e3):>20}{'':20}{spread(peer, 1e3, 1):>26}{spread(peer / ours, 1, 0):>24}",
            flush=True,
        )


def by_labels(batch: Batch, tokens: bool) -> tuple:
    """Targets, and of tokens ids and probabilities, as the Loader makes them."""
    ids, scores = batch.top
    soft = dtm.crop_labels(ids, scores, batch.boxes, num_classes=CLASSES)
    targets = dtm.soft_targets(batch.plan, soft, CLASSES, SMOOTHING)
    if not tokens:
        return (targets,)
    return targets, dtm.token_labels(batch.plan, ids, scores, batch.boxes, batch.flips, num_classes=CLASSES)


def loaders(folder: Path, options: argparse.Namespace) -> None:
    """Prints images a second, and CPU time, with labels by area and with labels from a store."""
    print("\nmaking photographs; checking that both loaders give the same images", flush=True)
    root = make_photographs(folder / "photographs")
    store = write_store(folder / "labels", scan(root), *STORES[LARGEST])
    common = {"batch_size": 64, "mixer": dtm.TokenMix(), "num_threads": options.workers}
    area = dtm.Loader(root, supervision="imagenet", **common)
    maps = dtm.Loader(root, supervision="tokenmix", label_maps=store, **common)
    (images, by_area), (same, by_map) = (next(iter(loader)) for loader in (area, maps))
    assert torch.equal(images, same)
    assert ((by_map >= 0) & by_map.isfinite()).all()
    assert not torch.allclose(by_area, by_map, atol=1e-3)
    seconds = turns([area, maps], options.loader_rounds)
    images_in_a_turn = TURN * common["batch_size"]
    for name, (wall, cpu) in zip(("imagenet", "tokenmix"), seconds, strict=True):
        print(f"Loader, {name}  {spread(images_in_a_turn / wall, digits=0)} images/s, ", end="")
        print(f"{spread(cpu / images_in_a_turn, 1e3, 3)} ms of CPU an image")
    faster, cheaper = seconds[0] / seconds[1]
    print(f"tokenmix / imagenet, by round  {spread(faster, 1, 3)}, by CPU time  {spread(cheaper, 1, 3)}")
    verdict(f"tokenmix / imagenet {np.median(faster):.3f} >= 0.97", np.median(faster) >= 0.97)


def turns(loaders: list[dtm.Loader], rounds: int) -> np.ndarray:
    """Seconds of TURN batches by the clock and of CPU time, (loaders, 2, rounds).

    Who begins is drawn. Every turn has a new pipeline: where in memory one happens to lie is worth some per cent.
    """
    rng, seconds = np.random.default_rng(0), np.zeros((len(loaders), 2, rounds))
    sources = [chain.from_iterable(repeat(loader)) for loader in loaders]  # epoch after epoch
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        for k in rng.permutation(len(loaders)):
            loaders[k].close()
            for _ in range(WARM_UP):
                next(sources[k])
            start = np.array([time.perf_counter(), time.process_time()])
            for _ in range(TURN):
                next(sources[k])
            seconds[k, :, number] = np.array([time.perf_counter(), time.process_time()]) - start
    print(file=sys.stderr)
    return seconds


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


def from_store(store: dtm.LabelStore, batch: Batch) -> np.ndarray:
    maps = dtm.crop_maps(store.maps(batch.indices), batch.boxes, batch.flips, GRID)
    return dtm.soft_targets(dtm.scored(batch.plan, maps), batch.labels, CLASSES, SMOOTHING)


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"\n{time.perf_counter() - start:.0f} s in all; load {os.getloadavg()[0]:.2f}")
