"""Arrays whose memory is used again: fresh memory of a batch's size costs a page fault every 4 KB."""

from __future__ import annotations

import sys
import threading
from math import prod

import numpy as np

SPARE = 4  # pieces of memory nobody holds that are kept
HELD_HERE = 3  # references to one: the list, the loop's variable, getrefcount()'s argument


class Pool:
    """take() gives an array that nobody else holds. Its memory comes back as soon as the last view of it is gone."""

    def __init__(self) -> None:
        self._memory: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """An array in C order, whatever it holds."""
        size = prod(shape) * np.dtype(dtype).itemsize
        with self._lock:
            free = [memory for memory in self._memory if sys.getrefcount(memory) == HELD_HERE]
            fits = next((memory for memory in reversed(free) if memory.nbytes == size), None)
            drop = {id(memory) for memory in free if memory is not fits}
            if len(drop) > SPARE:
                self._memory = [memory for memory in self._memory if id(memory) not in drop]
            if fits is None:
                fits = np.empty(size, np.uint8)
                self._memory.append(fits)
            return fits.view(dtype).reshape(shape)
