"""The methods, a line each, with the papers' defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dali_tokenmix as dtm


@dataclass(frozen=True)
class Row:
    """mixer: what draws. maps: what makes the maps that it is placed by, of a batch of images, or None."""

    name: str
    mixer: Any
    maps: Any = None


def table(side: int) -> list[Row]:
    """For images of so many pixels a side."""
    return [
        Row("TokenMix", dtm.TokenMix()),
        Row("CutMix", dtm.CutMix()),
        Row("MixUp", dtm.MixUp()),
    ]
