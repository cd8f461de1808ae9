"""A whole batch mixed, by us and by others: mask, box or weight drawn, pixels mixed, dense targets of 1000 classes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dense_labels import CLASSES, GRID, SMOOTHING, Batch, dense
from gpu.cases import copy_buffers
from gpu.images import noise
from gpu.place import Cpu, interleaved
from results import say
from stores import names_only, write_store
from traffic import Shapes

import dali_tokenmix as dtm

from .contenders import WITH_MAPS, Way, all_ways
from .each import COPIES, Work

MAP_SIDE = 18
REST = 0.006  # seconds
DRAWS = 10  # to see whether a way mixes: a weight or a box may be next to nothing


@dataclass(frozen=True)
class Found:
    """Seconds of a batch by way, and why a way was refused. copy: of np.copyto of the float32 batch."""

    seconds: dict[Way, np.ndarray]
    refused: dict[Way, str]
    copy: np.ndarray


def whole_mixing(place: Cpu, shapes: Shapes, rounds: int) -> Found:
    """Checks every way, then times them in turns. Raises AssertionError where pixels and targets disagree."""
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "maps", names_only(Path(folder), 4 * shapes.batch), MAP_SIDE, "float16")
        labelled = [Batch.of(store, shapes.batch, k).to(place.torch_device) for k in range(COPIES)]
    agree(labelled[0])
    refused, ways_to_mix = {}, []
    for way in all_ways(place, shapes, labelled):
        say(f"{way.name}: checking")
        if reason := refusal(way, place, shapes):
            refused[way] = reason
        else:
            ways_to_mix.append(way)
    say("mixing whole batches: timing")
    batches: dict[Any, list[Any]] = {}
    for way in ways_to_mix:
        if way.form not in batches:
            batches[way.form] = [as_batch(noise(shapes), way, place) for _ in range(COPIES)]
    work: Work = {way.name: mixed(way, batches[way.form]) for way in ways_to_mix}
    buffers = copy_buffers(place, 2 * int(shapes.batch * shapes.image("float32")), COPIES)
    work["copy"] = lambda call: place.copy(*buffers[call % COPIES])
    seconds = interleaved(rested(place), work, rounds)
    return Found({way: seconds[way.name] for way in ways_to_mix}, refused, seconds["copy"])


def rested(place: Cpu) -> Callable[..., float]:
    """place.measure; on a CPU after a while in which torch's threads, if they have just worked, stop spinning."""
    if place.device == "gpu":
        return place.measure

    def measure(function: Callable[[int], object], call: int, repeat: int = 1) -> float:
        time.sleep(REST)
        return place.measure(function, call, repeat)

    return measure


def mixed(way: Way, batches: list[Any]) -> Callable[[int], object]:
    return lambda call: way.mix(batches[call % COPIES], call)


def as_batch(images: np.ndarray, way: Way, place: Cpu) -> Any:
    """(N, H, W, C) uint8 as the way wants its batch, where the place is."""
    images = np.array(images if way.layout == "NHWC" else images.transpose(0, 3, 1, 2), way.dtype, order="C")
    return place.put(images) if way.ours else torch.from_numpy(images).to(place.torch_device)


def as_numpy(array: Any, place: Cpu) -> np.ndarray:
    return array.cpu().numpy() if isinstance(array, torch.Tensor) else place.get(array)


def refusal(way: Way, place: Cpu, shapes: Shapes) -> str | None:
    """What the way says if it does not take such a batch, else None: its results are then as its targets say.

    Raises AssertionError where they are not, or nothing is mixed however often it is drawn.
    """
    try:
        assert any(mixes(way, place, shapes, call) for call in range(DRAWS)), f"{way.name} mixes nothing"
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None


def mixes(way: Way, place: Cpu, shapes: Shapes, call: int) -> bool:
    """Whether anything was mixed. Raises AssertionError where pixels and targets disagree.

    The sample of class c has the value 2 c everywhere. A mixed image's mean is then that of its target, in which
    smoothing is undone; the targets of label maps are another matter, see agree().
    """
    values = np.zeros(CLASSES)
    values[: shapes.batch] = 2 * (np.arange(shapes.batch) % 128)
    flat = np.broadcast_to(values[: shapes.batch, None, None, None], noise(shapes).shape)
    images, targets = way.mix(as_batch(flat, way, place), call)
    shown = as_numpy(images, place).reshape(shapes.batch, -1).mean(1, dtype=np.float64)
    targets = as_numpy(targets, place).astype(np.float64)
    assert np.isfinite(targets).all()
    assert targets.shape == (shapes.batch, CLASSES), f"{way.name}: targets are {targets.shape}"
    if way.what != WITH_MAPS:
        told = (targets - way.smoothing / CLASSES) @ values / (1 - way.smoothing)
        off = np.abs(told - shown).max()
        assert off < (0.51 if way.dtype == "uint8" else 0.02), f"{way.name}: targets are off the pixels by {off:.3f}"
    return bool(np.abs(shown - values[: shapes.batch]).max() > 0.5)


def agree(batch: Batch) -> None:
    """Raises AssertionError unless our targets of label maps are the dense ones."""
    maps = dtm.crop_maps(batch.scores[:, 0].cpu().numpy(), batch.boxes, batch.flips, GRID)
    ours = dtm.soft_targets(dtm.scored(batch.plan, maps), batch.labels, CLASSES, SMOOTHING)
    np.testing.assert_allclose(ours, dense(batch).cpu().numpy(), rtol=0, atol=1e-5)
