"""Writing a label store: what a run of make-labels or import-labels is, and how its journals become the store."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import rows as label_rows
from .journal import Journal, check_key, differences, read_key, read_rows
from .store import CHUNK, FORMAT, LENGTH_BYTES, VERSION, LabelStore


@dataclass(frozen=True)
class Run:
    """One labelling of a data set, by one process or several.

    Every process appends its shard's rows to its journal() and then calls finish(). Processes may come in any order,
    and may be killed and started again.

    store: the file to write. labels: its metadata, plain values with files, fingerprint, map_size, maps and topk.
    made_with: what else the labels depend on, if only in the last bit. step: samples that are labelled together; shards
    are cut between steps, so that batches are the same whatever the number of shards.
    """

    store: Path
    labels: dict[str, Any]
    made_with: dict[str, Any]
    step: int
    num_shards: int = 1

    @property
    def layout(self) -> label_rows.Layout:
        """Of a row."""
        return label_rows.layout(self.labels["maps"], self.labels["topk"], tuple(self.labels["map_size"]))

    def samples(self, shard: int) -> range:
        """The samples of a shard; none, if there are fewer steps than shards."""
        files = self.labels["files"]
        steps = -(-files // self.step)
        first, last = (steps * k // self.num_shards * self.step for k in (shard, shard + 1))
        return range(min(first, files), min(last, files))

    def finished(self) -> LabelStore | None:
        """The store, if it is there; then journals are removed.

        Raises ValueError if the file has other labels or is no store: it is never overwritten.
        """
        if not self.store.exists():
            return None
        there = LabelStore.open(self.store)
        if changed := differences(_plain(there.metadata), self._metadata):
            raise ValueError(
                f"{self.store} is there already, with other labels: {changed}. Remove it, or write to another file"
            )
        for ending in ("partial", "tmp"):
            for path in self._paths(ending):
                path.unlink(missing_ok=True)
        return there

    def journal(self, shard: int) -> Journal:
        """The journal of a shard, begun or gone on with. Raises ValueError if there are journals of another run."""
        for path in self.store.parent.glob(f"{self.store.name}.*-of-*.partial"):
            with suppress(FileNotFoundError):
                known = read_key(path)
                check_key(path, known[1] if known else self._key, self._key)
        return Journal(self._paths("partial")[shard], label_rows.record(self.layout), self._key)

    def finish(self, shard: int) -> LabelStore | None:
        """Makes the store, if the journals of all shards are complete; None if some are not.

        Should two processes be the last at the same time, both write the same bytes, and one file replaces the other.
        """
        paths = self._paths("partial")
        try:
            for k, path in enumerate(paths):
                known = read_key(path)
                if known is None or known[0] < len(self.samples(k)):
                    return None
                check_key(path, known[1], self._key)
            self._write(paths, self._paths("tmp")[shard])
        except FileNotFoundError:
            pass  # a shard has not begun; or another process has made the store and removed the journals
        return self.finished()

    def _write(self, journals: list[Path], temporary: Path) -> None:
        files, record, offset = self.labels["files"], label_rows.record(self.layout), 0
        entries: dict[str, Any] = {
            "__metadata__": {k: json.dumps(v, sort_keys=True) for k, v in self._metadata.items()}
        }
        for name, (dtype, shape) in self.layout.items():
            end = offset + files * record[name].itemsize
            entries[name] = {"dtype": dtype, "shape": [files, *shape], "data_offsets": [offset, end]}
            offset = end
        header = json.dumps(entries).encode()
        header += b" " * (-len(header) % LENGTH_BYTES)
        # not with the library, which wants all tensors in memory: top-k labels of ImageNet are gigabytes
        with open(temporary, "wb") as file:
            file.write(len(header).to_bytes(LENGTH_BYTES, "little") + header)
            for k, path in enumerate(journals):
                samples = self.samples(k)
                for first in range(samples.start, samples.stop, CHUNK):
                    rows = read_rows(path, record, first - samples.start, min(CHUNK, samples.stop - first))
                    for name in self.layout:
                        start = entries[name]["data_offsets"][0] + first * record[name].itemsize
                        file.seek(LENGTH_BYTES + len(header) + start)
                        file.write(rows[name].tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.store)
        _sync_folder(self.store.parent)

    def _paths(self, ending: str) -> list[Path]:
        """A file of each shard, beside the store."""
        shards = self.num_shards
        return [self.store.with_name(f"{self.store.name}.{k}-of-{shards}.{ending}") for k in range(shards)]

    @property
    def _metadata(self) -> dict[str, Any]:
        return _plain({"format": FORMAT, "version": VERSION, **self.labels})

    @property
    def _key(self) -> dict[str, Any]:
        return _plain({**self.labels, **self.made_with, "processes": self.num_shards})


def checked_path(out: str | Path) -> Path:
    """Where to write a store. Raises ValueError for a folder, and for a file in a folder that does not exist."""
    path = Path(out).absolute()
    if path.is_dir():
        raise ValueError(f"out must be a file, got the folder {path}")
    if not path.parent.is_dir():
        raise ValueError(f"out must be in a folder that exists, got {path}")
    return path


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back. Raises TypeError for what is no plain value."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
