"""The Loader: images a second against torchvision's, and the fallback operator's batches against the usual one's."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from loaders.ours import batches
from loaders.task import Task
from photographs import make_photographs

import dali_tokenmix as dtm
from dali_tokenmix import op

from .place import Cpu, quantiles


def rows(place: Cpu, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a loader. Raises AssertionError unless both operators give the same batches."""
    with tempfile.TemporaryDirectory() as folder:
        root = make_photographs(Path(folder) / "photographs", options.photographs)
        task = Task(str(root), folder, options.loader_batch, options.workers, place.device)
        same_batches(batches(task, mixer=dtm.TokenMix()), fallen_back(batches(task, mixer=dtm.TokenMix())))
        sources = {
            "Loader, mixer=None": batches(task),
            "Loader, TokenMix": batches(task, mixer=dtm.TokenMix()),
            "Loader, TokenMix, fallback operator": fallen_back(batches(task, mixer=dtm.TokenMix())),
        }
        rates = measured(place, sources, task, options)
        with contextlib.suppress(ModuleNotFoundError):
            from loaders.torchvision_loaders import pil

            # on its own, and last: its workers go on reading ahead while others have their turn
            rates |= measured(place, {"torchvision": pil(task)}, task, options)
        sources.clear()  # pipelines end before their files
    plain = np.median(rates["Loader, mixer=None"])
    return [
        {"loader": name, "images/s": quantiles(rate), "of mixer=None": float(np.median(rate) / plain)}
        for name, rate in rates.items()
    ]


def measured(
    place: Cpu, sources: dict[str, Iterator], task: Task, options: argparse.Namespace
) -> dict[str, np.ndarray]:
    """Images a second of each, (rounds,), in turns. What was made ahead is used up before the clock starts."""
    waiting = {name: waited(place, source) for name, source in sources.items()}
    rates = {name: np.zeros(options.rounds) for name in sources}
    for name, source in waiting.items():
        check(name, next(source)[0])
    for number in range(options.rounds):
        print(f"\rround {number + 1} of {options.rounds}", end="", file=sys.stderr, flush=True)
        for name, source in waiting.items():
            for _ in range(2 * task.workers + 2):
                next(source)
            start = time.perf_counter()
            for _ in range(options.batches):
                next(source)
            rates[name][number] = options.batches * task.batch_size / (time.perf_counter() - start)
    print(file=sys.stderr)
    return rates


def check(name: str, images: torch.Tensor) -> None:
    """All make the same form, with the same brightness and contrast."""
    assert images.shape[1:] == (3, 224, 224), (name, images.shape)
    assert images.dtype == torch.float32, (name, images.dtype)
    assert abs(images.mean().item()) < 2, (name, images.mean())
    assert 0.3 < images.std().item() < 2, (name, images.std())


def fallen_back(source: Iterator) -> Iterator:
    """Batches made with the documented operator: a pipeline may be built in any of its turns."""
    while True:
        with mock.patch.dict(os.environ, {op.FALLBACK: "1"}):
            batch = next(source)
        yield batch


def waited(place: Cpu, source: Iterator) -> Iterator:
    """Batches that are there when they are counted."""
    for batch in source:
        place.wait()
        yield batch


def same_batches(usual: Iterator, fallback: Iterator, count: int = 3) -> None:
    for _ in range(count):
        for one, other in zip(next(usual), next(fallback), strict=True):
            assert torch.equal(one, other), "the fallback operator's batches differ from the usual one's"
