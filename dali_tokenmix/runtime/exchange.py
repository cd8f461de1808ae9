"""Exchange: tokens or a box of each image and its partner's change places, or are copied one way."""

from __future__ import annotations

from ..regions import BoxShape, TokenGrid
from .arrays import View
from .images import Images
from .launch import launch


def exchange_tokens(images: Images, rows: View, shape: TokenGrid, region: int, threads: int | None) -> None:
    """By the bit mask that lies in each row of the plan from byte `region` on."""
    _exchange("tokens", images, rows, region, threads, shape.patch_size, shape.grid)


def exchange_box(images: Images, rows: View, shape: BoxShape, region: int, threads: int | None) -> None:
    """By the box that lies in each row of the plan from byte `region` on."""
    _exchange("box", images, rows, region, threads, 0, (0, 0))


def _exchange(
    kind: str, images: Images, rows: View, region: int, threads: int | None, patch: int, grid: tuple[int, int]
) -> None:
    width = images.widest(1)
    launch(
        images.view.device,
        f"exchange_{kind}_{width}",
        "Exchange",
        (images.view.address, rows.address),
        images.rows(width),
        threads=threads,
        image=images.struct,
        rows=(rows.strides[0], region),
        patch=patch,
        grid_h=grid[0],
        grid_w=grid[1],
    )
