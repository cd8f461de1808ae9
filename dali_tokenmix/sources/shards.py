"""Shard files by their names: lists, globs and braces; and labels that sources of shards share."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

from ..progress import progress
from .samples import is_url

Shards = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
MANY = 16  # shards that take a while to look through
RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expanded(name: str, given: Shards) -> tuple[str, ...]:
    """Absolute paths, or URLs as they are: of a path, a glob ("*", sorted), braces ("{000..012}", "{a,b}"), or a list.

    Raises ValueError or TypeError that names a pattern or a path without a file, and for an empty list.
    """
    if isinstance(given, str | os.PathLike):
        paths = [path for pattern in _braces(os.fspath(given)) for path in _globbed(name, pattern)]
    elif isinstance(given, Sequence) and all(isinstance(path, str | os.PathLike) for path in given):
        paths = [os.fspath(path) for path in given]
    else:
        raise TypeError(f"{name} must be a path, a pattern or a list of paths, got {given!r:.80}")
    if not paths:
        raise ValueError(f"{name} must be at least one file, got {given!r:.80}")
    found = tuple(path if is_url(path) else os.path.abspath(path) for path in paths)
    for path in found:
        if not is_url(path) and not os.path.isfile(path):
            raise ValueError(f"{name} has {path}, and there is no such file")
    if len(set(found)) < len(found):
        twice = next(path for k, path in enumerate(found) if path in found[:k])
        raise ValueError(f"{name} must have each file once, got {twice} twice")
    return found


def paired(shards: tuple[str, ...], index: Shards | None, maker: str) -> tuple[str | None, ...]:
    """The index file of each shard, None without one. maker: DALI's program that makes them.

    Raises ValueError where shards behind a URL have none, and where there are not as many as shards.
    """
    if index is None:
        if far := [path for path in shards if is_url(path)]:
            raise ValueError(
                f"{far[0]} can only be read by DALI's reader, not scanned: pass index=, local files that {maker} made "
                "of the shards, and labels="
            )
        return (None,) * len(shards)
    files = expanded("index", index)
    if far := [path for path in files if is_url(path)]:
        raise ValueError(f"index must be local files, got {far[0]}")
    if len(files) != len(shards):
        raise ValueError(f"index must be a file for each of the {len(shards)} shards, in their order, got {len(files)}")
    return files


def require_labels(shards: tuple[str, ...], labels: Any) -> None:
    """Raises ValueError for shards behind a URL without labels=, which are then in what cannot be scanned."""
    far = [path for path in shards if is_url(path)]
    if far and labels is None:
        raise ValueError(f"{far[0]} can only be read by DALI's reader: pass labels=, one for each sample in order")


def common_root(shards: tuple[str, ...]) -> str:
    """The deepest folder that has all shards."""
    folders = [path.rpartition("/")[0].split("/") for path in shards]
    same = takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))
    return "/".join(names[0] for names in same)


def shown(shards: tuple[str, ...], what: str) -> Iterator[str]:
    """The shards, one by one; on stderr, if they are many, how far the work is."""
    with progress(f"looking through {len(shards)} {what}") if len(shards) > MANY else nullcontext() as show:
        for k, path in enumerate(shards):
            if show is not None:
                show(k, len(shards))
            yield path


def opened(path: str) -> BinaryIO:
    """A local shard. Raises ValueError that names it."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def whole_number(text: bytes) -> int | None:
    """The number that a label file holds; None if it holds something else."""
    stripped = text.strip()
    return int(stripped) if re.fullmatch(rb"-?\d{1,18}", stripped) else None


def read_text(path: str | Path) -> str:
    """The text of an index file. Raises ValueError that names it."""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"index {path} cannot be read: {error}") from error


def _braces(pattern: str) -> list[str]:
    """All that the first braces, and then those after them, stand for."""
    before, opening, rest = pattern.partition("{")
    inside, closing, after = rest.partition("}")
    if not (opening and closing):
        return [pattern]
    if ends := RANGE.fullmatch(inside):
        first, last = int(ends[1]), int(ends[2])
        choices = [str(k).zfill(len(ends[1])) for k in range(first, last + 1)]
    else:
        choices = inside.split(",")
    return [before + choice + tail for choice in choices for tail in _braces(after)]


def _globbed(name: str, pattern: str) -> list[str]:
    if is_url(pattern) or not glob.has_magic(pattern) or os.path.exists(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern))
    if not found:
        raise ValueError(f"{name} {pattern} matches no file")
    return found
