"""What fn.token_mix and dynamic.token_mix check alike: their arguments, and the shape of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import choice, integer, number
from .checks import mixer as check_mixer
from .placing import needed
from .regions import Size
from .runtime.images import Layout, find_layout
from .supervision import SUPERVISIONS, check_classes, check_source
from .supervision import check_mixer as check_use


def checked(
    *,
    num_classes: Any,
    mixer: Any,
    smoothing: Any,
    inplace: Any,
    return_plan: Any,
    layout: Any,
    supervision: Any,
    teacher: Any,
    label_maps: Any,
) -> int:
    """num_classes. Raises TypeError or ValueError that names an argument which is wrong, whatever the batch."""
    check_mixer("mixer", mixer)
    choice("inplace", inplace, (False, True))
    choice("return_plan", return_plan, (False, True))
    classes = integer("num_classes", num_classes, at_least=1)
    number("smoothing", smoothing, at_least=0, at_most=1)
    choice("layout", layout, (None, "NHWC", "NCHW"))
    choice("supervision", supervision, SUPERVISIONS)
    check_source(supervision, teacher, label_maps, attention="attention" in needed(mixer))
    check_use(supervision, mixer)
    check_classes(supervision, teacher, classes, used=classes)
    return classes


def common_size(shapes: np.ndarray, known: str | None, layout: Layout | None) -> Size:
    """Height and width of a batch. Raises ValueError for shapes that differ and layouts that contradict.

    shapes: (N, dimensions) of the samples. known: DALI's layout of a sample, "HWC"; None or "" where it has none.
    """
    if shapes.shape[1] != 3:
        hint = ": a gray image is (H, W, 1)" if shapes.shape[1] == 2 else ""
        raise ValueError(f"images must be (H, W, C) or (C, H, W) a sample, got {shapes.shape[1]} dimensions{hint}")
    if (different := (shapes != shapes[0]).any(axis=1)).any():
        other = int(different.argmax())
        raise ValueError(
            f"images must all have one shape within a batch, got {tuple(map(int, shapes[0]))} for sample 0 "
            f"and {tuple(map(int, shapes[other]))} for sample {other}: resize or crop them first"
        )
    shape = (len(shapes), *map(int, shapes[0]))
    size = image_size_of(shape, layout)
    expected = f"N{known}"
    if expected in ("NHWC", "NCHW") and size != image_size_of(shape, expected):  # type: ignore[arg-type]
        raise ValueError(f"images of shape {shape} are {expected} to DALI: pass layout={expected!r}")
    return size


def image_size_of(shape: tuple[int, ...], layout: Layout | None) -> Size:
    """(height, width) of a batch of this shape."""
    layout = layout or find_layout(shape, None)
    return (shape[1], shape[2]) if layout == "NHWC" else (shape[2], shape[3])
