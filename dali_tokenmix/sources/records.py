"""Samples that are a range of bytes each in a few large files, and the index files that DALI reads them by."""

from __future__ import annotations

import os
import re
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .samples import Samples, is_url

SHARD_BIT = 44  # shards of up to 16 TB


class Found(NamedTuple):
    """A sample while its source is looked through. label: its class id. problem: why it cannot be used, if so."""

    name: str
    shard: int
    offset: int
    size: int
    label: int
    problem: str = ""


def kept(found: Iterable[Found], *, skip: bool, root: str) -> tuple[list[Found], dict[str, str]]:
    """Those without a problem, and {name: problem} of the others. Raises ValueError for one, unless skip."""
    good, skipped = [], {}
    for sample in found:
        if not sample.problem:
            good.append(sample)
        elif skip:
            skipped[sample.name] = sample.problem
        else:
            raise ValueError(f"{os.path.join(root, sample.name)} {sample.problem}, or pass on_error='skip'")
    if not good:
        raise ValueError(f"{root} has no sample that can be used: {next(iter(skipped.items()), '')}")
    return good, skipped


def positions(found: list[Found]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(shard, offset, size) of Records."""
    _, shard, offset, size, *_ = zip(*found, strict=True)
    return np.array(shard, np.int32), np.array(offset, np.int64), np.array(size, np.int64)


@dataclass(frozen=True)
class Records(Samples):
    """Samples in shards, in the order of shards and of bytes in them.

    shards: paths. shard: (N,) positions in shards. offset, size: (N,) int64 bytes, as DALI's index has them.
    initial_fill: of the buffer that DALI shuffles in.
    """

    shards: tuple[str, ...]
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    initial_fill: int

    # DALI's reader calls a place by the shard's path and its offset, divided by this, which is there so many times;
    # after: what may follow the offset. Sources fill them in.
    divider: ClassVar[tuple[str, int]]
    after: ClassVar[str] = ""

    @abstractmethod
    def index_lines(self, which: np.ndarray) -> list[str]:
        """The lines of an index file of DALI's, for these samples of one shard."""

    def local(self) -> bool:
        return not any(map(is_url, self.shards))

    def chosen(self, which: np.ndarray) -> Any:
        part = super().chosen(which)
        return replace(part, shard=self.shard[which], offset=self.offset[which], size=self.size[which])

    def read_bytes(self, index: int) -> np.ndarray:
        """(size,) uint8 as they are in the shard."""
        path = self.shards[self.shard[index]]
        return np.fromfile(path, np.uint8, int(self.size[index]), offset=int(self.offset[index]))

    def indices_of(self, places: Sequence[str]) -> np.ndarray:
        """(N,) which samples are from these places, as DALI's reader calls them. Raises KeyError for another place."""
        keys = np.empty(len(places), np.int64)
        for k, place in enumerate(places):  # for every batch: as little as can be
            path, offset, *_ = place.rsplit(*self.divider)
            keys[k] = (self._shard_ids[path] << SHARD_BIT) + int(offset)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        if (wrong := np.flatnonzero(self._keys[at] != keys)).size:
            raise KeyError(places[wrong[0]])
        indices: np.ndarray = self._order[at]
        return indices

    def index_of(self, text: str) -> int | None:
        for found in re.finditer(re.escape(self.divider[0]) + r"(\d+)", text):
            before = text[: found.start()]
            paths = [path for path in self.shards if before.endswith(path)]
            with suppress(KeyError):
                place = f"{max(paths, key=len, default='')}{found[0]}"
                return int(self.indices_of([place + self.after])[0])
        return None

    def write_index(self, folder: str) -> tuple[list[str], list[str]]:
        """Writes an index file of each shard that has samples: (paths of the shards, paths of the files)."""
        shards, files = [], []
        ends = np.searchsorted(self.shard, np.arange(len(self.shards) + 1))  # samples are in the order of shards
        for k, path in enumerate(self.shards):
            which = np.arange(ends[k], ends[k + 1])
            if len(which):
                file = os.path.join(folder, f"{k}.idx")
                with open(file, "w") as out:
                    out.write("\n".join(self.index_lines(which)) + "\n")
                shards.append(path)
                files.append(file)
        return shards, files

    def index_folder(self) -> tempfile.TemporaryDirectory[str]:
        """A folder for write_index(), which goes when nobody holds it any more."""
        return tempfile.TemporaryDirectory(prefix="dali_tokenmix-")

    @cached_property
    def _shard_ids(self) -> dict[str, int]:
        return {path: k for k, path in enumerate(self.shards)}

    @cached_property
    def _unsorted(self) -> np.ndarray:
        keys: np.ndarray = (self.shard.astype(np.int64) << SHARD_BIT) + self.offset
        return keys

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._unsorted)

    @cached_property
    def _keys(self) -> np.ndarray:
        keys: np.ndarray = self._unsorted[self._order]
        return keys
