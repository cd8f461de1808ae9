"""The rows of a label store while it is made: journals, which survive being killed.

A journal, `<store>.<shard>-of-<shards>.partial`, is the number of rows that count (8 bytes, little endian), the length
of its key (8 bytes), its key (JSON: all that the labels depend on), then a shard's rows in sample order. Rows reach
the disk before the number that counts them; what lies behind the counted rows is written again.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

NUMBER_BYTES = 8
COMMIT_SECONDS = 2.0  # a kill loses at most that much work


class Journal:
    """The rows of one shard, as far as they are written; a context manager, for one process at a time.

    done: rows that need not be made again.

    Raises ValueError that names what differs if the file is of another run, RuntimeError if another process writes it.
    """

    def __init__(self, path: Path, record: np.dtype, key: dict[str, Any]) -> None:
        self.path, self._record = path, record
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            self._lock()
            self.done = self._written = self._begin(key)
        except BaseException:
            self._file.close()
            raise
        self._committed = time.monotonic()

    def append(self, rows: np.ndarray) -> None:
        """Writes the next rows, records of label_rows.pack(); commits them if the last commit was a while ago."""
        self._file.seek(self._start + self._written * self._record.itemsize)
        self._file.write(rows.tobytes())
        self._written += len(rows)
        if time.monotonic() - self._committed >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Makes all rows so far count."""
        self._sync()
        self._file.seek(0)
        self._file.write(self._written.to_bytes(NUMBER_BYTES, "little"))
        self._sync()
        self.done, self._committed = self._written, time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.commit()
        finally:
            self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"{self.path} is being written by another process") from error
        except OSError:
            pass  # a file system without locks

    def _begin(self, key: dict[str, Any]) -> int:
        """Reads or writes the file's beginning; the number of rows that count."""
        text = json.dumps(key, sort_keys=True).encode()
        self._start = 2 * NUMBER_BYTES + len(text)
        known = read_key(self.path)
        if known is not None:
            check_key(self.path, known[1], key)
            end = self._start + known[0] * self._record.itemsize
            if os.fstat(self._file.fileno()).st_size < end:
                raise truncated(self.path)
            self._file.truncate(end)
            return known[0]
        self._file.truncate(0)
        self._file.write(bytes(NUMBER_BYTES) + len(text).to_bytes(NUMBER_BYTES, "little") + text)
        self._sync()
        return 0

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def read_key(path: Path) -> tuple[int, dict[str, Any]] | None:
    """(rows that count, key) of a journal; None if it was killed at its very beginning."""
    with open(path, "rb") as file:
        done, length = (int.from_bytes(file.read(NUMBER_BYTES), "little") for _ in range(2))
        key = file.read(length)
    with suppress(ValueError):
        return done, json.loads(key)
    return None


def read_rows(path: Path, record: np.dtype, first: int, count: int) -> np.ndarray:
    """(count,) records. Raises ValueError if the file is shorter."""
    with open(path, "rb") as file:
        file.seek(NUMBER_BYTES)
        start = 2 * NUMBER_BYTES + int.from_bytes(file.read(NUMBER_BYTES), "little")
    rows = np.fromfile(path, record, count, offset=start + first * record.itemsize)
    if len(rows) != count:
        raise truncated(path)
    return rows


def check_key(path: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises ValueError that names what differs between a journal's key and the one of this run."""
    if changed := differences(was, now):
        raise ValueError(f"{path} is of another run: {changed}. Finish that run, or remove the file to begin anew")


def differences(was: dict[str, Any], now: dict[str, Any], of: str = "") -> str:
    """What differs between two JSON objects, in words; empty if nothing does."""
    found = []
    for name in dict.fromkeys([*now, *was]):
        old, new = was.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found.append(differences(old, new, f"{of}{name}."))
        elif old != new:
            found.append(f"{of}{name} was {old!r}, is {new!r}")
    return ", ".join(filter(None, found))


def truncated(path: Path) -> ValueError:
    """The refusal of a journal that is shorter than it says."""
    return ValueError(f"{path} is truncated: remove it to begin anew")
