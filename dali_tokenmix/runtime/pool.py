"""Arrays whose memory is used again: fresh memory of a batch's size costs a page fault every 4 KB."""

from __future__ import annotations

import sys
import threading
from math import prod

import numpy as np

SPARE = 4  # pieces of memory that nobody holds are kept
ALIGNMENT = 64  # bytes; what JAX wants of a CPU's memory to take it without a copy


def _references(arrays: list[np.ndarray]) -> list[int]:
    return [sys.getrefcount(array) for array in arrays]


UNHELD = _references([np.empty(0)])[0]  # by a list alone; how Python counts is its own affair


class Pool:
    """take() gives an array that nobody else holds. Its memory comes back as soon as the last view of it is gone."""

    def __init__(self) -> None:
        self._memory: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """An array in C order that begins at a multiple of ALIGNMENT, whatever it holds."""
        size = prod(shape) * np.dtype(dtype).itemsize
        room = size + ALIGNMENT - 1
        with self._lock:
            held = [count > UNHELD for count in _references(self._memory)]
            free = [memory for memory, busy in zip(self._memory, held, strict=True) if not busy]
            found = next((memory for memory in free if memory.nbytes == room), None)
            if len(free) > SPARE:
                self._memory = [memory for memory, busy in zip(self._memory, held, strict=True) if busy]
                self._memory += [] if found is None else [found]
            if found is None:
                found = np.empty(room, np.uint8)
                self._memory.append(found)
            start = -found.ctypes.data % ALIGNMENT
            return found[start : start + size].view(dtype).reshape(shape)
