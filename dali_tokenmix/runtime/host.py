"""The kernels on the CPU: a library that setup.py builds from kernels/host.cpp, by ctypes, which releases the GIL.

There are two of the same source and with the same results, bit for bit: one for any processor, one for AVX2.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import numpy as np

from . import grid
from .params import STRUCTS
from .sources import PACKAGE
from .work import Work

VECTOR_ALIGNMENT = 1  # a CPU reads 16 bytes from any address
ANY, AVX2 = "_host", "_host_avx2"  # as setup.py names them
CPUINFO = Path("/proc/cpuinfo")
OVERRIDE = "DALI_TOKENMIX_HOST_LIBRARY"  # a library built with other flags: sanitizers


class HostKernels:
    """One of the libraries, its parameter structs held against params.py."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = ctypes.CDLL(str(path))
        self.on_grid = grid.is_built_for(self._library)
        self._argument_types = {name: np.ctypeslib.as_ctypes_type(dtype) for name, dtype in STRUCTS.items()}
        for name, dtype in STRUCTS.items():
            try:
                compiled = ctypes.c_int32.in_dll(self._library, f"size_of_{name}").value
            except ValueError:
                compiled = 0
            if compiled != dtype.itemsize:
                raise RuntimeError(
                    f"{path} has {compiled} bytes for {name}, params.py {dtype.itemsize}: build it again"
                )

    def launch(
        self, name: str, struct: str, pointers: tuple[int, ...], params: np.ndarray, threads: int, work: Work
    ) -> None:
        """Runs kernel `name`, which takes pointers and one struct by value, and returns when it is done.

        work: for a library that is built to go through it as a GPU does, see grid.py.
        """
        by_value = self._argument_types[struct].from_buffer_copy(params.tobytes())
        arguments = (*map(ctypes.c_void_p, pointers), by_value)
        if self.on_grid:
            grid.run(self._library, self._library[name], arguments, work)
            return
        self._library.set_threads(ctypes.c_int32(threads))
        self._library[name](*arguments)


@cache
def kernels() -> HostKernels:
    """The CPU library. Raises RuntimeError with the command that builds it if there is none."""
    if chosen := os.environ.get(OVERRIDE):
        return HostKernels(Path(chosen))
    found = {path.name.split(".")[0]: path for path in PACKAGE.glob("_host*.so")}
    for name in (AVX2,) * has_avx2() + (ANY,):
        if name in found:
            return HostKernels(found[name])
    raise RuntimeError(
        f"the CPU kernels are not built: no {ANY}*.so in {PACKAGE}. "
        "'pip install .' (or 'make' in a checkout) builds them; it needs g++ or clang++"
    )


def has_avx2() -> bool:
    """Whether this processor, and the system on it, have AVX2 and BMI."""
    if not CPUINFO.is_file():
        return False
    flags = next((line.split() for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), [])
    return {"avx2", "bmi1"} <= set(flags)


def default_threads() -> int:
    """The CPUs this process may use."""
    outermost = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # "4,2": a number a level of nesting
    return (int(outermost) if outermost.isdigit() else 0) or len(os.sched_getaffinity(0))
