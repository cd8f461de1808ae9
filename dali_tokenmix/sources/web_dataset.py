"""Images in tar shards of the WebDataset convention."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar

import numpy as np

from ..checks import integer
from .labels import class_ids, given_labels, numbered
from .records import Found, Records, kept, positions
from .samples import is_url
from .shards import Shards, common_root, expanded, opened, paired, require_labels, shown, whole_number
from .tar import Entry, content, entries_of, key_of

LINK = ", which DALI does not follow: write the tar of the files themselves, as tarfile's dereference=True does"


@dataclass(frozen=True, eq=False)
class WebDataset:
    """Tar shards: a sample is files side by side, of one name up to the first dot, such as 00017.jpg and 00017.cls.

    Args:
        shards: tar files, not compressed: a path, a pattern with "*" or braces ("train-{000..146}.tar"), or a list.
            They may be URLs that DALI reads, s3://... or gs://..., with `index` and `labels`.
        index: the index files of DALI's wds2idx, one a shard in the same order and ways. None: the shards are walked
            through, from header to header, whenever a Loader is made.
        image: endings of the images, the first that a sample has; capital or small.
        label: the ending of the file that holds the class id, a whole number.
        labels: instead of those files, one for each sample in order: class ids (N,), or rows (N, C) of numbers >= 0
            (soft or multi-hot), as a NumPy array or an .npy file.
        initial_fill: how many encoded images the buffer holds that a training Loader shuffles in. Their order is that
            of the shards, which are shuffled whole for each epoch, and then what is drawn from that buffer. It is all
            the shuffling that DALI does here: samples far apart in a shard seldom meet in a batch, so shuffle the data
            before the shards are written.

    Each sample is in an epoch exactly once, over all num_shards. Classes are called by their number; `files` of a
    Loader are shard/key. Errors, of scan() and so of Loader: ValueError or TypeError that names shard and key. With
    on_error="skip", samples without an image or a label are left out and listed, and so are those that do not decode.
    """

    shards: Shards
    index: Shards | None = field(default=None, kw_only=True)
    image: str = field(default="jpg;jpeg;png", kw_only=True)
    label: str = field(default="cls", kw_only=True)
    labels: Any = field(default=None, kw_only=True)
    initial_fill: int = field(default=1024, kw_only=True)

    def scan(self, *, skip: bool = False) -> TarSamples:
        """The samples of the shards. skip: leave out those without image or label, and list them in `skipped`."""
        fill = integer("initial_fill", self.initial_fill, at_least=1)
        for name in ("image", "label"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be text of endings, such as 'jpg;png', got {getattr(self, name)!r:.80}")
        shards = expanded("shards", self.shards)
        indices = paired(shards, self.index, "wds2idx")
        require_labels(shards, self.labels)
        root = common_root(shards)
        found, skipped = kept(self._found(shards, indices, root), skip=skip, root=root)
        names = tuple(sample.name for sample in found)
        if self.labels is None:
            ids = np.array([sample.label for sample in found], np.int64)
            labels = class_ids(f"{self._label} files of {root}", ids, where=names.__getitem__)
        else:
            labels = given_labels(self.labels, len(found), root)
        where = positions(found)
        return TarSamples(root, numbered(labels), names, labels, skipped, shards, *where, initial_fill=fill)

    def _found(self, shards: tuple[str, ...], indices: tuple[str | None, ...], root: str) -> Iterator[Found]:
        for k, (path, index) in enumerate(zip(shown(shards, "tar shards"), indices, strict=True)):
            with nullcontext() if is_url(path) else opened(path) as file:
                yield from self._in_shard(k, path, index, file, path.removeprefix(f"{root}/"))

    def _in_shard(self, shard: int, path: str, index: str | None, file: BinaryIO | None, short: str) -> Iterator[Found]:
        endings = [ending.strip().lower().lstrip(".") for ending in self.image.split(";")]
        entries, seen = entries_of(path, index), set()
        for k, entry in enumerate(entries):
            ends = k in (0, len(entries) - 1)  # a look at these, where an index is to be believed
            key = key_of(entry, k, path, index, file, look=ends)
            if key in seen:
                raise ValueError(f"{path} has the key {key} twice: files of a sample lie side by side, and keys differ")
            seen.add(key)
            name = f"{short}/{key}"
            image = next((entry.parts[ending] for ending in endings if ending in entry.parts), None)
            if image is None:
                problem = f"has no image (.{', .'.join(endings)}), only {_has(entry)}: pass image="
                yield Found(name, shard, 0, 0, 0, problem)
                continue
            if image.size < 0:
                yield Found(name, shard, 0, 0, 0, f"has {image.name} as a link{LINK}")
                continue
            label, problem = (0, "") if self.labels is not None else self._read_label(entry, path, index, file)
            yield Found(name, shard, image.offset, image.size, label, problem)

    def _read_label(self, entry: Entry, path: str, index: str | None, file: BinaryIO | None) -> tuple[int, str]:
        """(class id, what is wrong)."""
        part = entry.parts.get(self._label.lstrip("."))
        if part is None:
            return 0, f"has no {self._label}, only {_has(entry)}: pass label=, or labels="
        if part.size < 0:
            return 0, f"has {part.name} as a link{LINK}"
        assert file is not None  # shards behind a URL come with labels=
        text = content(part, path, index, file)
        label = whole_number(text)
        return (
            (label, "")
            if label is not None
            else (0, f"has a {self._label} of {text[:40]!r}, no class id: pass labels=")
        )

    @property
    def _label(self) -> str:
        return "." + self.label.strip().lower().lstrip(".")


@dataclass(frozen=True)
class TarSamples(Records):
    """Images in tar files, read by DALI's webdataset reader."""

    divider: ClassVar[tuple[str, int]] = (":", 2)
    after: ClassVar[str] = ":name"

    def name(self, index: int) -> str:
        return f"{self.shards[self.shard[index]]}:{self.offset[index]}:{os.path.basename(self.files[index])}"

    def encoded(self, index: int) -> np.ndarray:
        return self.read_bytes(index)

    def index_lines(self, which: np.ndarray) -> list[str]:
        parts = zip(which.tolist(), self.offset[which].tolist(), self.size[which].tolist(), strict=True)
        return [f"v1.2 {len(which)}", *(f"image {offset} {size} {k}" for k, offset, size in parts)]

    def read(self, *, shuffle: int | None, shard_id: int = 0, num_shards: int = 1) -> tuple[Any, Any]:
        from .readers import read_tar

        return read_tar(self, shuffle=shuffle, shard_id=shard_id, num_shards=num_shards)


def _has(entry: Entry) -> str:
    return ", ".join(f".{ending}" for ending in entry.parts)
