"""The kernels' parameter structs: each declared once here, and held against the compiled size in host.py."""

from __future__ import annotations

from typing import Any

import numpy as np


def _struct(*fields: tuple[Any, ...]) -> np.dtype:
    return np.dtype(list(fields), align=True)


IMAGE = _struct(
    ("sample_stride", "i8"),
    ("plane_stride", "i8"),
    ("row_stride", "i8"),
    ("samples", "i4"),
    ("planes", "i4"),
    ("height", "i4"),
    ("width", "i4"),
    ("pixel_bytes", "i4"),
)
PLAN_ROWS = _struct(("stride", "i4"), ("region", "i4"))

MOST_REGIONS = 4
MOST_TILES = 64  # of erase.cu, 16 bytes each
REGION = _struct(("kind", "i4"), ("offset", "i4"), ("patch", "i4"), ("grid_h", "i4"), ("grid_w", "i4"))
CELLS = _struct(
    ("height", "i4"),
    ("width", "i4"),
    ("grid_h", "i4"),
    ("grid_w", "i4"),
    ("patch", "i4"),
    ("regions", "i4"),
    ("region", REGION, (MOST_REGIONS,)),
)
TOP_K = _struct(("samples", "i4"), ("k", "i4"), ("map_h", "i4"), ("map_w", "i4"), ("classes", "i4"))

STRUCTS = {
    "Exchange": _struct(("image", IMAGE), ("rows", PLAN_ROWS), ("patch", "i4"), ("grid_h", "i4"), ("grid_w", "i4")),
    "Erase": _struct(
        ("image", IMAGE),
        ("rows", PLAN_ROWS),
        ("channels", "i4"),
        ("parts", "i4"),
        ("wide", "i4"),
        ("tiles", "i4"),
        ("colour", "u8", (2 * MOST_TILES,)),
    ),
    "Mirror": _struct(("image", IMAGE)),
    "Resize": _struct(
        ("samples", "i4"),
        ("out_h", "i4"),
        ("out_w", "i4"),
        ("padded_w", "i4"),
        ("taps", "i4"),
        ("bands", "i4"),
        ("scratch", "i4"),
    ),
    "Resized": _struct(("image", IMAGE), ("rows", PLAN_ROWS), ("parts", "i4"), ("pitch", "i4")),
    "Normalise": _struct(
        ("samples", "i4"),
        ("height", "i4"),
        ("width", "i4"),
        ("planar", "i4"),
        ("mean", "f4", (3,)),
        ("scale", "f4", (3,)),
    ),
    "Luminance": _struct(("image", IMAGE), ("grid_h", "i4"), ("grid_w", "i4")),
    "Place": _struct(
        ("rows", PLAN_ROWS), ("samples", "i4"), ("height", "i4"), ("width", "i4"), ("map_h", "i4"), ("map_w", "i4")
    ),
    "Quarters": _struct(("image", IMAGE), ("rows", PLAN_ROWS), ("scratch_row", "i4"), ("parts", "i4")),
    "Blend": _struct(("image", IMAGE), ("rows", PLAN_ROWS)),
    "Chains": _struct(
        ("image", IMAGE), ("rows", PLAN_ROWS), ("width", "i4"), ("depth", "i4"), ("step", "i4"), ("fill", "f4")
    ),
    "BlockMask": _struct(
        ("log_aspect", "f8"),
        ("masks", "i4"),
        ("grid_h", "i4"),
        ("grid_w", "i4"),
        ("total", "i4"),
        ("min_area", "i4"),
        ("attempts", "i4"),
        ("official", "i4"),
    ),
    "CropMaps": _struct(("samples", "i4"), ("map_h", "i4"), ("map_w", "i4"), ("grid_h", "i4"), ("grid_w", "i4")),
    "RoiWeights": _struct(
        ("samples", "i4"),
        ("map_h", "i4"),
        ("map_w", "i4"),
        ("grid_h", "i4"),
        ("grid_w", "i4"),
        ("height", "i4"),
        ("width", "i4"),
        ("patch", "i4"),
    ),
    "Score": _struct(("rows", PLAN_ROWS), ("samples", "i4"), ("cells", CELLS), ("epsilon", "f8")),
    "Pool": _struct(("maps", TOP_K), ("unknown", "f4")),
    "Softmax": _struct(("samples", "i4"), ("classes", "i4")),
    "MixLabels": _struct(("rows", PLAN_ROWS), ("samples", "i4"), ("classes", "i4"), ("keep", "f4"), ("floor", "f4")),
    "TokenLabels": _struct(("rows", PLAN_ROWS), ("cells", CELLS), ("maps", TOP_K), ("most", "i4"), ("sides", "i4")),
    "Words": _struct(("count", "i4")),
    "Targets": _struct(
        ("rows", PLAN_ROWS),
        ("samples", "i4"),
        ("classes", "i4"),
        ("keep", "f4"),
        ("shift", "f4"),
        ("floor", "f4"),
        ("unknown", "f4"),
    ),
}


def pack(struct: str, **values: Any) -> np.ndarray:
    """A 0-d structured array with the values of one struct. Raises KeyError unless all fields are given."""
    dtype = STRUCTS[struct]
    if set(values) != set(dtype.names or ()):
        raise KeyError(f"{struct} has fields {dtype.names}, got {tuple(values)}")
    packed = np.zeros((), dtype)
    for name, value in values.items():
        packed[name] = value
    return packed
