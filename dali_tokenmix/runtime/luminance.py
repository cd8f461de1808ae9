"""The kernel that makes one small plane of each image, for what looks at images and not at their classes."""

from __future__ import annotations

from dataclasses import replace

from .arrays import View
from .images import Layout, images_of
from .launch import launch
from .work import Work


def luminance(batch: View, planes: View, layout: Layout | None = None, *, threads: int | None = None) -> None:
    """Writes planes (N, h, w) float32: the mean luminance of a batch of images, NHWC or NCHW, in each of h x w cells.

    Cell k of n on a side ends in front of pixel (k + 1) * side // n. Of three channels the luminance is ITU-R BT.601's,
    0.299 red + 0.587 green + 0.114 blue; of any other number their mean. In the images' own values, whatever they are.
    Raises TypeError or ValueError for images of another dtype or arrangement, or fewer pixels than cells on a side.
    """
    images = images_of(replace(batch, writable=True), None, layout)  # they are only read
    samples, height, width = planes.shape
    if samples != images.samples or not (height <= images.height and width <= images.width):
        raise ValueError(
            f"planes must be ({images.samples}, h, w), at most {images.height} x {images.width}, got {planes.shape}"
        )
    launch(
        planes.device,
        f"luminance_{images.view.dtype}",
        "Luminance",
        (images.view.address, planes.address),
        Work(samples * height, width),
        threads=threads,
        image=images.struct,
        grid_h=height,
        grid_w=width,
    )
