"""What a label store holds: its metadata, the row of each sample, and how maps and top-k labels become rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..sources.samples import Samples

DTYPES: dict[str, np.dtype] = {
    "U8": np.dtype("u1"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
}
MAP_TYPES = {"uint8": "U8", "float16": "F16"}
LARGEST = float(np.finfo(np.float16).max)
SMALLEST = 1e-35  # largest value of a uint8 map that is not stored as 0: far below, float32 scales are not exact

Layout = dict[str, tuple[str, tuple[int, ...]]]


def describe(
    data: Samples, teacher: dict[str, Any], map_size: tuple[int, int], maps: str | None, topk: int
) -> dict[str, Any]:
    """The metadata that every store has, plain values. teacher: the description of what made the labels."""
    return {
        "teacher": teacher,
        "files": len(data.files),
        "fingerprint": data.fingerprint(),
        "map_size": tuple(map_size),
        "maps": maps,
        "topk": topk,
    }


def layout(maps: str | None, topk: int, map_size: tuple[int, int]) -> Layout:
    """{tensor: (its safetensors dtype, shape of a row)}, wide dtypes first, so that in the file all are aligned.

    maps: "uint8", "float16" or None; topk: classes at each place, 0 for no top-k labels.
    """
    tensors: Layout = {"scales": ("F32", ())} if maps == "uint8" else {}
    if topk:
        tensors |= {"ids": ("I32", (topk, *map_size)), "scores": ("F16", (topk, *map_size))}
    if maps is not None:
        tensors["maps"] = (MAP_TYPES[maps], map_size)
    return tensors


def record(tensors: Layout) -> np.dtype:
    """A row of all tensors as one packed NumPy record."""
    return np.dtype([(name, DTYPES[dtype], shape) for name, (dtype, shape) in tensors.items()])


def pack(tensors: Layout, files: Sequence[str], maps: Any = None, ids: Any = None, scores: Any = None) -> np.ndarray:
    """(N,) records. maps: (N, h, w) >= 0; ids and scores: (N, k, h, w); None where the layout has none.

    Raises ValueError that names the first of `files`, (N,), whose labels are negative, infinite, NaN or too large, and
    for arrays of another shape than the layout's.
    """
    rows = np.empty(len(files), record(tensors))
    if "maps" in tensors:
        maps = _shaped("maps", maps, len(files), tensors["maps"][1])
        _check(files, np.isfinite(maps) & (maps >= 0), "map must be finite and >= 0", maps)
        if "scales" in tensors:
            rows["maps"], rows["scales"] = quantise(maps)
        else:
            _check(files, maps <= LARGEST, f"map must be at most {LARGEST:.0f}, or be stored as uint8", maps)
            rows["maps"] = maps
    if "ids" in tensors:
        ids = _shaped("ids", ids, len(files), tensors["ids"][1])
        _check(files, (ids >= 0) & (ids < 2**31), "class ids must be in 0..2^31-1", ids)
        scores = _shaped("scores", scores, len(files), tensors["scores"][1])
        _check(files, np.abs(scores) <= LARGEST, f"scores must be finite and at most {LARGEST:.0f}", scores)
        rows["ids"], rows["scores"] = ids, scores
    return rows


def quantise(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, h, w) >= 0 as ((N, h, w) uint8, (N,) float32 scales).

    scale * uint8 is off by at most scale / 2, 1/510 of the map's largest value. A map nowhere above 1e-35 becomes 0.
    """
    maps = maps.astype(np.float32)
    largest = maps.reshape(len(maps), -1).max(axis=1)
    scales = np.where(largest > SMALLEST, largest / np.float32(255), np.float32(0))
    steps = np.where(scales > 0, scales, np.float32(np.inf))
    return np.rint(maps / steps[:, None, None]).astype(np.uint8), scales


def _shaped(name: str, given: Any, n: int, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(given)
    if array.shape != (n, *shape):
        raise ValueError(f"{name} must be of shape {(n, *shape)}, got {array.shape}")
    return array


def _check(files: Sequence[str], good: np.ndarray, rule: str, values: np.ndarray) -> None:
    if not good.all():
        place = tuple(np.argwhere(~good)[0])
        raise ValueError(f"labels of {files[place[0]]}: {rule}, got {values[place]}")
