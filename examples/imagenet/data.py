"""The two loaders: training with mixing, evaluation without."""

from __future__ import annotations

import argparse
import os
from typing import Any

from nvidia.dali.auto_aug import rand_augment, trivial_augment

import dali_tokenmix as dtm
from dali_tokenmix.commands.make_labels import read_classes
from dali_tokenmix.dataset import scan

from .processes import Processes

FILL = 124  # what geometric augmentations leave empty: the mean of ImageNet


def classes(given: argparse.Namespace) -> int:
    """How many class folders there are to train on."""
    for part in ("train", "val"):
        if not (given.root / part).is_dir():
            raise ValueError(
                f"--root must hold train/ and val/ with a folder for each class, there is no {given.root / part}"
            )
    return sum(folder.is_dir() for folder in (given.root / "train").iterdir() if not folder.name.startswith("."))


def loaders(given: argparse.Namespace, patch_size: int, here: Processes) -> tuple[dtm.Loader, dtm.Loader]:
    """(train, val): each process gets its shard, by rank, as many batches as the others in training."""
    common: dict[str, Any] = {
        "batch_size": given.batch_size,
        "device": "gpu" if here.device.type == "cuda" else "cpu",
        "seed": given.seed,
    }
    common |= {"num_threads": given.threads or max(1, len(os.sched_getaffinity(0)) // here.local_world)}
    train = dtm.Loader(
        given.root / "train",
        image_size=given.image_size[0],
        mixer=mixer(given.mixer, patch_size),
        smoothing=given.smoothing,
        augment=AUGMENTS[given.augment],
        repeats=given.repeats,
        schedule=lambda epoch: phase(given, epoch),
        supervision=given.supervision,
        teacher=teacher(given, here),
        label_maps=given.label_maps,
        **common,
    )
    # "partial": every image counts once, so shards and their last batches may differ in size
    val = dtm.Loader(given.root / "val", image_size=given.image_size[-1], train=False, last_batch="partial", **common)
    if train.classes != val.classes:
        differing = sorted(set(train.classes) ^ set(val.classes))
        raise ValueError(
            f"{given.root}/train and /val must hold the same class folders, only one of them has {differing}"
        )
    return train, val


def mixer(name: str, patch_size: int) -> Any:
    """The switch --mixer. TokenMix's tokens are the model's patches."""
    return {
        "mixup-tokenmix": dtm.Choice([dtm.MixUp(0.8), dtm.TokenMix(patch_size=patch_size)]),
        "mixup-cutmix": dtm.Choice([dtm.MixUp(0.8), dtm.CutMix(1.0)]),
        "tokenmix": dtm.TokenMix(patch_size=patch_size),
        "cutmix": dtm.CutMix(1.0),
        "mixup": dtm.MixUp(0.8),
        "none": None,
    }[name]


def phase(given: argparse.Namespace, epoch: int) -> dict[str, Any]:
    """Image size and mixing of an epoch: sizes share the epochs evenly, the last epochs may be without mixing."""
    number = min(epoch * len(given.image_size) // given.epochs, len(given.image_size) - 1)
    return {"image_size": given.image_size[number], "mixing": epoch < given.epochs - given.mixing_off_epochs}


def teacher(given: argparse.Namespace, here: Processes) -> dtm.Teacher | None:
    """The teacher that looks at every clean image on its way."""
    if given.teacher is None:
        return None
    return dtm.Teacher.from_name(
        given.teacher,
        checkpoint=given.teacher_checkpoint,
        device=here.device,
        autocast=None if given.amp == "none" else given.amp,
        classes=read_classes(given.teacher_classes, scan(given.root / "train")) if given.teacher_classes else None,
    )


def augmented_at_random(images: Any) -> Any:
    """RandAugment of DeiT: two augmentations an image, of magnitude 9 of 10."""
    return rand_augment.rand_augment(images, n=2, m=9, num_magnitude_bins=11, fill_value=FILL)


def augmented_once(images: Any) -> Any:
    return trivial_augment.trivial_augment_wide(images, fill_value=FILL)


AUGMENTS = {"rand-augment": augmented_at_random, "trivial-augment": augmented_once, "none": None}
