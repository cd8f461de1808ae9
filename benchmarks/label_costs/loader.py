"""A Loader with labels from a store against one without, on the same photographs."""

from __future__ import annotations

import argparse
import sys
import time
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import torch
from gpu.place import Cpu
from photographs import make_photographs
from results import Results, say
from stores import write_store
from timing import spread, turns, verdict

import dali_tokenmix as dtm
from dali_tokenmix.dataset import scan

WARM_UP, TURN = 4, 8  # batches of a Loader's turn: more than it makes ahead, then by the clock
LEAST = 0.97  # of the images a second that labels by area give


def loaders(folder: Path, kind: tuple[int, str], place: Cpu, options: argparse.Namespace, results: Results) -> None:
    """Prints images a second, and CPU time, with labels by area and with labels from a store."""
    say("making photographs; checking that both loaders give the same images")
    root = make_photographs(folder / "photographs", options.photographs)
    store = write_store(folder / "labels", scan(root), *kind)
    common = {"batch_size": options.loader_batch, "mixer": dtm.TokenMix(), "num_threads": options.workers}
    common["device"] = options.device
    both = {
        "imagenet": dtm.Loader(root, supervision="imagenet", **common),
        "tokenmix": dtm.Loader(root, supervision="tokenmix", label_maps=store, **common),
    }
    (images, by_area), (same, by_map) = (next(iter(loader)) for loader in both.values())
    assert torch.equal(images, same)
    assert ((by_map >= 0) & by_map.isfinite()).all()
    assert not torch.allclose(by_area, by_map, atol=1e-3)
    seconds = of_turns(both, place, options.loader_rounds)
    count, told = TURN * options.loader_batch, {"batch": options.loader_batch, "threads": options.workers}
    print()
    for name, (wall, cpu) in seconds.items():
        print(f"Loader, {name}  {spread(count / wall, digits=0)} images/s, ", end="")
        print(f"{spread(cpu / count, 1e3, 3)} ms of CPU an image")
        results.add(f"Loader, {name}", "images/s", "images/s", count / wall, **told)
        results.add(f"Loader, {name}", "CPU ms an image", "ms", 1e3 * cpu / count, **told)
    faster, cheaper = seconds["imagenet"] / seconds["tokenmix"]
    print(f"tokenmix / imagenet, by round  {spread(faster, 1, 3)}, by CPU time  {spread(cheaper, 1, 3)}")
    results.add("Loader, tokenmix", "images/s by labels by area", "x", faster, **told)
    if not options.quick:
        verdict(f"tokenmix / imagenet {np.median(faster):.3f} >= {LEAST}", bool(np.median(faster) >= LEAST))


def of_turns(loaders: dict[str, dtm.Loader], place: Cpu, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of TURN batches by the clock and of CPU time, (2, rounds) for each loader.

    Every turn has a new pipeline: where in memory one happens to lie is worth some per cent.
    """
    seconds = {name: np.zeros((2, rounds)) for name in loaders}
    sources = {name: chain.from_iterable(repeat(loader)) for name, loader in loaders.items()}  # epoch after epoch
    for number, name in turns(loaders, rounds):
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        loaders[name].close()
        for _ in range(WARM_UP):
            next(sources[name])
        place.wait()
        start = np.array([time.perf_counter(), time.process_time()])
        for _ in range(TURN):
            next(sources[name])
        place.wait()
        if number >= 0:
            seconds[name][:, number] = np.array([time.perf_counter(), time.process_time()]) - start
    print(file=sys.stderr)
    return seconds
