"""What the demo's second panel shows: a batch mixed by TokenMix, its labels scored by area and by a teacher's maps."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dataset import ImageFolder
from ..mixers import TokenMix
from .demo_data import Mix, best, crops, run_once, some_files
from .make_labels import add_teacher_arguments, read_classes

TEACHER = "efficientnet-lite0"
LOOKED_AT = 8  # images of a folder, at most, to find out which of the teacher's classes it is


@dataclass(frozen=True)
class Scores:
    """A batch: images (N, H, W, 3) uint8 before mixing, labels (N,) as positions in classes, and what became of it.

    mix: of TokenMix; its targets are those by content. by_area: (N, C) float32 targets of the same plan by area.
    maps: (N, h, w) float32 >= 0 of the images before mixing, each of its own class.
    teacher: its name, and known, its class of each of classes; None for both where the maps are a stand-in's.
    given: whether that is not a guess.
    """

    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    mix: Mix
    by_area: np.ndarray
    maps: np.ndarray
    teacher: str | None
    known: tuple[int, ...] | None
    given: bool


class StandIn:
    """In the place of a teacher, if the user says so: the contrast in each cell of a grid, whatever the class."""

    map_size = (7, 7)

    def attention(self, images: Any) -> Any:
        """The same, where a teacher's attention is asked for."""
        return self(images, None)

    def __call__(self, images: Any, labels: Any) -> Any:
        """(N, 7, 7) float32: the standard deviation of grey values, of (N, H, W, 3) uint8 tensors and any labels."""
        from torch.nn.functional import adaptive_avg_pool2d as mean

        grey = images.float().mean(3)[:, None]
        return (mean(grey**2, self.map_size) - mean(grey, self.map_size) ** 2).clamp(min=0).sqrt()[:, 0]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_teacher_arguments(parser, default=TEACHER)
    parser.add_argument(
        "--stand-in-maps",
        action="store_true",
        help="score labels by the contrast in the picture, without a teacher, and say so in the picture",
    )


def load(given: argparse.Namespace, device: str) -> Any:
    """The Teacher that is asked for, or a StandIn. Raises ImportError with the command that installs what is missing.

    Raises ValueError where both are asked for, and what Teacher.from_name raises.
    """
    if given.stand_in_maps:
        for name in ("teacher", "checkpoint", "num_classes", "classes"):
            if getattr(given, name):
                option = "--" + name.replace("_", "-")
                raise ValueError(f"--stand-in-maps is without a teacher: leave out {option} {getattr(given, name)}")
        return StandIn()
    from ..teacher import Teacher

    try:
        return Teacher.from_name(
            given.teacher or TEACHER,
            checkpoint=given.checkpoint,
            model_options={"num_classes": given.num_classes} if given.num_classes else {},
            device="cuda" if device == "gpu" else "cpu",
        )
    except ImportError as error:
        raise ImportError(f"{error}, or pass --stand-in-maps") from error


def score_samples(data: ImageFolder, teacher: Any, given: argparse.Namespace, device: str, threads: int) -> Scores:
    """Runs one batch through a DALI pipeline that mixes it with TokenMix and makes its targets by area and by content.

    Raises RuntimeError that names the file if one cannot be decoded, ValueError for --classes that do not fit.
    """
    from .. import decorators
    from ..fn import token_mix

    paths, chosen = some_files(data, given.seed)
    present = sorted(set(chosen))
    labels = [present.index(label) for label in chosen]
    known = None
    if not isinstance(teacher, StandIn):
        known = _classes_given(data, present, given)
        if known is None and teacher.num_classes == len(data.classes):
            known = tuple(present)  # one that was trained on these folders, as make-labels takes it
        known = known or _classes_seen(data, present, teacher, device, threads)
        teacher = _of_classes(teacher, known)
    mixer = TokenMix()
    options = {"num_classes": len(present), "mixer": mixer, "smoothing": 0.0, "seed": given.seed}
    maps: list[Any] = []

    def look(images: Any, labels: Any) -> Any:
        maps.append(teacher(images, labels))
        return maps[-1]

    @decorators.pipeline()
    def graph() -> tuple[Any, ...]:
        images, ids = crops(paths, labels, device, given.image_size)
        _, by_area = token_mix(images, ids, **options)
        scored: dict[str, Any] = {"supervision": "tokenmix", "teacher": look, "return_plan": True}
        mixed, by_content, plan = token_mix(images, ids, **options, **scored)  # the same seed: the same plan
        return images, by_area, mixed, by_content, plan["partner"], plan["mask"]

    once = _once(len(paths), device, threads)
    images, by_area, *mixed = run_once(graph(seed=given.seed, **once), paths, threads)
    return Scores(
        classes=tuple(data.classes[label] for label in present),
        images=images,
        labels=np.array(labels),
        mix=Mix(mixer.patch_size, *mixed),
        by_area=by_area,
        maps=maps[0].cpu().numpy(),
        teacher=None if known is None else teacher.name,
        known=known,
        given=bool(given.classes) or (known is not None and known == tuple(present)),
    )


