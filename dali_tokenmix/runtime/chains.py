"""Chains: AugMix. Three launches for each step of all chains, in scratch memory, and one for their sums."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ..regions import ChainsShape
from .arrays import Device, View, contiguous_strides
from .images import Images
from .launch import launch
from .scratch import scratch
from .work import Work

TABLE = 256  # bytes of a channel's, and numbers of its histogram


def chains(images: Images, rows: View, shape: ChainsShape, region: int, threads: int | None) -> None:
    """By the weights and steps that lie in each row of the plan from byte `region` on.

    Raises TypeError for images that are not uint8, ValueError for other than 3 channels.
    """
    device, channels = images.view.device, images.planes * images.pixel_bytes
    if images.view.dtype != "uint8":
        raise TypeError(
            f"images must be uint8 for AugMix, whose operations are on values 0..255, got {images.view.dtype}: put it "
            "before what normalises"
        )
    if channels != 3:
        raise ValueError(f"images must have 3 channels for AugMix, red, green and blue, got {channels}")
    count = images.samples * shape.width
    pixels = (2, count, channels * images.height * images.width)  # two buffers that take turns
    sizes = [-(-size // 64) * 64 for size in (pixels[0] * pixels[1] * pixels[2], 4 * count * channels * TABLE)]
    address, owner = scratch(device, sum(sizes) + count * channels * TABLE)
    work = _part(address, pixels, "uint8", device, owner)
    counts = _part(address + sizes[0], (count, channels, TABLE), "uint32", device, owner)
    tables = _part(address + sum(sizes), (count, channels, TABLE), "uint8", device, owner)
    of_a_step = [
        ("chains_tables_count", (images.view, rows, work, counts), Work(count * images.planes, TABLE)),
        ("chains_tables", (rows, counts, tables), Work(count, channels)),
        ("chains_apply", (images.view, rows, work, tables), Work(count * images.planes * images.height, images.width)),
    ]
    at_last = ("chains_sum", (images.view, rows, work), images.rows(1))
    for step, (name, arrays, over) in [*product(range(shape.depth), of_a_step), (shape.depth, at_last)]:
        launch(
            device,
            name,
            "Chains",
            tuple(array.address for array in arrays),
            over,
            threads=threads,
            image=images.struct,
            rows=(rows.strides[0], region),
            width=shape.width,
            depth=shape.depth,
            step=step,
            fill=shape.fill,
        )


def _part(address: int, shape: tuple[int, ...], dtype: str, device: Device, owner: Any) -> View:
    itemsize = np.dtype(dtype).itemsize
    return View(address, shape, contiguous_strides(shape, itemsize), dtype, itemsize, device, True, owner)
