"""Label store: a teacher's maps of a whole data set in one safetensors file, looked up by sample index.

Every tensor has a row for each sample, in the order of `Samples.files`:

    maps    (files, h, w) uint8 or float16   of the sample's own class, >= 0
    scales  (files,) float32                 with uint8 maps: a map is scale * maps
    ids     (files, k, h, w) int32           the k strongest classes at each place
    scores  (files, k, h, w) float16         and their scores, strongest first

and the header's metadata says, in JSON, what made them and for which files. The safetensors library checks the file
when it is opened; rows are then read through a memory map of the bytes, because the library's own lazy slices take
ranges only, and a batch is a set of arbitrary rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ..sources.samples import Samples
from .rows import DTYPES, MAP_TYPES, layout

FORMAT, VERSION = "dali_tokenmix labels", 1
CHUNK = 4096  # rows in memory at a time, of all
LENGTH_BYTES = 8  # of a safetensors file: the length of its header, little endian


class LabelStore:
    """Ground-truth maps and top-k classes by sample index. `LabelStore.open(path)` makes one.

    Maps cover the whole image: a crop is cut out of its map. uint8 maps are off by at most scale / 2, that is 1/510 of
    the image's largest value; float16 ones by 2^-11 of the value itself, or 3e-8 if that is more.

    Attributes:
        path: of the file. metadata: what made the labels, plain values: teacher (a dict), image_size, resize, files,
            fingerprint, map_size, maps, topk.
        map_size: (h, w). map_type: "uint8", "float16", or None without ground-truth maps. k: classes at each place, 0
            without top-k labels.
    """

    def __init__(self, path: Path, metadata: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        self.path, self.metadata = path, metadata
        self._maps, self._scales = tensors.get("maps"), tensors.get("scales")
        self._ids, self._scores = tensors.get("ids"), tensors.get("scores")
        self.map_size: tuple[int, int] = metadata["map_size"]
        self.map_type: str | None = metadata["maps"]
        self.k: int = metadata["topk"]

    @classmethod
    def open(cls, path: str | Path, *, expect: Samples | str | None = None) -> LabelStore:
        """Opens a file without reading it: header and scales are checked, rows when they are looked up.

        expect: the data set (or its fingerprint) that the labels must be of; None takes any.

        Raises ValueError, naming the file and the reason, for one that is missing, not safetensors, truncated, no label
        store, of another version, of another data set, or has scales that are negative, infinite or NaN.
        """
        path = Path(path)
        metadata, tensors = _tensors(path)
        store = cls(path, metadata, tensors)
        if expect is not None:
            store.check_data(expect)
        scales = store._scales
        if scales is not None and (bad := np.flatnonzero(~(np.isfinite(scales) & (scales >= 0)))).size:
            raise ValueError(f"{path} is damaged: the scale of sample {bad[0]} is {scales[bad[0]]}")
        return store

    def __len__(self) -> int:
        return int(self.metadata["files"])

    def maps(self, indices: Any) -> np.ndarray:
        """Maps of the samples' own classes, (N, h, w) float32, >= 0. indices: (N,) whole numbers.

        Raises ValueError if there are no maps or one read is negative, infinite or NaN; IndexError for an index outside
        [0, files); TypeError for indices that are no whole numbers.
        """
        if self._maps is None:
            raise ValueError(f"{self.path} has no ground-truth maps: make it with maps='uint8' or 'float16'")
        rows = self._rows(indices)
        if self._scales is not None:
            scaled: np.ndarray = self._maps[rows] * self._scales[rows][:, None, None]
            return scaled
        maps: np.ndarray = self._maps[rows].astype(np.float32)
        self._check_rows("the map must be finite and >= 0", rows, np.isfinite(maps) & (maps >= 0))
        return maps

    def topk(self, indices: Any) -> tuple[np.ndarray, np.ndarray]:
        """(class ids (N, k, h, w) int32, scores (N, k, h, w) float32), strongest first. indices: (N,) whole numbers.

        Raises as maps() does; damaged are ids below 0 and scores that are infinite or NaN.
        """
        if self._ids is None or self._scores is None:
            raise ValueError(f"{self.path} has no top-k labels: make it with topk=5, or another number of classes")
        rows = self._rows(indices)
        ids, scores = self._ids[rows], self._scores[rows].astype(np.float32)
        self._check_rows("scores must be finite and class ids >= 0", rows, np.isfinite(scores) & (ids >= 0))
        return ids, scores

    def blank(self) -> int:
        """How many ground-truth maps are all zero: they say nothing, and area counts instead. Reads float16 maps."""
        if self._scales is not None:
            return int((self._scales == 0).sum())
        rows = (range(start, min(start + CHUNK, len(self))) for start in range(0, len(self), CHUNK))
        return sum(int((~self.maps(chunk).any((1, 2))).sum()) for chunk in rows)

    def check_data(self, expect: Samples | str) -> None:
        """Raises ValueError unless the labels are of this data set, or of one with this fingerprint."""
        mine, files = self.metadata["fingerprint"], len(self)
        if isinstance(expect, str):
            given, where = expect, "those expected"
        else:
            given, where = expect.fingerprint(), f"those of {expect.root}"
            if len(expect.files) != files:
                raise ValueError(
                    f"{self.path} belongs to another data set: it is of {files} files, {expect.root} has "
                    f"{len(expect.files)}. make-labels makes a store for that one"
                )
        if given != mine:
            raise ValueError(
                f"{self.path} belongs to another data set: the names or the order of its files, of fingerprint {mine}, "
                f"are not {where}, of {given}. make-labels makes a store for those"
            )

    def _rows(self, indices: Any) -> np.ndarray:
        rows = np.asarray(indices)
        if rows.dtype.kind not in "iu" or rows.ndim != 1:
            if rows.size or rows.ndim != 1:
                raise TypeError(f"indices must be (N,) whole numbers, got {rows.dtype} of shape {rows.shape}")
            rows = rows.astype(np.int64)  # an empty list has no dtype of its own
        outside = (rows < 0) | (rows >= len(self))
        if outside.any():
            raise IndexError(f"index {rows[outside][0]} is out of range for {self.path}, which has {len(self)} samples")
        return rows

    def _check_rows(self, rule: str, rows: np.ndarray, good: np.ndarray) -> None:
        if not good.all():
            row = rows[~good.reshape(len(rows), -1).all(1)][0]
            raise ValueError(f"{self.path} is damaged at sample {row}: {rule}")


def _tensors(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(metadata, tensors by name) of a label store, memory-mapped. Raises ValueError that names the path."""
    try:
        with safe_open(path, framework="numpy"):
            pass  # opening it checks that header and file agree, to the byte
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist: make-labels or import-labels writes it") from error
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no safetensors file, or truncated: {error}") from error
    metadata = _metadata(path, header.pop("__metadata__", {}))
    raw: np.ndarray = np.memmap(path, np.uint8, "r").view(np.ndarray)
    tensors: dict[str, np.ndarray] = {}
    for name, (dtype, row) in layout(metadata["maps"], metadata["topk"], metadata["map_size"]).items():
        entry, shape = header.get(name), [metadata["files"], *row]
        if entry is None or entry["dtype"] != dtype or entry["shape"] != shape:
            found = f"{entry['dtype']} {entry['shape']}" if entry else "none"
            raise ValueError(f"{path} is no label store: tensor {name} must be {dtype} {shape}, got {found}")
        start, end = (LENGTH_BYTES + length + offset for offset in entry["data_offsets"])
        tensors[name] = raw[start:end].view(DTYPES[dtype]).reshape(shape)
    return metadata, tensors


def _metadata(path: Path, strings: dict[str, str]) -> dict[str, Any]:
    try:
        metadata = {name: json.loads(value) for name, value in strings.items()}
    except ValueError:
        metadata = {}
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file but no label store: its metadata does not say it is one")
    if metadata.get("version") != VERSION:
        raise ValueError(f"{path} is of version {metadata.get('version')} of the format, this program reads {VERSION}")
    for name, (good, rule) in METADATA.items():
        if not good(metadata.get(name)):
            raise ValueError(f"{path} is no label store: {name} must be {rule}, got {metadata.get(name)!r}")
    metadata["map_size"] = tuple(metadata["map_size"])
    return metadata


def _counts(value: Any, least: int = 1) -> bool:
    return type(value) is int and value >= least


METADATA: dict[str, tuple[Callable[[Any], bool], str]] = {
    "files": (_counts, "a whole number >= 1"),
    "fingerprint": (lambda value: isinstance(value, str), "text"),
    "map_size": (lambda value: isinstance(value, list) and len(value) == 2 and all(map(_counts, value)), "[h, w]"),
    "maps": (lambda value: value is None or value in MAP_TYPES, "uint8, float16 or null"),
    "topk": (lambda value: _counts(value, 0), "a whole number"),
}
