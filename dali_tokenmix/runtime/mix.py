"""Kernels that mix: a plan's regions are exchanged or blended in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from ..checks import choice
from ..regions import BlendShape, BoxShape, RegionShape, Size, TokenGrid
from .arrays import View
from .launch import launch, vector_alignment
from .work import Work

DTYPES = ("uint8", "float16", "float32")
Layout = Literal["NHWC", "NCHW"]


@dataclass(frozen=True)
class Images:
    """A batch of images in memory: strides in bytes as the kernels want them."""

    view: View
    samples: int
    planes: int
    height: int
    width: int
    pixel_bytes: int
    strides: tuple[int, int, int]  # sample, plane, row

    @property
    def struct(self) -> tuple[int, ...]:
        return (*self.strides, self.samples, self.planes, self.height, self.width, self.pixel_bytes)

    def widest(self, least: int) -> int:
        """The widest access in bytes, 16 down to `least`, that the address and all strides allow on this device."""
        if vector_alignment(self.view.device) == 1:
            return 16
        steps = np.array([self.view.address, *self.strides], np.uint64)
        return next(width for width in (16, 8, 4, 2, 1) if width <= least or not (steps % np.uint64(width)).any())


def images_of(view: View, image_size: Size | None = None, layout: Layout | None = None) -> Images:
    """Reads a view as a batch of images. Raises TypeError or ValueError that names what does not fit.

    layout: found from image_size, or else from the channel axis of 1, 3 or 4, where it is left out and unambiguous.
    """
    if view.dtype not in DTYPES:
        raise TypeError(f"images must be {', '.join(DTYPES)}, got {view.dtype}")
    if len(view.shape) != 4 or 0 in view.shape:
        raise ValueError(f"images must be (N, H, W, C) or (N, C, H, W), none of them 0, got shape {view.shape}")
    if not view.writable:
        raise ValueError("images are read-only, and mixing is in place: pass a copy")
    choice("layout", layout, (None, "NHWC", "NCHW"))
    layout = layout or find_layout(view.shape, image_size)
    n, *chw = view.shape if layout == "NCHW" else (view.shape[0], view.shape[3], *view.shape[1:3])
    channels, height, width = chw
    if image_size is not None and (height, width) != tuple(image_size):
        raise ValueError(
            f"images are {height} x {width} as {layout}, the plan is for {image_size[0]} x {image_size[1]}: "
            "draw() it for their size, or pass the other layout="
        )
    if _overlaps(view):
        raise ValueError(f"images must not share memory, got strides {view.strides} bytes: pass a copy")
    step = dict(zip(layout, view.strides, strict=True))
    item = view.itemsize
    packed_pixels = (channels == 1 or step["C"] == item) and (width == 1 or step["W"] == channels * item)
    packed_planes = width == 1 or step["W"] == item
    if packed_pixels:
        planes, plane_stride, pixel_bytes = 1, 0, channels * item
    elif packed_planes:
        planes, plane_stride, pixel_bytes = channels, step["C"], item
    else:
        raise ValueError(f"images must have pixels side by side in a row, got {layout} strides {view.strides} bytes")
    if n * planes * height >= 2**31:
        raise ValueError(f"images must have under 2**31 pixel rows in all, got shape {view.shape}")
    strides = (step["N"] if n > 1 else 0, plane_stride, step["H"] if height > 1 else 0)
    if min(strides) < 0:
        raise ValueError(f"images must not run backwards, got strides {view.strides} bytes")
    return Images(view, n, planes, height, width, pixel_bytes, strides)


def _overlaps(view: View) -> bool:
    """Whether two elements may lie at one address: some axis steps less far than all shorter steps together reach."""
    reach = view.itemsize
    for stride, side in sorted((abs(stride), side) for stride, side in zip(view.strides, view.shape, strict=True)):
        if side > 1 and stride < reach:
            return True
        reach += stride * (side - 1)
    return False


def find_layout(shape: tuple[int, ...], image_size: Size | None) -> Layout:
    """NHWC or NCHW. Raises ValueError where the shape leaves it open."""
    if image_size is not None:
        fits = [name for name, size in (("NHWC", shape[1:3]), ("NCHW", shape[2:4])) if tuple(size) == tuple(image_size)]
        if not fits:
            raise ValueError(f"images of shape {shape} are not {image_size[0]} x {image_size[1]}, as the plan is")
    else:
        fits = [name for name, axis in (("NHWC", 3), ("NCHW", 1)) if shape[axis] in (1, 3, 4)]
    if len(fits) != 1:
        raise ValueError(f"images of shape {shape} may be NHWC or NCHW: say layout='NHWC' or layout='NCHW'")
    return cast(Layout, fits[0])


def apply_plan(
    images: Images, rows: View, shapes: tuple[RegionShape, ...], offsets: tuple[int, ...], *, threads: int | None = None
) -> None:
    """Mixes images in place as packed plan rows say.

    rows: (N, bytes) uint8 on the images' device. shapes and offsets: of each region, and where in a row it begins.
    """
    if rows.shape[0] != images.samples:
        raise ValueError(f"plan is for {rows.shape[0]} samples, images are {images.samples}")
    if rows.device != images.view.device:
        raise ValueError(f"plan is on the {rows.device}, images are on the {images.view.device}")
    for shape, offset in zip(shapes, offsets, strict=True):
        name, struct, width, geometry = _kernel(shape, images)
        work = Work(images.samples * images.planes * images.height, images.width * images.pixel_bytes // width)
        launch(
            images.view.device,
            name,
            struct,
            (images.view.address, rows.address),
            work,
            threads=threads,
            image=images.struct,
            rows=(rows.strides[0], offset),
            **geometry,
        )


def mirror(images: Images, flips: View, *, threads: int | None = None) -> None:
    """Mirrors images left to right, in place, where flips, (N,) int32 on their device, is not 0."""
    work = Work(images.samples * images.planes * images.height, images.width // 2)
    pointers = (images.view.address, flips.address)
    launch(images.view.device, "mirror", "Mirror", pointers, work, threads=threads, image=images.struct)


def _kernel(shape: RegionShape, images: Images) -> tuple[str, str, int, dict[str, int]]:
    """(name, struct, bytes an access, scalars of its own) of the kernel that mixes such a region."""
    if isinstance(shape, BlendShape):
        item = images.view.itemsize
        # a CPU compiler vectorises single elements better than 16 bytes at a time
        width = 16 if vector_alignment(images.view.device) > 1 and images.widest(item) == 16 else item
        return f"blend_{images.view.dtype}_{width}", "Blend", width, {}
    width = images.widest(1)
    if isinstance(shape, TokenGrid):
        scalars = {"patch": shape.patch_size, "grid_w": shape.grid[1]}
        return f"exchange_tokens_{width}", "Exchange", width, scalars
    if isinstance(shape, BoxShape):
        return f"exchange_box_{width}", "Exchange", width, {"patch": 0, "grid_w": 0}
    raise TypeError(f"no kernel mixes a {type(shape).__name__}")
