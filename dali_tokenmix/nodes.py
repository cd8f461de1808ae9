"""The three steps inside a graph: plan (host), mix (in place, where the images are), targets (where the images are)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from . import op, runtime
from .plan import read_rows, region_offsets, row_dtype
from .regions import Size
from .runtime.arrays import View
from .runtime.mix import Layout, find_layout, images_of

SEED_WORDS = 4  # of 16 bits, which DALI's uniform generator draws without gaps


def random_seeds(seed: int | None) -> DataNode:
    """(SEED_WORDS,) int32 for each sample; the first sample's make the batch's seed. None: from the pipeline's seed."""
    known: dict[str, Any] = {} if seed is None else {"seed": seed}
    return fn.random.uniform(range=[0, 65536], shape=[SEED_WORDS], dtype=types.INT32, **known)


def resized(images: DataNode, flips: DataNode, size: Size, threads: int) -> DataNode:
    """CPU images of any sizes resized with antialiasing, and mirrored where flips, () int32 a sample, is not 0."""

    def resize_batch(batch: Sequence[np.ndarray], which: Sequence[np.ndarray]) -> np.ndarray:
        return runtime.resize(batch, np.array(which, np.int32).reshape(-1), size, threads=threads)

    return op.of_any_size(resize_batch, images, flips, layout="HWC")


def mirror(images: DataNode, flips: DataNode) -> DataNode:
    """NHWC images mirrored in the node's own memory, where flips, () int32 a sample on the CPU, is not 0."""

    def mirror_batch(batch: View, which: View) -> None:
        runtime.mirror(images_of(batch, layout="NHWC"), which, threads=1)

    return op.in_place(mirror_batch, images, on_device_of(images, flips))


def mix(images: DataNode, rows: DataNode, mixer: Any, layout: Layout | None) -> DataNode:
    """Mixes the node's own memory by CPU rows, which follow the images to their device."""

    def mix_batch(batch: View, plan: View) -> None:
        seen = images_of(batch, layout=layout)
        shapes = mixer.shapes((seen.height, seen.width))
        if plan.shape[1] != row_dtype(shapes).itemsize:
            raise ValueError(f"mixer must draw plans of the layout that its shapes() tells, got {mixer!r}")
        # one thread: the graph keeps the other cores busy
        runtime.apply_plan(seen, plan, shapes, region_offsets(shapes), threads=1)

    return op.in_place(mix_batch, images, on_device_of(images, rows))


def require_uint8(images: DataNode) -> DataNode:
    """The same node, once its dtype is checked."""

    def check(batch: View) -> None:
        if batch.dtype != "uint8":
            raise TypeError(f"augment must return uint8 images, got {batch.dtype}")

    return op.in_place(check, images)


def teacher_maps(teacher: Any, images: DataNode, ids: DataNode, wanted: Callable[[], bool] = lambda: True) -> DataNode:
    """(h, w) float32 activation maps of each sample's class, by a Teacher on clean images, where the images are.

    wanted: asked for each batch; where nothing will be mixed, the teacher is spared and a map is one cell.
    """

    def look(batch: Any, labels: Any) -> Any:
        return teacher(batch, labels) if wanted() else batch.new_ones((len(batch), 1, 1)).float()

    return op.torch_function(look, images, on_device_of(images, ids))


def score(rows: DataNode, maps: DataNode, mixer: Any, layout: Layout | None, images: DataNode) -> DataNode:
    """The rows, with own and other from the maps, where the maps are. What is mixed by them waits for the maps.

    images: those the rows are for; their memory is not looked at.
    """

    def score_batch(plan: View, seen: View, batch: View) -> None:
        size = image_size_of(batch.shape, layout)
        shapes = mixer.shapes(size)
        runtime.score(plan, seen, shapes, region_offsets(shapes), size)

    on_device = rows.gpu() if maps.device == "gpu" else fn.copy(rows, preserve=True)
    return op.in_place(score_batch, on_device, maps, images)


def soft_targets(ids: DataNode, rows: DataNode, num_classes: int, smoothing: float, like: DataNode) -> DataNode:
    """(C,) float32 targets on the device of `like`, from checked int32 class ids and CPU rows."""

    def fill(labels: View, plan: View, out: View) -> None:
        runtime.targets(labels, plan, out, smoothing=smoothing)

    soft = op.new_output(fill, (num_classes,), on_device_of(like, ids), on_device_of(like, rows))
    # CuPy's memory is free for reuse as soon as its owner lets go, whatever stream still reads it; DALI's own is not.
    return fn.copy(soft) if like.device == "gpu" else soft


def plan_nodes(rows: DataNode, sizes: DataNode, mixer: Any, layout: Layout | None) -> dict[str, DataNode]:
    """A plan's arrays as CPU nodes."""

    def unpack(packed: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, ...]:
        size = image_size_of((len(shape), *shape[0]), layout)
        shapes = mixer.shapes(size)
        plan = read_rows(np.ascontiguousarray(packed).view(row_dtype(shapes))[:, 0], shapes, size)
        return plan.partner, plan.mask(), plan.own, plan.other, plan.blend()

    names = ("partner", "mask", "own", "other", "blend")
    return dict(zip(names, op.host(unpack, rows, sizes, outputs=len(names)), strict=True))


def image_size_of(shape: tuple[int, ...], layout: Layout | None) -> Size:
    """(height, width) of a batch of this shape."""
    layout = layout or find_layout(shape, None)
    return (shape[1], shape[2]) if layout == "NHWC" else (shape[2], shape[3])


def on_device_of(like: DataNode, node: DataNode) -> DataNode:
    """The node itself, or its copy on the GPU if `like` is there."""
    return node.gpu() if like.device == "gpu" and node.device == "cpu" else node
