"""A DLPack capsule read in place: its memory is used, and it is handed on, without being consumed."""

from __future__ import annotations

import ctypes
from typing import Any

from .arrays import Device, View, contiguous_strides

CODES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
DEVICES: dict[int, Device] = {1: "cpu", 2: "gpu", 3: "cpu"}  # kDLCPU, kDLCUDA, kDLCUDAHost


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h; a DLManagedTensor begins with one."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


def view_of_capsule(capsule: Any) -> View:
    """What an unconsumed capsule named "dltensor" holds."""
    tensor = _Tensor.from_address(_pointer(capsule, b"dltensor"))
    shape = tuple(tensor.shape[: tensor.ndim])
    itemsize = tensor.bits * tensor.lanes // 8
    if tensor.strides:
        strides = tuple(stride * itemsize for stride in tensor.strides[: tensor.ndim])
    else:
        strides = contiguous_strides(shape, itemsize)
    dtype = f"{CODES.get(tensor.code, tensor.code)}{tensor.bits}"
    address = (tensor.data or 0) + tensor.byte_offset
    return View(address, shape, strides, dtype, itemsize, DEVICES[tensor.device_type], True, capsule)


def device_of_capsule(capsule: Any) -> int:
    """The number of the GPU that an unconsumed capsule's memory is on."""
    return int(_Tensor.from_address(_pointer(capsule, b"dltensor")).device_id)
