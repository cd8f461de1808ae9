"""A host library built with -DON_GRID: a CPU goes through a GPU's blocks and threads, one after the other.

So the index arithmetic that a GPU will do is done in CI: all rows and lanes, each once, in any order. setup.py builds
such a library with DALI_TOKENMIX_ON_GRID=1, DALI_TOKENMIX_HOST_LIBRARY loads it, and DALI_TOKENMIX_GRID_SEED, unless it
is 0, shuffles threads and blocks.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

import numpy as np

from .work import Work

SEED = "DALI_TOKENMIX_GRID_SEED"


class Index(ctypes.Structure):
    """A CUDA built-in such as threadIdx, as common.cuh has it."""

    _fields_ = (("x", ctypes.c_uint32), ("y", ctypes.c_uint32))


def is_built_for(library: ctypes.CDLL) -> bool:
    """Whether the kernels of this library ask blockIdx and threadIdx where they are."""
    try:
        Index.in_dll(library, "blockIdx")
    except ValueError:
        return False
    return True


def run(library: ctypes.CDLL, kernel: Any, arguments: tuple[Any, ...], work: Work) -> None:
    """Calls the kernel once for every thread of every block of the grid that a GPU would be given."""
    block, thread, block_size, grid_size = (
        Index.in_dll(library, name) for name in ("blockIdx", "threadIdx", "blockDim", "gridDim")
    )
    lanes, rows = work.block
    block_size.x, block_size.y, grid_size.x, grid_size.y = lanes, rows, work.grid, 1
    for at in _order(work.grid * rows * lanes):
        place, thread.x = divmod(at, lanes)
        block.x, thread.y = divmod(place, rows)
        kernel(*arguments)


def _order(threads: int) -> list[int]:
    seed = int(os.environ.get(SEED, "0"))
    return list(range(threads)) if seed == 0 else _generator(seed).permutation(threads).tolist()


@cache
def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))
