"""A batch of images in memory, as the kernels take it: checked, its layout found, its strides in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from ..checks import choice
from ..regions import Size
from .arrays import View
from .launch import vector_alignment
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

    def rows(self, access_bytes: int) -> Work:
        """Every pixel row of every plane, in accesses of so many bytes."""
        return Work(self.samples * self.planes * self.height, self.width * self.pixel_bytes // access_bytes)

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
