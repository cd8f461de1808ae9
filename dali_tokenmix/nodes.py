"""The steps inside a graph that make images: plan, resize, mirror, mix in place, normalise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from . import checks, decorators, op, runtime
from .arguments import common_size, image_size_of
from .plan import read_rows, region_offsets, row_dtype
from .planner import seeded_plan
from .regions import Size, placed_shapes
from .runtime.arrays import View
from .runtime.images import Layout, images_of
from .runtime.pool import Pool

SEED_WORDS = 4  # of 16 bits, which DALI's uniform generator draws without gaps


def random_seeds(seed: int | None) -> DataNode:
    """(SEED_WORDS,) int32 for each sample; the first sample's make the batch's seed. None: from the pipeline's seed."""
    known: dict[str, Any] = {} if seed is None else {"seed": seed}
    return fn.random.uniform(range=[0, 65536], shape=[SEED_WORDS], dtype=types.INT32, **known)


def resized(images: DataNode, flips: DataNode, size: Size, threads: int) -> DataNode:
    """CPU images of any sizes resized with antialiasing, and mirrored where flips, () int32 a sample, is not 0."""
    pool = Pool()

    def resize_batch(batch: Sequence[np.ndarray], which: Sequence[np.ndarray]) -> np.ndarray:
        out = pool.take((len(batch), *size, 3), "uint8")
        return runtime.resize(batch, np.array(which, np.int32).reshape(-1), size, threads=threads, out=out)

    return op.of_any_size(resize_batch, images, flips, layout="HWC")


def normalised(
    images: DataNode, mean: tuple[float, ...], std: tuple[float, ...], dtype: str, layout: Layout, threads: int
) -> DataNode:
    """CPU images, uint8 NHWC, to (value - mean) / std in dtype and layout; mean and std for values in [0, 1]."""
    pool, planar = Pool(), layout == "NCHW"

    def normalise_batch(batch: np.ndarray) -> tuple[np.ndarray]:
        samples, height, width, channels = batch.shape
        shape = (samples, channels, height, width) if planar else batch.shape
        out = pool.take(shape, dtype)
        return (runtime.normalise(batch, mean, std, out, planar=planar, threads=threads),)

    return op.host(normalise_batch, images, layout=layout[1:])[0]


def mirror(images: DataNode, flips: DataNode) -> DataNode:
    """NHWC images mirrored in the node's own memory, where flips, () int32 a sample on the CPU, is not 0."""

    def mirror_batch(batch: View, which: View) -> None:
        runtime.mirror(images_of(batch, layout="NHWC"), which, threads=1)

    return op.in_place(mirror_batch, images, on_device_of(images, flips))


def mix(
    images: DataNode, rows: DataNode, mixer: Any, layout: Layout | None, *after: DataNode, threads: int = 1
) -> DataNode:
    """Mixes the node's own memory by rows, which follow the images to their device, once there is `after`.

    threads: of a CPU; in a graph whose other operators are not known, one, which leaves the cores to them.
    """

    def mix_batch(batch: View, plan: View, *_: View) -> None:
        apply_rows(batch, plan, mixer, layout, threads)

    return op.in_place(mix_batch, images, on_device_of(images, rows), *after)


@decorators.do_not_convert
def mixed_alone(images: DataNode, mixer: Any, seed: int | None) -> DataNode:
    """Images as a mixer makes them that shows no other sample; copies, `images` stays as it is."""

    def plan(shapes: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray]:
        return (seeded_plan(mixer, seeds, common_size(shapes, None, None)).packed,)

    if not isinstance(images, DataNode):
        raise TypeError(f"images must be a DALI node, got {type(images).__name__}")
    (rows,) = op.host(plan, images.shape(dtype=types.INT64), random_seeds(seed))
    copied: Any = fn.copy(images, preserve=True, bytes_per_sample_hint=1)  # DALI takes equal copies for one
    return mix(copied, rows, mixer, None)


def apply_rows(batch: View, rows: View, mixer: Any, layout: Layout | None, threads: int) -> None:
    """Mixes a batch in place by the packed rows of its plan."""
    seen = images_of(batch, layout=layout)
    shapes = placed_shapes(mixer.shapes((seen.height, seen.width)))
    if rows.shape[1] != row_dtype(shapes).itemsize:
        raise ValueError(f"mixer must draw plans of the layout that its shapes() tells, got {mixer!r}")
    runtime.apply_plan(seen, rows, shapes, region_offsets(shapes), threads=threads)


def require_uint8(images: DataNode) -> DataNode:
    """The same node, once its dtype is checked."""

    def check(batch: View) -> None:
        if batch.dtype != "uint8":
            raise TypeError(f"augment must return uint8 images, got {batch.dtype}")

    return op.in_place(check, images)


def plan_nodes(rows: DataNode, sizes: DataNode, mixer: Any, layout: Layout | None) -> dict[str, DataNode]:
    """A plan's arrays as CPU nodes; further and further_weights only of a mixer that mixes more than two."""
    names = ("partner", "mask", "own", "other", "blend", *("further", "further_weights") * (checks.mixes(mixer) > 2))

    def unpack(packed: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, ...]:
        size = image_size_of((len(shape), *shape[0]), layout)
        shapes = placed_shapes(mixer.shapes(size))
        plan = read_rows(np.ascontiguousarray(packed).view(row_dtype(shapes))[:, 0], shapes, size)
        found = {"mask": plan.mask(), "blend": plan.blend()}
        return tuple(found[name] if name in found else getattr(plan, name) for name in names)

    return dict(zip(names, op.host(unpack, rows, sizes, outputs=len(names)), strict=True))


def on_device_of(like: DataNode, node: DataNode) -> DataNode:
    """The node itself, or its copy on the GPU if `like` is there."""
    return node.gpu() if like.device == "gpu" and node.device == "cpu" else node
