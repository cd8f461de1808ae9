"""Memory for the length of a launch: kernels allocate nothing."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .arrays import Device

_own = threading.local()


def scratch(device: Device, size: int) -> tuple[int, Any]:
    """(address, owner) of at least `size` bytes, 64-byte aligned; hold the owner until the launch is made.

    On the CPU the calling thread keeps its largest one, so that the next launch meets no page faults. On a GPU it is
    CuPy's, whose pool gives it out again only behind this launch on the current stream.
    """
    if device == "gpu":
        import cupy

        held = cupy.empty(size, np.uint8)
        return held.data.ptr, held
    kept: np.ndarray | None = getattr(_own, "memory", None)
    if kept is None or kept.nbytes < size + 64:
        kept = _own.memory = np.empty(size + 64, np.uint8)
    return kept.ctypes.data + -kept.ctypes.data % 64, kept
