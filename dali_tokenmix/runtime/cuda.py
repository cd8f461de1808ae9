"""The kernels on a CUDA device: compiled by NVRTC through CuPy, kept on disk, launched on CuPy's current stream.

Nothing here touches a device, or imports CuPy, before the first launch.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..devices import gpu_problem
from . import sources

VECTOR_ALIGNMENT = 16
# Bits matter: no contraction into fused multiply-add, no flushing of subnormals (CuPy's own compiler path flushes).
OPTIONS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")
OWNER = {"philox": "block_mask"}  # kernels that live in another's file


def launch(name: str, pointers: tuple[int, ...], params: np.ndarray, grid: int, block: tuple[int, int]) -> None:
    """Puts kernel `name` on CuPy's current stream of the current device. Returns at once.

    Raises RuntimeError that says what is missing where kernels cannot be compiled.
    """
    import cupy

    function = _function(name, cupy.cuda.Device().id)
    function((grid,), block, (*map(np.uint64, pointers), params))


def compile_cubin(stem: str, architecture: int) -> bytes:
    """kernels/<stem>.cu for sm_<architecture>. Needs NVRTC but no device. Raises NVRTCError with the compiler's log."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(sources.text(stem), f"{stem}.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*OPTIONS, f"--gpu-architecture=sm_{architecture}"))
        return whole_elf(nvrtc.getCUBIN(program))
    except nvrtc.NVRTCError as error:
        raise RuntimeError(
            f"{stem}.cu does not compile for sm_{architecture}: {nvrtc.getProgramLog(program)}"
        ) from error
    finally:
        nvrtc.destroyProgram(program)


def whole_elf(cubin: bytes) -> bytes:
    """A cubin with the byte that CuPy 14 takes off its end for a terminating zero, which it is not.

    A cubin ends with its table of program headers. Its last byte is the highest of an alignment, so it is zero.
    """
    at, size, count = (int.from_bytes(cubin[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    return cubin + b"\0" if len(cubin) == at + size * count - 1 else cubin


def file_of(name: str) -> str:
    """The stem of the file that holds kernel `name`: the longest that the name begins with."""
    return OWNER.get(name) or next(s for s in sorted(sources.names(), key=len, reverse=True) if name.startswith(s))


@cache
def _function(name: str, device: int) -> Any:
    if problem := gpu_problem(device):
        raise RuntimeError(problem)
    import cupy

    capability = int(cupy.cuda.Device(device).compute_capability)
    with cupy.cuda.Device(device):
        return cupy.RawModule(path=str(_cached(file_of(name), capability))).get_function(name)


def _cached(stem: str, architecture: int) -> Path:
    from cupy.cuda import nvrtc

    parts = (sources.text(stem), *OPTIONS, str(nvrtc.getVersion()), str(architecture))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "dali_tokenmix" / f"{stem}-sm_{architecture}-{key}.cubin"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(compile_cubin(stem, architecture))
        os.replace(file.name, path)  # whole or not at all, whoever else is compiling
    return path


def to_device(array: np.ndarray) -> Any:
    """A copy on the current device, ordered on CuPy's current stream."""
    import cupy

    return cupy.asarray(array)


def on_stream_of(array: Any) -> Any:
    """A context in which CuPy works on the array's device; for a torch tensor on torch's current stream too."""
    import contextlib

    if problem := gpu_problem():
        raise RuntimeError(problem)
    import cupy

    stack = contextlib.ExitStack()
    if hasattr(array, "data_ptr"):
        import sys

        torch = sys.modules["torch"]  # the tensor's own library, so it is there
        stack.enter_context(cupy.cuda.Device(array.device.index))
        stack.enter_context(external_stream(torch.cuda.current_stream(array.device).cuda_stream))
    else:
        stack.enter_context(array.device if hasattr(array, "device") else contextlib.nullcontext())
    return stack


def external_stream(stream: int) -> Any:
    """CuPy's view of somebody else's cudaStream_t; a context in which it is CuPy's current stream."""
    import cupy

    if hasattr(cupy.cuda.Stream, "from_external"):  # CuPy 14, which deprecates the other
        return cupy.cuda.Stream.from_external(_Protocol(stream))
    return cupy.cuda.ExternalStream(stream)


class _Protocol:
    """The CUDA stream protocol around a number."""

    def __init__(self, stream: int) -> None:
        self._stream = stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._stream
