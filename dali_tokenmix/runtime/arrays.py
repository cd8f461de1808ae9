"""Any library's array as an address, a shape and strides. No library is imported to do so."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class View:
    """Memory of `owner`, which it keeps alive: address, shape, strides in bytes, dtype by name, and where it lies."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    itemsize: int
    device: Device
    writable: bool
    owner: Any = field(repr=False, compare=False)

    @property
    def contiguous(self) -> bool:
        """C order, no gaps."""
        step = self.itemsize
        for side, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if side != 1 and stride != step:
                return False
            step *= side
        return True


def view(name: str, array: Any) -> View:
    """The view of a NumPy, CuPy or torch array, or any with DLPack on the CPU. Raises TypeError naming `name`."""
    if isinstance(array, np.ndarray):
        return _numpy_view(array)
    if hasattr(array, "data_ptr") and hasattr(array, "element_size"):
        return _torch_view(name, array)
    if (interface := getattr(array, "__cuda_array_interface__", None)) is not None:
        dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
        strides = interface.get("strides") or contiguous_strides(shape, dtype.itemsize)
        address, read_only = interface["data"]
        return View(address, shape, tuple(strides), dtype.name, dtype.itemsize, "gpu", not read_only, array)
    if hasattr(array, "__dlpack__"):
        try:
            return _numpy_view(np.from_dlpack(array))
        except (BufferError, RuntimeError, TypeError) as error:
            raise TypeError(f"{name}: NumPy cannot see this {type(array).__name__} in place: {error}") from error
    raise TypeError(f"{name} must be a NumPy, CuPy or torch array or have __dlpack__, got {type(array).__name__}")


def contiguous_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of a C-ordered array."""
    return tuple(itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _numpy_view(array: np.ndarray) -> View:
    native = array.dtype.isnative
    name = array.dtype.name if native else f"byte-swapped {array.dtype.name}"
    return View(
        array.ctypes.data, array.shape, array.strides, name, array.itemsize, "cpu", array.flags.writeable, array
    )


def _torch_view(name: str, array: Any) -> View:
    if array.device.type not in ("cpu", "cuda"):
        raise TypeError(f"{name} must be on the CPU or a CUDA device, got {array.device}")
    if array.requires_grad:
        raise ValueError(
            f"{name} must not require grad: it is changed in place, outside autograd; pass {name}.detach()"
        )
    size = array.element_size()
    strides = tuple(stride * size for stride in array.stride())
    dtype = str(array.dtype).removeprefix("torch.")
    device: Device = "gpu" if array.device.type == "cuda" else "cpu"
    return View(array.data_ptr(), tuple(array.shape), strides, dtype, size, device, True, array)