def telling(scores: Scores, count: int = 3) -> list[int]:
    """Positions of `count` samples (fewer in a small batch) whose two targets differ the most, of different pairs."""
    differ = np.abs(scores.mix.targets - scores.by_area).sum(axis=1)
    return best(-differ, scores.mix.partner, scores.labels, count)


def in_words(scores: Scores) -> str:
    """Where the maps are from and which class of the teacher each class is, in one line."""
    h, w = scores.maps.shape[1:]
    if scores.known is None:
        return f"none: stand-in maps of {h} x {w}, the contrast in the picture"
    classes = ", ".join(f"{name} {number}" for name, number in zip(scores.classes, scores.known, strict=True))
    return f"{scores.teacher}, maps of {h} x {w}; classes: {classes}"


def _of_classes(teacher: Any, classes: Sequence[int]) -> Any:
    """The same teacher, of so many classes."""
    from ..teacher import Teacher

    return Teacher(teacher.model, image_size=teacher.image_size, classes=classes, name=teacher.name)


def _classes_given(data: ImageFolder, present: list[int], given: argparse.Namespace) -> tuple[int, ...] | None:
    if not given.classes:
        return None
    classes = read_classes(given.classes, data)
    return tuple(classes[label] for label in present)


def _classes_seen(data: ImageFolder, present: list[int], teacher: Any, device: str, threads: int) -> tuple[int, ...]:
    """For each folder that is present the teacher's class of the highest mean probability over some of its images."""
    from nvidia.dali import fn

    from .. import decorators
    from ..pipeline import LINEAR, whole_image

    files = [np.flatnonzero(data.labels == label)[:LOOKED_AT] for label in present]
    paths = [str(data.root / data.files[k]) for k in np.concatenate(files)]

    @decorators.pipeline()
    def graph() -> Any:
        jpegs, _ = fn.readers.file(files=paths)
        images = whole_image(jpegs, fn.peek_image_shape(jpegs), "mixed" if device == "gpu" else "cpu")
        return fn.resize(images, size=teacher.image_size, **LINEAR)

    pipeline, probable = graph(**_once(LOOKED_AT, device, threads)), []
    for _ in range(0, len(paths), LOOKED_AT):
        ids, logits = teacher.topk(run_once(pipeline, paths, threads)[0], teacher.num_classes)
        in_order = logits.gather(1, ids.long().argsort(1))  # (n, classes, h, w), whose mean is the logits
        probable.append(in_order.mean((2, 3)).softmax(1).cpu().numpy())
    ends = np.cumsum([len(some) for some in files])
    of_folder = np.split(np.concatenate(probable)[: len(paths)], ends[:-1])
    return tuple(int(some.mean(axis=0).argmax()) for some in of_folder)


def _once(batch_size: int, device: str, threads: int) -> dict[str, Any]:
    """Options of a pipeline that makes no batch ahead."""
    gpu = 0 if device == "gpu" else None
    return {"batch_size": batch_size, "num_threads": threads, "device_id": gpu, "prefetch_queue_depth": 1}
