"""Class folders on disk: root/<class>/**/<image>, in torchvision's ImageFolder order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .labels import given_labels, numbered
from .samples import Files

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".pnm", ".ppm", ".pgm", ".pbm")


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder with a folder of images for each class, in torchvision's order: what Loader(root) reads.

    Args:
        root: the folder. Classes are numbered in sorted order, and images are sorted within them.
        labels: instead of the class folders, one for each image in that order: class ids (N,), or rows (N, C) of
            numbers >= 0 (soft or multi-hot), as a NumPy array or an .npy file. Classes are then called by their number.

    Errors are those of dali_tokenmix.dataset.scan(), and ValueError or TypeError for labels that do not fit.
    """

    root: str | os.PathLike[str]
    labels: Any = None

    def scan(self, *, skip: bool = False) -> Files:
        """Finds the images. skip: leave out files that do not end like an image; otherwise they are an error."""
        found = scan(self.root, skip=skip)
        if self.labels is None:
            return found
        labels = given_labels(self.labels, len(found.files), found.root)
        return Files(found.root, numbered(labels), found.files, labels, found.skipped)


@dataclass(frozen=True)
class ImageFolder(Files):
    """files: paths relative to root, class by class, sorted. labels: (files,) int32, positions in classes.

    skipped: {relative path: reason} of files that were left out.
    """

    root: Path

    @cached_property
    def _fingerprint(self) -> str:  # of paths alone: they tell the labels
        return hashlib.sha256("\n".join(self.files).encode()).hexdigest()[:16]

    def without(self, unreadable: dict[str, str]) -> ImageFolder:
        """The same folder without some of its files (relative paths with reasons).

        Raises ValueError if a class is left without any.
        """
        keep = np.array([file not in unreadable for file in self.files])
        for label, name in enumerate(self.classes):
            if not (self.labels[keep] == label).any():
                raise ValueError(
                    f"class folder {os.path.join(self.root, name)} has no readable image: remove the folder"
                )
        return super().without(unreadable)


def scan(root: str | os.PathLike[str], *, skip: bool = False) -> ImageFolder:
    """Finds the images below root; hidden files and folders are none.

    skip: leave out files that do not end like an image, and list them in `skipped`; otherwise they are an error.

    Raises NotADirectoryError for a root that is none, ValueError for one without class folders, for an empty class
    folder, for an image outside of class folders and for a file that is not an image; each names the path.
    """
    if not isinstance(root, str | os.PathLike):
        raise TypeError(f"root must be a path, got {root!r}")
    root = Path(root).absolute()
    if not root.is_dir():
        raise NotADirectoryError(f"root must be a folder with a folder for each class, got {root}")
    entries = sorted((e for e in os.scandir(root) if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in entries:
        if not entry.is_dir() and is_image(entry.name):
            raise ValueError(f"images must be in class folders, got {entry.path} directly in root")
        if not entry.is_dir() and not entry.is_file():
            raise ValueError(f"{entry.path} is neither a folder nor a file: a broken link? Remove it")
    classes = tuple(entry.name for entry in entries if entry.is_dir())
    if not classes:
        raise ValueError(f"root must have a folder for each class, got none in {root}")
    files: list[str] = []
    labels: list[int] = []
    skipped: dict[str, str] = {}
    for label, name in enumerate(classes):
        found = sorted(_below(root, name))
        images = [file for file in found if is_image(file)]
        others = [file for file in found if not is_image(file)]
        if others and not skip:
            raise ValueError(f"{root / others[0]} does not end like an image: remove it, or pass on_error='skip'")
        if not images:
            raise ValueError(
                f"class folder {root / name} has no images (endings {', '.join(IMAGE_ENDINGS)}): remove the folder, "
                "which would count as a class"
            )
        skipped |= {file: "does not end like an image" for file in others}
        files += images
        labels += [label] * len(images)
    return ImageFolder(root, classes, tuple(files), np.array(labels, np.int32), skipped)


def is_image(name: str) -> bool:
    """Whether a file name ends like an image that DALI decodes."""
    return name.lower().endswith(IMAGE_ENDINGS)


def _below(root: Path, name: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths below root of the files in a class folder and in folders in it, sorted; links are followed."""
    folder = root / name
    here = os.path.realpath(folder)
    if here in above:
        raise ValueError(f"{folder} links to a folder that it lies in: remove the link")
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        inside = os.path.join(name, entry.name)
        if entry.is_dir():
            yield from _below(root, inside, (*above, here))
        elif entry.is_file():
            yield inside
        else:
            raise ValueError(f"{entry.path} is no file: a broken link, a pipe or a device; remove it")
