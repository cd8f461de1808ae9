"""The kernels on the CPU: the library that setup.py builds from kernels/host.cpp, by ctypes, which releases the GIL."""

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
OVERRIDE = "DALI_TOKENMIX_HOST_LIBRARY"  # a library built with other flags: sanitizers


class HostKernels:
    """The library and the number of threads its launches use."""

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

        threads: one in a forked child whatever is asked, where GNU OpenMP would wait for its parent's threads. work:
        for a library that is built to go through it as a GPU does, see grid.py.
        """
        by_value = self._argument_types[struct].from_buffer_copy(params.tobytes())
        arguments = (*map(ctypes.c_void_p, pointers), by_value)
        if self.on_grid:
            grid.run(self._library, self._library[name], arguments, work)
            return
        before = self._library.set_threads(ctypes.c_int32(1 if _forked else threads))
        try:
            self._library[name](*arguments)
        finally:
            self._library.set_threads(ctypes.c_int32(before))  # torch, if it is there, counts on its own number


@cache
def kernels() -> HostKernels:
    """The CPU library. Raises RuntimeError with the command that builds it if there is none."""
    if chosen := os.environ.get(OVERRIDE):
        return HostKernels(Path(chosen))
    found = sorted(PACKAGE.glob("_host*.so"))
    if not found:
        raise RuntimeError(
            f"the CPU kernels are not built: no _host*.so in {PACKAGE}. "
            "'pip install .' (or 'make' in a checkout) builds them; it needs g++ or clang++"
        )
    return HostKernels(found[0])


_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_after_fork)


def default_threads() -> int:
    """The CPUs this process may use."""
    outermost = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # "4,2": a number a level of nesting
    return (int(outermost) if outermost.isdigit() else 0) or len(os.sched_getaffinity(0))
