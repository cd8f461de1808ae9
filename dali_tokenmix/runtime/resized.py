"""Resized: boxes in which the whole partner shows, in place."""

from __future__ import annotations

from ..regions import ResizedShape
from .arrays import View, contiguous_strides
from .host import default_threads
from .images import Images
from .launch import launch, vector_alignment
from .scratch import scratch
from .work import Work

SHARES = 8  # that the pairs are dealt to, a CPU thread: boxes are of many sizes
PITCH = 16  # bytes: rows of scratch memory begin at multiples


def resized(images: Images, rows: View, shape: ResizedShape, region: int, threads: int | None) -> None:
    """By the box that lies in each row of the plan from byte `region` on."""
    threads = threads or default_threads()
    dtype, width = images.view.dtype, images.widest(1)
    if vector_alignment(images.view.device) > 1:  # as a GPU does it: every row by itself, to scratch memory and back
        steps = [(f"take_{dtype}", images.rows(images.view.itemsize)), (f"paste_{width}", images.rows(width))]
        parts, lines = images.height, images.samples * images.planes * images.height
    else:
        parts = min(SHARES * threads, images.samples)
        steps, lines = [(f"pairs_{dtype}", Work(parts, 1))], 2 * parts * (images.height + 1)
    pitch = -(-images.width * images.pixel_bytes // PITCH) * PITCH
    memory = _memory(images, (lines, pitch))
    for name, work in steps:
        launch(
            images.view.device,
            f"resized_{name}",
            "Resized",
            (images.view.address, rows.address, memory.address),
            work,
            threads=threads,
            image=images.struct,
            rows=(rows.strides[0], region),
            parts=parts,
            pitch=pitch,
        )


def _memory(images: Images, shape: tuple[int, int]) -> View:
    address, owner = scratch(images.view.device, shape[0] * shape[1])
    return View(address, shape, contiguous_strides(shape, 1), "uint8", 1, images.view.device, True, owner)
