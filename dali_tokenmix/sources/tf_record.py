"""Images in TFRecord files of tf.train.Example."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from ..checks import choice, integer
from . import tf_example
from .labels import class_ids, given_labels, numbered
from .records import Found, Records, kept, positions
from .samples import is_url
from .shards import Shards, common_root, expanded, opened, paired, read_text, require_labels, shown
from .tf_example import HEAD, TAIL, NotAnExample


@dataclass(frozen=True, eq=False)
class TFRecord:
    """TFRecord files whose records are tf.train.Example, an encoded image in each.

    Args:
        files: a path, a pattern with "*" or braces ("train-{00000..01023}-of-01024"), or a list. They may be URLs that
            DALI reads, s3://... or gs://..., with `index` and `labels`.
        index: the index files of DALI's tfrecord2idx, one a file in the same order and ways. None: the files are walked
            through, from record to record, whenever a Loader is made.
        image: the feature that holds the image as it was encoded, bytes.
        label: the feature that holds the class id, int64.
        first_label: the id of the first class there: 0, or 1 where 0 is kept for "background", as in the files that
            TensorFlow's scripts make of ImageNet.
        labels: instead of that feature, one for each record in order: class ids (N,), or rows (N, C) of numbers >= 0
            (soft or multi-hot), as a NumPy array or an .npy file. The first class is 0.
        initial_fill: how many encoded images the buffer holds that a training Loader shuffles in. Their order is that
            of the files, which are shuffled whole for each epoch, and then what is drawn from that buffer. It is all
            the shuffling that DALI does here: records far apart in a file seldom meet in a batch, so shuffle the data
            before the files are written.

    Each record is in an epoch exactly once, over all num_shards. Classes are called by their number; `files` of a
    Loader are file/number. Errors, of scan() and so of Loader: ValueError or TypeError that names file and record. With
    on_error="skip", records without an image or a label are left out and listed, and so are those that do not decode.
    """

    files: Shards
    index: Shards | None = field(default=None, kw_only=True)
    image: str = field(default="image/encoded", kw_only=True)
    label: str = field(default="image/class/label", kw_only=True)
    first_label: Literal[0, 1] = field(default=0, kw_only=True)
    labels: Any = field(default=None, kw_only=True)
    initial_fill: int = field(default=1024, kw_only=True)

    def scan(self, *, skip: bool = False) -> TFRecordSamples:
        """The records. skip: leave out those without image or label, and list them in `skipped`."""
        choice("first_label", self.first_label, (0, 1))
        fill = integer("initial_fill", self.initial_fill, at_least=1)
        shards = expanded("files", self.files)
        indices = paired(shards, self.index, "tfrecord2idx")
        require_labels(shards, self.labels)
        root = common_root(shards)
        found, skipped = kept(self._found(shards, indices, root), skip=skip, root=root)
        names = tuple(sample.name for sample in found)
        if self.labels is None:
            ids = np.array([sample.label for sample in found], np.int64) - self.first_label
            labels = class_ids(f"{self.label}{' - 1' * self.first_label} of {root}", ids, where=names.__getitem__)
        else:
            labels = given_labels(self.labels, len(found), root)
        where = positions(found)
        return TFRecordSamples(
            root, numbered(labels), names, labels, skipped, shards, *where, initial_fill=fill, feature=self.image
        )

    def _found(self, shards: tuple[str, ...], indices: tuple[str | None, ...], root: str) -> Iterator[Found]:
        for k, (path, index) in enumerate(zip(shown(shards, "TFRecord files"), indices, strict=True)):
            content = None if is_url(path) else _mapped(path)
            number = -1
            for number, (offset, size) in enumerate(_walked(content, path) if index is None else _indexed(index)):
                if index is not None and content is not None:
                    _check_record(content, path, index, offset, size)
                # each record is looked at for its label; without one, the first tells whether the image is there
                look = content is not None and (self.labels is None or number == 0)
                label, problem = self._read_label(content, offset, size) if look else (0, "")
                yield Found(f"{path.removeprefix(f'{root}/')}/{number}", k, offset, size, label, problem)
            if number < 0:
                raise ValueError(f"{path if index is None else index} has no records")

    def _read_label(self, content: Any, offset: int, size: int) -> tuple[int, str]:
        """(class id, what is wrong)."""
        example = content[offset + HEAD : offset + size - TAIL]
        try:
            found = tf_example.features(example)
            image, label = found.get(self.image), found.get(self.label)
            if image is None or image.kind != "bytes":
                return 0, f"has no feature {self.image!r} of bytes: {_has(found)}. Pass image="
            if tf_example.first_bytes(example, image) is None:
                return 0, f"has an empty {self.image!r}"
            if self.labels is not None:
                return 0, ""
            if label is None or label.kind != "int64":
                return 0, f"has no feature {self.label!r} of int64: {_has(found)}. Pass label=, or labels="
            ids = tf_example.integers(example, label)
        except NotAnExample as error:
            return 0, f"is no tf.train.Example: {error}"
        if len(ids) != 1:
            return 0, f"has {len(ids)} numbers in {self.label!r}, not one class id: pass labels= with a row for each"
        return ids[0], ""


@dataclass(frozen=True)
class TFRecordSamples(Records):
    """Images in TFRecord files, read by DALI's tfrecord reader. feature: that holds the image."""

    feature: str

    divider: ClassVar[tuple[str, int]] = (" at index ", 1)

    def name(self, index: int) -> str:
        return f"{self.shards[self.shard[index]]} at index {self.offset[index]}"

    def encoded(self, index: int) -> np.ndarray:
        example = memoryview(self.read_bytes(index).data)[HEAD:-TAIL]
        try:
            found = tf_example.features(example).get(self.feature)
            where = None if found is None else tf_example.first_bytes(example, found)
        except NotAnExample as error:
            raise OSError(f"no tf.train.Example: {error}") from error
        if where is None:
            raise OSError(f"no feature {self.feature!r}")
        return np.frombuffer(example[where[0] : where[1]], np.uint8)

    def index_lines(self, which: np.ndarray) -> list[str]:
        parts = zip(self.offset[which].tolist(), self.size[which].tolist(), strict=True)
        return [f"{offset} {size}" for offset, size in parts]

    def read(self, *, shuffle: int | None, shard_id: int = 0, num_shards: int = 1) -> tuple[Any, Any]:
        from .readers import read_tf_record

        return read_tf_record(self, self.feature, shuffle=shuffle, shard_id=shard_id, num_shards=num_shards)


