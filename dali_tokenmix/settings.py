"""The arguments of a Loader, checked, as the graph they describe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import checks, devices
from .checks import choice, integer, number
from .mixing import drawn
from .phases import Schedule
from .pipeline import DTYPES, Graph, batches
from .placing import needed
from .readable import readable
from .run import Run
from .sources.samples import Samples
from .sources.scanned import scanned
from .supervision import SUPERVISIONS, check_classes, check_labels, check_maps, check_mixer, check_source, check_store

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CHOICES = {
    "last_batch": ("drop", "partial", "fill"),
    "on_error": ("raise", "skip"),
    "dtype": tuple(DTYPES),
    "layout": ("NCHW", "NHWC"),
    "train": (True, False),
    "supervision": SUPERVISIONS,
}


RUN = ("seed", "num_threads", "prefetch", "schedule")  # what is no part of the graph


def graph(root: str | Path | None, *, source: Any, on_error: str, **arguments: Any) -> tuple[Graph, Samples]:
    """The graph and its data. Arguments as in Loader; raises ValueError or TypeError that names one."""
    given = {name: value for name, value in arguments.items() if name not in RUN}
    for name, allowed in CHOICES.items():
        choice(name, on_error if name == "on_error" else given[name], allowed)
    num_shards = integer("num_shards", given["num_shards"], at_least=1)
    if given["smoothing"] is None:
        given["smoothing"] = 0.1 if given["train"] else 0.0
    number("smoothing", given["smoothing"], at_least=0, at_most=1)
    if given["augment"] is not None and not callable(given["augment"]):
        raise TypeError(f"augment must be a function of a DALI node, got {given['augment']!r}")
    given["device"] = devices.resolve(given["device"], given["device_id"])
    given["mean"], given["std"] = _normalisation(given["mean"], given["std"], given["dtype"])
    given["batch_size"] = integer("batch_size", given["batch_size"], at_least=1)
    given["shard_id"] = integer("shard_id", given["shard_id"], at_least=0, at_most=num_shards - 1)
    given["image_size"] = checks.image_size(given["image_size"])
    given["repeats"] = integer("repeats", given["repeats"], at_least=1)
    _check_repeats(given["repeats"], given["batch_size"], given["train"], given["last_batch"])
    _check_mixer(given["mixer"], given["train"], given["batch_size"], given["image_size"])
    data = _data(root, source, on_error)
    given["num_classes"] = _num_classes(given["num_classes"], data)
    supervision, store = given["supervision"], given["label_maps"]
    check_source(supervision, given["teacher"], store, attention="attention" in needed(given["mixer"]))
    check_mixer(supervision, given["mixer"])
    check_labels(supervision, data.labels)
    _check_use(supervision, given["train"], given["mixer"])
    if isinstance(store, str | Path):
        from .label_store import LabelStore

        given["label_maps"] = store = LabelStore.open(store, expect=data)
    check_maps(supervision, store)
    if hasattr(store, "check_data"):
        store.check_data(data)
    check_store(supervision, store)
    check_classes(supervision, given["teacher"], given["num_classes"], len(data.classes))
    described = Graph(samples=data, **given)
    if num_shards > len(data.files):
        raise ValueError(f"num_shards must be at most the {len(data.files)} images of {data.root}, got {num_shards}")
    if batches(len(data.files), described) == 0:
        raise ValueError(
            f"batch_size must be at most a shard's {len(data.files) // num_shards} samples with last_batch='drop', "
            f"which leaves nothing else, got {given['batch_size']}: use 'partial' or 'fill', or a smaller batch"
        )
    return described, data


def run(graph: Graph, *, seed: int, num_threads: int | None, prefetch: int, schedule: Schedule | None) -> Run:
    """A run through the graph, from its first batch. Arguments as in Loader, checked."""
    if schedule is not None and not callable(schedule):
        raise TypeError(f"schedule must be a function of the epoch's number, got {schedule!r}")
    return Run(
        graph,
        seed=integer("seed", seed, at_least=0, at_most=2**63 - 1),
        threads=threads(num_threads),
        depth=integer("prefetch", prefetch, at_least=1, at_most=64),
        schedule=schedule,
    )


def threads(num_threads: int | None) -> int:
    """CPU threads to use; None: all CPUs of this process."""
    if num_threads is None:
        return len(os.sched_getaffinity(0))
    return integer("num_threads", num_threads, at_least=1, at_most=1024)


def _data(root: str | Path | None, source: Any, on_error: str) -> Samples:
    if (root is None) == (source is None):
        raise TypeError(
            "Loader takes either root, a folder with a folder of images for each class, or source=, one of "
            f"dtm.sources, got {'neither' if root is None else 'both'}"
        )
    if root is not None and not isinstance(root, str | os.PathLike):
        raise TypeError(f"root must be a path, got {root!r:.80}: pass source= for anything but class folders")
    data = scanned(root if source is None else source, skip=on_error == "skip")
    return readable(data, num_threads=threads(None)) if on_error == "skip" else data


def _num_classes(num_classes: int | None, data: Samples) -> int:
    if num_classes is None:
        return len(data.classes)
    if data.labels.ndim == 2 and integer("num_classes", num_classes, at_least=1) != data.labels.shape[1]:
        raise ValueError(
            f"num_classes must be the {data.labels.shape[1]} columns of the labels of {data.root}, got {num_classes}"
        )
    if integer("num_classes", num_classes, at_least=1) < len(data.classes):
        raise ValueError(
            f"num_classes must be at least the {len(data.classes)} classes of {data.root}, got {num_classes}"
        )
    return num_classes


def _normalisation(mean: Any, std: Any, dtype: str) -> tuple[Any, Any]:
    if dtype == "uint8":
        if (mean, std) not in ((None, None), (IMAGENET_MEAN, IMAGENET_STD)):
            raise ValueError(
                f"dtype='uint8' yields pixels as they are: mean and std must be None, got {mean} and {std}; or "
                "pass dtype='float32'"
            )
        return None, None
    for name, values in (("mean", mean), ("std", std)):
        if not isinstance(values, tuple | list) or len(values) != 3:
            raise ValueError(
                f"{name} must be 3 numbers, one a channel, got {values!r}: leave it out for ImageNet's, or pass "
                "dtype='uint8' for pixels as they are"
            )
        for value in values:
            number(name, value, **({"above": 0} if name == "std" else {}))
        if name == "mean" and max(values) > 1:
            raise ValueError(f"mean is of values in [0, 1], got {values!r}: divide mean and std by 255")
    return tuple(mean), tuple(std)


def _check_use(supervision: str, train: bool, mixer: Any) -> None:
    if supervision != "imagenet" and not train:
        raise ValueError(
            f"supervision must be 'imagenet' with train=False, got {supervision!r}: evaluation has true labels"
        )
    if supervision == "tokenmix" and mixer is None:
        raise ValueError("supervision='tokenmix' weighs mixed labels, and mixer is None: pass a mixer, or 'imagenet'")


def _check_repeats(repeats: int, batch_size: int, train: bool, last_batch: str) -> None:
    if repeats == 1:
        return
    if not train or last_batch != "drop":
        raise ValueError(
            f"repeats is for training with last_batch='drop', got repeats={repeats} with train={train} and "
            f"last_batch={last_batch!r}"
        )
    if batch_size % repeats:
        raise ValueError(f"batch_size must divide by repeats, got {batch_size} and repeats={repeats}")


def _check_mixer(mixer: Any, train: bool, batch_size: int, image_size: tuple[int, int]) -> None:
    if mixer is None:
        return
    checks.mixer("mixer", mixer)
    if not train:
        raise ValueError(f"mixer must be None with train=False, got {mixer!r}: evaluation does not mix")
    drawn(mixer, batch_size, image_size)  # one that cannot fit the image says so now
