"""Images that a list names: a text file of "path label" lines, or a list in Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .labels import class_ids, given_labels, numbered
from .samples import Files, is_url


@dataclass(frozen=True, eq=False)
class FileList:
    """Images by a list of their paths, in its order.

    Args:
        listed: a text file with a line "path label" for each image, as DALI's file_list, Caffe and timm have it (what
            follows the last blank is the label, so paths may have blanks; empty lines are none); or a list of (path,
            label); or, with labels=, a list of paths.
        root: the folder that relative paths are in. None: for a text file the folder it lies in, as in DALI, for a
            list the current one.
        labels: instead of the list's own, one for each image in its order: class ids (N,), or rows (N, C) of numbers
            >= 0 (soft or multi-hot), as a NumPy array or an .npy file. Lines of the text file need no label then.
        classes: names of the classes, where there are any: labels are then their positions, or the names themselves.
            None: classes are called by their number, from 0 to the largest.

    A path may be a URL of a kind that DALI reads, such as s3://bucket/photo.jpg.

    Only the first path is looked for beforehand; another file that is missing is named when it is met.
    Errors, of scan() and so of Loader: ValueError or TypeError that names the line, the path or the label.
    """

    listed: str | os.PathLike[str] | Sequence[Any]
    root: str | os.PathLike[str] | None = None
    labels: Any = None
    classes: Sequence[str] | None = None

    def scan(self, *, skip: bool = False) -> Files:
        """The list's images and labels. skip makes no difference: what cannot be read is found by reading it."""
        is_file = isinstance(self.listed, str | os.PathLike)
        where = Path(self.listed).absolute() if is_file else "the list"  # type: ignore[arg-type]
        root = Path(self.root if self.root is not None else where.parent if isinstance(where, Path) else ".").absolute()
        if isinstance(where, Path):
            pairs = _lines(where, labels_given=self.labels is not None)
        else:
            pairs = [_pair(entry, k, self.labels is not None) for k, entry in enumerate(_entries(self.listed))]
        if not pairs:
            raise ValueError(f"{where} lists no image")
        files = tuple(path for path, _ in pairs)
        if self.classes is not None:
            _check_names(self.classes)
        if self.labels is not None:
            labels = given_labels(self.labels, len(files), where)
        else:
            labels = _ids([label for _, label in pairs], files, self.classes, where)
        if (
            not is_url(files[0]) and not (root / files[0]).exists()
        ):  # later: where lines are of another form, paths are too
            raise ValueError(
                f"{where} lists {files[0]}, and there is no {root / files[0]}: root= is the folder it is in"
            )
        classes = numbered(labels) if self.classes is None else _names(self.classes, labels)
        return Files(root, classes, files, labels, {})


def _entries(listed: Any) -> Sequence[Any]:
    if isinstance(listed, Sequence) and not isinstance(listed, bytes):
        return listed
    raise TypeError(f"FileList takes a text file or a list of (path, label), got {listed!r:.80}")


def _lines(file: Path, *, labels_given: bool) -> list[tuple[str, Any]]:
    """(path, label) of each line."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"{file} cannot be read as a file list: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text file of 'path label' lines: {error}") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        path, _, label = line.strip().rpartition(" ") if "\t" not in line else line.strip().rpartition("\t")
        if not line.strip():
            continue
        if labels_given and not label.isdecimal():
            path, label = line.strip(), ""
        if not path.strip():
            raise ValueError(f"{file}, line {number}: must be 'path label', got {line!r:.200}: or pass labels=")
        pairs.append((path.strip(), label))
    return pairs


def _pair(entry: Any, k: int, labels_given: bool) -> tuple[str, Any]:
    path, label = (entry, None) if isinstance(entry, str | os.PathLike) else (None, None)
    if isinstance(entry, tuple | list) and len(entry) == 2:
        path, label = entry
    if not isinstance(path, str | os.PathLike) or (label is None and not labels_given):
        wanted = "a path" if labels_given else "(path, label), or pass labels="
        raise TypeError(f"entry {k} of the list must be {wanted}, got {entry!r:.80}")
    return os.fspath(path), label


def _ids(labels: list[Any], files: tuple[str, ...], classes: Sequence[str] | None, where: Any) -> np.ndarray:
    """(N,) int32 of labels that are numbers, text of numbers, or names of classes."""
    known = {name: k for k, name in enumerate(classes or ())}
    ids = np.zeros(len(labels), np.int64)
    for k, label in enumerate(labels):
        if label in known:
            ids[k] = known[label]
        elif _whole(label):
            ids[k] = int(label)
        else:
            fix = (
                "classes= says which names there are, and lines are 'path label'"
                if classes is None
                else "one of classes, or its position"
            )
            raise ValueError(f"{where}: the label of {files[k]} must be a whole number, got {label!r:.80}: {fix}")
    return class_ids(f"labels of {where}", ids, classes, files.__getitem__)


def _whole(label: Any) -> bool:
    if isinstance(label, str):
        return label.removeprefix("-").isdecimal()
    return isinstance(label, int | np.integer) and not isinstance(label, bool)


def _check_names(classes: Any) -> None:
    is_list = isinstance(classes, Sequence) and not isinstance(classes, str | bytes)
    if not is_list or not all(isinstance(name, str) for name in classes) or len(set(classes)) < len(classes):
        raise ValueError(f"classes must be a list of names, each once, got {classes!r:.80}")


def _names(classes: Sequence[str], labels: np.ndarray) -> tuple[str, ...]:
    needed = len(numbered(labels))
    if len(classes) < needed or (labels.ndim == 2 and len(classes) != needed):
        raise ValueError(f"classes must be names of all {needed} classes that the labels have, got {len(classes)}")
    return tuple(classes)
