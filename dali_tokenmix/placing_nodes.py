"""The steps inside a graph that look at clean images to place what a mixer drew: maps, and packed rows by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

from . import op
from .arguments import image_size_of
from .placing import makers
from .plan import region_offsets
from .runtime import place
from .runtime.arrays import View
from .runtime.images import Layout
from .teacher_seen import as_taken, attention_seen


def placed(
    rows: DataNode,
    mixer: Any,
    images: DataNode,
    layout: Layout | None,
    attention: DataNode | None,
    wanted: Callable[[], bool],
    threads: int,
) -> DataNode:
    """The rows, where the images are, with every region in its place. What is mixed by them waits for who looks.

    rows: packed plans as the mixer draws them, on the CPU. attention: (h, w) float32 a sample, where the images are, if
    some region is placed by it. wanted: whether the batch at hand is mixed. threads: of a CPU.
    """
    used = makers(mixer)
    maps = {maker: saliency_maps(maker, images, layout, wanted, threads) for maker in used if maker is not None}
    if attention is not None:
        maps[None] = attention

    def place_batch(plan: View, shown: View, *seen: View) -> None:
        by_maker = dict(zip(maps, seen, strict=True))
        size = image_size_of(shown.shape, layout)
        shapes = mixer.shapes(size)
        for shape, offset in zip(shapes, region_offsets(shapes), strict=True):
            if hasattr(shape, "maps"):
                place(plan, by_maker[shape.maker], shape, offset, size)

    # a copy, for the rows are changed; preserve: DALI takes equal copies for one
    own = rows.gpu() if images.device == "gpu" else fn.copy(rows, preserve=True)
    return op.in_place(place_batch, own, images, *maps.values())


def saliency_maps(
    saliency: Any, images: DataNode, layout: Layout | None, wanted: Callable[[], bool], threads: int
) -> DataNode:
    """(h, w) float32 saliency of each clean image, where the images are. Where nothing is mixed, one cell."""

    def look(batch: Any) -> Sequence[Any]:
        if not wanted():
            return (one_cell(batch),)
        return (saliency.maps(as_taken(batch, layout), threads),)

    return op.torch_function(look, images)[0]


def attention_maps(teacher: Any, images: DataNode, layout: Layout | None, wanted: Callable[[], bool]) -> DataNode:
    """(h, w) float32 attention of a Teacher to each clean image, where the images are. As saliency_maps()."""

    def look(batch: Any) -> Sequence[Any]:
        return (attention_seen(teacher, batch, layout) if wanted() else one_cell(batch),)

    return op.torch_function(look, images)[0]


def one_cell(batch: Any) -> Any:
    """Maps for nobody."""
    return batch.new_ones((len(batch), 1, 1)).float()
