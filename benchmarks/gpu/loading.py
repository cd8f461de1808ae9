"""The Loader: images a second against torchvision's, and the fallback operator's batches against the usual one's."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from throughput import check, make_photographs, measure, ours, torchvision_loader

import dali_tokenmix as dtm
from dali_tokenmix import op

from .place import Cpu, quantiles


def rows(place: Cpu, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a loader. Raises AssertionError unless both operators give the same batches."""
    asked = argparse.Namespace(
        device=place.device,
        batch_size=options.loader_batch,
        workers=options.workers,
        batches=options.batches,
        rounds=options.rounds,
    )
    with tempfile.TemporaryDirectory() as folder:
        root = make_photographs(Path(folder) / "photographs", options.photographs)
        same_batches(ours(root, dtm.TokenMix(), asked), fallen_back(ours(root, dtm.TokenMix(), asked)))
        sources = {
            "Loader, mixer=None": ours(root, None, asked),
            "Loader, TokenMix": ours(root, dtm.TokenMix(), asked),
            "Loader, TokenMix, fallback operator": fallen_back(ours(root, dtm.TokenMix(), asked)),
        }
        rates = measured(place, sources, asked)
        with contextlib.suppress(ModuleNotFoundError):
            import torchvision  # noqa: F401

            # on its own, and last: its workers go on reading ahead while others have their turn
            rates |= measured(place, {"torchvision, to the CPU": torchvision_loader(root, asked)}, asked)
        sources.clear()  # pipelines end before their files
    plain = np.median(rates["Loader, mixer=None"])
    return [
        {"loader": name, "images/s": quantiles(rate), "of mixer=None": float(np.median(rate) / plain)}
        for name, rate in rates.items()
    ]


def measured(place: Cpu, sources: dict[str, Iterator], asked: argparse.Namespace) -> dict[str, np.ndarray]:
    """Images a second of each, in turns."""
    waiting = {name: waited(place, source) for name, source in sources.items()}
    check(waiting)
    return measure(waiting, asked)


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
