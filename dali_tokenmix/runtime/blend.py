"""Blend: weighted sums of each image and its partner."""

from __future__ import annotations

from ..regions import BlendShape
from .arrays import View
from .images import Images
from .launch import launch, vector_alignment


def blend(images: Images, rows: View, shape: BlendShape, region: int, threads: int | None) -> None:
    """By the weight that lies in each row of the plan from byte `region` on."""
    item = images.view.itemsize
    # a CPU compiler vectorises single elements better than 16 bytes at a time
    width = 16 if vector_alignment(images.view.device) > 1 and images.widest(item) == 16 else item
    launch(
        images.view.device,
        f"blend_{images.view.dtype}_{width}",
        "Blend",
        (images.view.address, rows.address),
        images.rows(width),
        threads=threads,
        image=images.struct,
        rows=(rows.strides[0], region),
    )
