"""Quarters: each image becomes four crops, of itself, its partner and two further samples."""

from __future__ import annotations

from ..regions import QuartersShape
from . import host
from .arrays import View
from .images import Images
from .launch import launch, vector_alignment
from .scratch import scratch
from .work import Work

GROUP = 4  # samples that show each other


def quarters(images: Images, rows: View, shape: QuartersShape, region: int, threads: int | None) -> None:
    """By the crops that lie in each row of the plan from byte `region` on."""
    device = images.view.device
    planes = images.samples * images.planes
    alignment = vector_alignment(device)
    row = -(-images.width * images.pixel_bytes // alignment) * alignment
    by_group = alignment == 1
    parts = min(threads or host.default_threads(), planes) if by_group else 0
    size = (GROUP * parts if by_group else planes) * images.height * row
    address, owner = scratch(device, size)
    memory = View(address, (size,), (1,), "uint8", 1, device, True, owner)

    def run(name: str, work: Work) -> None:
        launch(
            device,
            name,
            "Quarters",
            (images.view.address, rows.address, memory.address),
            work,
            threads=threads,
            image=images.struct,
            rows=(rows.strides[0], region),
            scratch_row=row,
            parts=parts,
        )

    if by_group:
        run("quarters_by_group", Work(parts, 1))
    else:
        width = images.widest(1)
        pixel = min(width, images.pixel_bytes & -images.pixel_bytes, 4)  # where crops begin
        run(f"quarters_compose_{pixel}", images.rows(pixel))
        run(f"quarters_store_{width}", images.rows(width))
