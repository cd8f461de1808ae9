"""Label store: a teacher's maps of a whole data set in one safetensors file, looked up by sample index.

Every tensor has a row for each sample, in the order of `ImageFolder.files`:

    maps    (files, h, w) uint8 or float16   of the sample's own class, >= 0
    scales  (files,) float32                 with uint8 maps: a map is scale * maps
    ids     (files, k, h, w) int32           the k strongest classes at each place
    scores  (files, k, h, w) float16         and their scores, strongest first

and the header's metadata says, in JSON, what made them and for which files. The safetensors library checks the file
when it is opened; rows are then read through a memory map of the bytes, because the library's own lazy slices take ranges
only, and a batch is a set of arbitrary rows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from .dataset import ImageFolder

FORMAT, VERSION = "dali_tokenmix labels", 1
DTYPES = {"U8": np.uint8, "F16": np.float16, "F32": np.float32, "I32": np.int32}
TENSORS = {"maps": ("U8", "F16"), "scales": ("F32",), "ids": ("I32",), "scores": ("F16",)}
LENGTH_BYTES = 8  # of a safetensors file: the length of its header, little endian


class LabelStore:
    """Ground-truth maps and top-k classes by sample index. `LabelStore.open(path)` makes one.

    Maps cover the whole image: a crop is cut out of its map. uint8 maps are off by at most scale / 2, that is 1/510 of
    the image's largest value; float16 ones by 2^-11 of the value itself.

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
        self.map_size: tuple[int, int] = (metadata["map_size"][0], metadata["map_size"][1])
        self.map_type = None if self._maps is None else self._maps.dtype.name
        self.k = 0 if self._ids is None else self._ids.shape[1]

    @classmethod
    def open(cls, path: str | Path, *, expect: ImageFolder | str | None = None) -> LabelStore:
        """Opens a file without reading it: header and scales are checked, rows when they are looked up.

        expect: the data set (or its fingerprint) that the labels must be of; None takes any.

        Raises ValueError, naming the file and the reason, for one that is missing, not safetensors, truncated, no label
        store, of another version, of another data set, or has scales that are negative, infinite or NaN.
        """
        path = Path(path)
        metadata, tensors = _tensors(path)
        store = cls(path, metadata, tensors)
        if expect is not None:
            store._check_data(expect)
        scales = store._scales
        if scales is not None and (bad := np.flatnonzero(~(np.isfinite(scales) & (scales >= 0)))).size:
            raise ValueError(f"{path} is damaged: the scale of sample {bad[0]} is {scales[bad[0]]}")
        return store

    def __len__(self) -> int:
        return self.metadata["files"]

    def maps(self, indices: Any) -> np.ndarray:
        """Maps of the samples' own classes, (N, h, w) float32, >= 0. indices: (N,) whole numbers.

        Raises ValueError if there are no maps or one read is negative, infinite or NaN; IndexError for an index outside
        [0, files); TypeError for indices that are no whole numbers.
        """
        if self._maps is None:
            raise ValueError(f"{self.path} has no ground-truth maps: make it with maps='uint8' or 'float16'")
        rows = self._rows(indices)
        if self._scales is not None:
            return self._maps[rows] * self._scales[rows][:, None, None]
        maps = self._maps[rows].astype(np.float32)
        self._check_rows("map", rows, np.isfinite(maps) & (maps >= 0))
        return maps

    def topk(self, indices: Any) -> tuple[np.ndarray, np.ndarray]:
        """(class ids (N, k, h, w) int32, scores (N, k, h, w) float32), strongest first. indices: (N,) whole numbers.

        Raises as maps() does; damaged are ids below 0 and scores that are infinite or NaN.
        """
        if self._ids is None or self._scores is None:
            raise ValueError(f"{self.path} has no top-k labels: make it with topk=5, or another number of classes")
        rows = self._rows(indices)
        ids, scores = self._ids[rows], self._scores[rows].astype(np.float32)
        self._check_rows("top-k labels", rows, np.isfinite(scores) & (ids >= 0))
        return ids, scores

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

    def _check_rows(self, what: str, rows: np.ndarray, good: np.ndarray) -> None:
        if not good.all():
            row = rows[~good.reshape(len(rows), -1).all(1)][0]
            raise ValueError(f"{self.path} is damaged: {what} of sample {row} must be finite and >= 0")

    def _check_data(self, expect: ImageFolder | str) -> None:
        mine = self.metadata["fingerprint"]
        if isinstance(expect, str):
            given, where = expect, "the one expected"
        else:
            given, where = expect.fingerprint(), str(expect.root)
            if len(expect.files) != len(self):
                raise ValueError(
                    f"{self.path} belongs to another data set: it is of {len(self)} files, "
                    f"{where} has {len(expect.files)}"
                )
        if given != mine:
            raise ValueError(
                f"{self.path} belongs to another data set: its files have the fingerprint {mine}, "
                f"those of {where} {given}, so names or order differ"
            )


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
    files, (h, w), k = metadata["files"], metadata["map_size"], metadata["topk"]
    shapes = {"maps": [files, h, w], "scales": [files], "ids": [files, k, h, w], "scores": [files, k, h, w]}
    raw = np.memmap(path, np.uint8, "r").view(np.ndarray)
    tensors = {}
    for name in tensor_names(metadata["maps"], k):
        entry = header.get(name, {"dtype": "none", "shape": []})
        if entry["dtype"] not in TENSORS[name] or entry["shape"] != shapes[name]:
            found = f"{entry['dtype']} {entry['shape']}"
            raise ValueError(f"{path}: {name} must be {' or '.join(TENSORS[name])} {shapes[name]}, got {found}")
        start, end = (LENGTH_BYTES + length + offset for offset in entry["data_offsets"])
        tensors[name] = raw[start:end].view(DTYPES[entry["dtype"]]).reshape(shapes[name])
    return metadata, tensors


def _metadata(path: Path, strings: dict[str, str]) -> dict[str, Any]:
    if strings.get("format") != json.dumps(FORMAT):
        raise ValueError(f"{path} is a safetensors file but no label store: its metadata does not say so")
    if strings.get("version") != json.dumps(VERSION):
        raise ValueError(f"{path} is of version {strings.get('version')} of the format, this program reads {VERSION}")
    metadata = {name: json.loads(value) for name, value in strings.items()}
    missing = {"files", "fingerprint", "map_size", "maps", "topk", "teacher"} - set(metadata)
    if missing:
        raise ValueError(f"{path} is no label store: its metadata lacks {', '.join(sorted(missing))}")
    return metadata


def tensor_names(maps: str | None, topk: int) -> tuple[str, ...]:
    """Tensors of a store with such maps ("uint8", "float16" or None) and topk classes."""
    ground_truth = {"uint8": ("maps", "scales"), "float16": ("maps",), None: ()}[maps]
    return (*ground_truth, *(("ids", "scores") if topk else ()))
