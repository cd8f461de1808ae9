"""A method's kernels give what its slow definition gives."""

from __future__ import annotations

import numpy as np

import dali_tokenmix as dtm
from dali_tokenmix import reference

from .measure import drawn
from .rows import Row

BATCH, SIZE = 8, (64, 96)


def equals_definition(row: Row) -> None:
    """Raises AssertionError unless every pixel of a small batch is what reference.mixed() makes of it."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH, *SIZE, 3), np.uint8)
    plan = drawn(row, images, seed=3)
    assert np.array_equal(dtm.apply(plan, images.copy()), reference.mixed(plan, images)), row.name