def _mapped(path: str) -> memoryview:
    """A file, of which only what is looked at is read."""
    with opened(path) as file:
        empty = os.fstat(file.fileno()).st_size == 0
        return memoryview(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _walked(content: Any, path: str) -> Iterator[tuple[int, int]]:
    """(offset, size) of each record."""
    offset = 0
    while offset < len(content):
        size = tf_example.record_size(content[offset : offset + HEAD])
        if size is None or offset + size > len(content):
            what = "truncated" if offset or size is not None else "no TFRecord file"
            raise ValueError(f"{path} is {what}, or damaged: there is no whole record at byte {offset}")
        yield offset, size
        offset += size


def _indexed(index: str) -> Iterator[tuple[int, int]]:
    for number, line in enumerate(read_text(index).splitlines(), 1):
        words = line.split()
        if len(words) != 2 or not all(word.isdecimal() for word in words):
            raise ValueError(f"index {index}, line {number}: must be 'offset size', got {line!r:.60}")
        yield int(words[0]), int(words[1])


def _check_record(content: memoryview, path: str, index: str, offset: int, size: int) -> None:
    if offset + size > len(content) or tf_example.record_size(content[offset : offset + HEAD]) != size:
        raise ValueError(
            f"index {index} is of another file: {path} has no record of {size} bytes at {offset}. "
            "Make it again with tfrecord2idx"
        )


def _has(found: dict[str, tf_example.Feature]) -> str:
    return "it has " + (", ".join(f"{name!r} ({feature.kind})" for name, feature in sorted(found.items())) or "none")
