"""The kernel that makes one small plane of each image, for what looks at images and not at their classes."""

from __future__ import annotations

from dataclasses import replace

from .arrays import View
from .images import Layout, images_of
from .launch import launch
from .work import Work


def luminance(images: View, planes: View, layout: Layout | None = None, *, threads: int | None = None) -> None:
    """Writes planes (N, h, w) float32: the mean luminance of images, NHWC or NCHW, in each of h x w cells.

    Cell k of n on a side ends in front of pixel (k + 1) * side // n. Of three channels the luminance is ITU-R BT.601's,
    0.299 red + 0.587 green + 0.114 blue; of any other number their mean. In the images' own values, whatever they are.
    Raises TypeError or ValueError for images of another dtype or arrangement, or fewer pixels than cells on a side.
    """
    seen = images_of(replace(images, writable=True), None, layout)  # they are only read
    samples, height, width = planes.shape
    if samples != seen.samples or not (height <= seen.height and width <= seen.width):
        raise ValueError(
            f"planes must be ({seen.samples}, h, w), at most {seen.height} x {seen.width}, got {planes.shape}"
        )
    launch(
        planes.device,
        f"luminance_{images.dtype}",
        "Luminance",
        (images.address, planes.address),
        Work(samples * height, width),
        threads=threads,
        image=seen.struct,
        grid_h=height,
        grid_w=width,
    )
