"""What a teacher's labels cost: milliseconds a batch, images a second of a Loader, bytes on disk, read and sent.

Store: look maps up, cut them to crops and flips, score a TokenMix plan, make dense targets; on a CPU on one thread.
Against it torch, from 18 x 18 cells of five logits and class ids each, in memory: "dense" as the released TokenMix code
does it (all classes get a plane, roi_align cuts them all, one is kept; here the whole batch at once), "one plane" with
the plane of the image's class alone. Online: the same targets by a small teacher on clean images, beside its features
alone and beside the maps of all classes. Loader: supervision="tokenmix" from a store against "imagenet" on the same
photographs. What is compared takes turns. `python benchmarks/labels.py --help`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dense_labels import Batch, dense, dense_relabel, one_plane
from gpu.place import Cpu, Gpu, interleaved
from label_costs.loader import loaders
from label_costs.paths import AtDevice, OnHost, Online
from label_costs.sizes import sizes
from results import Results, check_device, common_options, positive, say
from stores import names_only, write_store
from timing import describe_machine, spread, verdict

import dali_tokenmix as dtm

STORES = {"7 x 7 uint8": (7, "uint8"), "18 x 18 uint8": (18, "uint8"), "18 x 18 float16": (18, "float16")}
LARGEST = "18 x 18 float16"
COPIES = 4  # of a batch, taken in turn
MOST_MS, LEAST_RATIO = 2, 100  # of a batch of 128 from a store, and of the dense way by it


def main() -> None:
    options = arguments()
    results, place = Results("labels", options.device), Gpu() if options.device == "gpu" else Cpu()
    threads = torch.get_num_threads()
    print(f"{describe_machine()}; {options.device}\ntorch on {threads} threads; load {os.getloadavg()[0]:.2f}\n")
    with tempfile.TemporaryDirectory() as folder:
        measured(Path(folder), place, options, results)
    if options.quick:
        print("  not judged but for sizes: the targets are for the default sizes, not for --quick")
    say(f"{len(results.rows)} rows in {results.write(options.results)}; load {os.getloadavg()[0]:.2f}")


def measured(folder: Path, place: Cpu, options: argparse.Namespace, results: Results) -> None:
    """Prints the tables of the sections asked for, and adds their rows."""
    say(f"writing stores of {options.samples} maps")
    data = names_only(folder, options.samples)
    stores = {name: write_store(folder / name, data, *kind) for name, kind in STORES.items()}
    ours: OnHost | AtDevice = OnHost() if place.device == "cpu" else AtDevice(place)
    if "batches" in options.only:
        store_path(stores, ours, place, options, results)
        label_maps(stores[LARGEST], ours, place, options, results)
        online(stores[LARGEST], place, options, results)
    if "loader" in options.only:
        loaders(folder, STORES[LARGEST], place, options, results)
    if "sizes" in options.only:
        sizes(stores, folder, results)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_options(parser)
    sections = ("batches", "loader", "sizes")
    parser.add_argument("--only", nargs="+", choices=sections, default=sections, help="(default: all)")
    parser.add_argument("--batch-size", type=positive, help="of the paths (default: 128; quick: 8)")
    parser.add_argument("--samples", type=positive, help="in a store (default: 4096; quick: 64)")
    parser.add_argument("--rounds", type=positive, help="of the paths (default: 20; quick: 2)")
    parser.add_argument("--loader-rounds", type=positive, help="of the Loader (default: 24; quick: 2)")
    parser.add_argument("--workers", type=positive, default=len(os.sched_getaffinity(0)), help="threads of a Loader")
    options = parser.parse_args()
    check_device(parser, options)
    usual = {"batch_size": (128, 8), "samples": (4096, 64), "rounds": (20, 2), "loader_rounds": (24, 2)}
    for name, (whole, quick) in usual.items():
        setattr(options, name, getattr(options, name) or (quick if options.quick else whole))
    if options.samples < options.batch_size:
        parser.error(f"--samples must be at least --batch-size, {options.batch_size}, got {options.samples}")
    options.loader_batch, options.photographs = (8, 32) if options.quick else (64, 512)
    return options


def store_path(
    stores: dict[str, dtm.LabelStore], ours: Any, place: Cpu, options: argparse.Namespace, results: Results
) -> None:
    """Prints the milliseconds of a batch, of each store and of torch."""
    say("checking that store, one plane and dense give the same targets")
    batches = {name: of_store(store, place, options) for name, store in stores.items()}
    for name, store in stores.items():
        for batch in batches[name]:
            found = place.get(ours.from_store(store, batch))
            for other in (one_plane(batch), dense(batch)):
                np.testing.assert_allclose(found, other.cpu(), rtol=0, atol=1e-5)
    say("timing store, one plane and dense")
    print(f"{f'ms, batch of {options.batch_size}':17}", end="")
    print(f"{'store':>20}{'one plane':>20}{'dense':>26}{'dense / store':>24}", flush=True)
    for name, store in stores.items():
        work = {
            "one plane": lambda call: one_plane(batches[LARGEST][call % COPIES]),
            "dense": lambda call: dense(batches[LARGEST][call % COPIES]),
            "store": lambda call, name=name, store=store: ours.from_store(store, batches[name][call % COPIES]),
        }
        seconds = interleaved(place.measure, work, options.rounds)
        line(f"tokenmix, {name}", seconds, "store", options, results)
        if not options.quick:
            middle, ratio = 1e3 * np.median(seconds["store"]), np.median(seconds["dense"] / seconds["store"])
            verdict(f"{middle:.2f} ms <= {MOST_MS}", bool(middle <= MOST_MS))
            verdict(f"dense / store {ratio:.0f} >= {LEAST_RATIO}", bool(ratio >= LEAST_RATIO))


def label_maps(store: dtm.LabelStore, ours: Any, place: Cpu, options: argparse.Namespace, results: Results) -> None:
    """Prints the milliseconds of relabel and tokenlabeling, from top-5 label maps in memory."""
    batches = of_store(store, place, options)
    for name, tokens in (("relabel", False), ("tokenlabeling", True)):
        say(f"{name}: checking, timing")
        check_label_maps([place.get(part) for part in ours.by_labels(batches[0], tokens)], batches[0], tokens)
        work = {
            "dense": lambda call, tokens=tokens: dense_relabel(batches[call % COPIES], tokens),
            "ours": lambda call, tokens=tokens: ours.by_labels(batches[call % COPIES], tokens),
        }
        seconds = interleaved(place.measure, work, max(3, options.rounds // 4))
        line(name, seconds, "ours", options, results)


def check_label_maps(found: list[np.ndarray], batch: Batch, tokens: bool) -> None:
    """Raises AssertionError unless our targets are the dense ones, to the rounding of scores in float16."""
    targets, *of_tokens = dense_relabel(batch, tokens)
    np.testing.assert_allclose(found[0], targets.cpu(), rtol=0, atol=1e-4)
    if tokens:
        ids = torch.from_numpy(found[1]).long()
        np.testing.assert_allclose(found[2], of_tokens[0].cpu().gather(2, ids), rtol=0, atol=1e-4)


def online(store: dtm.LabelStore, place: Cpu, options: argparse.Namespace, results: Results) -> None:
    """Prints the milliseconds of a batch from clean images to targets, beside those of the teacher's features alone."""
    say("online: checking, timing")
    ways = Online(place, of_store(store, place, options), options.batch_size)
    np.testing.assert_allclose(place.get(ways.ours(0)), ways.dense(0).cpu(), rtol=0, atol=1e-5)
    seconds = interleaved(place.measure, ways.work(), max(3, options.rounds // 2))
    print(f"\n{f'online, ms, batch of {options.batch_size}':38}{'features alone':>24}{'ours':>24}{'dense':>24}")
    cells = "".join(f"{spread(1e3 * seconds[way], digits=1):>24}" for way in ("features", "ours", "dense"))
    print(f"{ways.teacher.name:38}{cells}", flush=True)
    for way, found in seconds.items():
        results.add("online", f"time, {way}", "ms", 1e3 * found, batch=options.batch_size)
    for way in ("ours", "dense"):
        results.add("online", f"beyond features, {way}", "ms", 1e3 * (seconds[way] - seconds["features"]))


def of_store(store: dtm.LabelStore, place: Cpu, options: argparse.Namespace) -> list[Batch]:
    return [Batch.of(store, options.batch_size, k).to(place.torch_device) for k in range(COPIES)]


def line(name: str, seconds: dict[str, np.ndarray], ours: str, options: argparse.Namespace, results: Results) -> None:
    """Ours, one plane where it was timed, dense, and how many times ours that takes."""
    ratio = seconds["dense"] / seconds[ours]
    plane = spread(1e3 * seconds["one plane"]) if "one plane" in seconds else ""
    print(f"{name.removeprefix('tokenmix, '):17}{spread(1e3 * seconds[ours]):>20}{plane:>20}", end="")
    print(f"{spread(1e3 * seconds['dense'], digits=1):>26}{spread(ratio, 1, 0):>24}", flush=True)
    for way, found in seconds.items():
        results.add(name, f"time, {'ours' if way == ours else way}", "ms", 1e3 * found, batch=options.batch_size)
    results.add(name, "dense / ours", "x", ratio, batch=options.batch_size)


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    say(f"{time.perf_counter() - start:.0f} s in all")
