"""What a source was found to hold. Everything that belongs to a sample is looked up by its index."""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Self = TypeVar("Self", bound="Samples")


@dataclass(frozen=True)
class Samples(ABC):
    """The samples of a source, in its order.

    root: where they are, for messages. classes: their names. files: a name for each sample. labels: (files,) int32
    positions in classes, or (files, classes) rows >= 0 of any dtype. skipped: {name: reason} of what was left out.
    """

    root: Path | str
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: np.ndarray
    skipped: dict[str, str]

    @abstractmethod
    def name(self, index: int) -> str:
        """Where a sample is, as errors say it, DALI's own among them."""

    @abstractmethod
    def encoded(self, index: int) -> np.ndarray:
        """(bytes,) uint8, the image as it is stored. Raises OSError."""

    @abstractmethod
    def index_of(self, text: str) -> int | None:
        """Which sample a message of DALI's names, if it names one."""

    @abstractmethod
    def read(self, *, shuffle: int | None, shard_id: int = 0, num_shards: int = 1) -> tuple[Any, Any]:
        """DALI nodes of the encoded images and of their indices, one whole number a sample, on the CPU.

        shuffle: a seed, equal on all shards; None: in order. Every epoch is padded to whole batches with its last
        sample. Shards are disjoint in each epoch; without a shuffle a shard has the same samples in each.
        """

    def local(self) -> bool:
        """Whether encoded() can read: not what lies behind a URL, which only DALI's readers do."""
        return True

    def chosen(self: Self, which: np.ndarray) -> Self:
        """Some of the samples, by their indices (or a mask)."""
        where = np.arange(len(self.files))[which]
        return replace(self, files=tuple(self.files[k] for k in where), labels=self.labels[where])

    def without(self: Self, unreadable: dict[str, str]) -> Self:
        """The same source without some of its samples, {name: reason}. Raises ValueError if none is left."""
        rest = self.chosen(np.array([file not in unreadable for file in self.files]))
        if not rest.files:
            raise ValueError(f"{self.root} has no readable image")
        return replace(rest, skipped=self.skipped | unreadable)

    def fingerprint(self) -> str:
        """Changes with any name and label, their order and their count."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        known = hashlib.sha256("\n".join(self.files).encode())
        known.update(f"\n{self.labels.dtype} {self.labels.shape}".encode())
        for start in range(0, len(self.labels), CHUNK):  # labels may be a memory map
            known.update(np.ascontiguousarray(self.labels[start : start + CHUNK]).data)
        return known.hexdigest()[:16]


CHUNK = 4096
SCHEMES = ("s3", "gs")
SCHEME = re.compile("[A-Za-z][A-Za-z0-9+.-]*")


@dataclass(frozen=True)
class Files(Samples):
    """Samples that are a file each, files being paths below root, or absolute ones, or URLs."""

    def paths(self) -> list[str]:
        """Absolute paths of the files, URLs as they are."""
        return [self.name(k) for k in range(len(self.files))]

    def name(self, index: int) -> str:
        file = self.files[index]
        return file if is_url(file) else os.path.join(self.root, file)

    def encoded(self, index: int) -> np.ndarray:
        return np.fromfile(self.name(index), np.uint8)

    def index_of(self, text: str) -> int | None:
        inside = ((len(path), k) for k, path in enumerate(self.paths()) if path in text)
        found = max(inside, default=None)  # the longest: a.jpg is in a.jpg.jpg
        return None if found is None else found[1]

    def read(self, *, shuffle: int | None, shard_id: int = 0, num_shards: int = 1) -> tuple[Any, Any]:
        from .readers import read_files

        return read_files(self.paths(), shuffle=shuffle, shard_id=shard_id, num_shards=num_shards)

    def local(self) -> bool:
        return not any(map(is_url, self.files))


def is_url(path: str) -> bool:
    """Whether a path is a URL, s3://bucket/... or gs://bucket/... Raises ValueError for one that DALI does not read."""
    scheme, colon, _ = path.partition("://")
    if colon and scheme not in SCHEMES and SCHEME.fullmatch(scheme):
        raise ValueError(f"DALI reads files, s3:// and gs:// (Google Cloud Storage), not {scheme}://, got {path}")
    return bool(colon) and scheme in SCHEMES


def first_of(names: Collection[str], most: int = 3) -> str:
    """Some names, for a message."""
    shown = ", ".join(list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
