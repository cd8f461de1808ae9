"""What erased pixels show: one colour, or noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..checks import choice, number

FillKind = Literal["constant", "mean", "noise"]
FillValue = float | Sequence[float] | None
IMAGENET_MEAN_BYTES = (123.675, 116.28, 103.53)


@dataclass(frozen=True)
class Fill:
    """A colour in the images' own units, or noise. See Cutout for what `kind` and `value` mean.

    Raises ValueError or TypeError that names `fill` or `value`.
    """

    kind: FillKind
    value: FillValue = None

    def __post_init__(self) -> None:
        choice("fill", self.kind, ("constant", "mean", "noise"))
        if self.value is None:
            return
        if self.kind == "noise":
            raise ValueError(f"value must be None with fill='noise', got {self.value!r}")
        if isinstance(self.value, tuple | list | np.ndarray):
            if len(self.value) == 0:
                raise ValueError(f"value must be a number, or one for each channel, got {self.value!r}")
            for k, one in enumerate(self.value):
                number(f"value[{k}]", one)
            object.__setattr__(self, "value", tuple(map(float, self.value)))
        else:
            number("value", self.value)

    def pixel(self, dtype: str, channels: int) -> np.ndarray:
        """(channels,) the colour of a pixel of such images, rounded to their dtype. Raises ValueError if none fits."""
        value = self.value
        if value is None:
            by_default: FillValue = IMAGENET_MEAN_BYTES if self.kind == "mean" and dtype == "uint8" else 0.0
            value = by_default
        colour = np.array(value, np.float64, ndmin=1)
        if len(colour) not in (1, channels):
            raise ValueError(
                f"value must be one number or one for each of {channels} channels, got {len(colour)}"
                f"{' of ImageNet' if self.value is None else ''}: pass value="
            )
        least, most = (0, 255) if dtype == "uint8" else (np.finfo(dtype).min, np.finfo(dtype).max)
        if colour.min() < least or colour.max() > most:
            raise ValueError(f"value must be in {least:g}..{most:g} for {dtype} images, got {value}")
        rounded = np.rint(colour) if dtype == "uint8" else colour
        return np.broadcast_to(rounded.astype(dtype), (channels,))
