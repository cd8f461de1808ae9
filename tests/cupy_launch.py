"""What reaches the driver of a launch through CuPy, without a driver: a program of its own, for it changes CuPy.

CuPy's modules call one another through tables of C functions. Before cupy.cuda.function is loaded, two of them are
replaced there: the one that makes a context, and the one that hands a launch to the driver. From stdin come pickled
launches [(kernel, pointers, params, grid, block, bytes of each argument)]; to stdout go [(grid, block, arguments)].
"""

from __future__ import annotations

import ctypes
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

NO_SUCH_TABLE = 77  # exit code: this CuPy's modules call one another otherwise
LAUNCH = b"PyObject *(intptr_t, %s, intptr_t, intptr_t, intptr_t, int __pyx_skip_dispatch)" % b", ".join(
    [b"unsigned int"] * 7
)
CONTEXT = b"PyObject *(void)"


def arrived(launches: list[tuple]) -> list[tuple] | None:
    """Runs this file on the launches. None where this CuPy has no such tables."""
    command = [sys.executable, "-m", "tests.cupy_launch"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, input=pickle.dumps(launches), capture_output=True, check=False, cwd=root)
    if done.returncode == NO_SUCH_TABLE:
        return None
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)


def main() -> None:
    from cupy_backends.cuda.api import driver, runtime

    launches, noted = pickle.load(sys.stdin.buffer), []

    def note(function, gx, gy, gz, bx, by, bz, shared, stream, params, extra, skip):
        sizes = launches[len(noted)][-1]
        places = (ctypes.c_void_p * len(sizes)).from_address(params)
        arguments = [ctypes.string_at(place, size) for place, size in zip(places, sizes, strict=True)]
        noted.append(((gx, gy, gz), (bx, by, bz), arguments))

    word, number = ctypes.c_ssize_t, ctypes.c_uint
    launch = ctypes.PYFUNCTYPE(ctypes.py_object, word, *[number] * 7, *[word] * 3, ctypes.c_int)(note)
    context = ctypes.PYFUNCTYPE(ctypes.py_object)(lambda: None)
    replace(driver, "launchKernel", LAUNCH, launch)
    replace(runtime, "_ensure_context", CONTEXT, context)

    import cupy
    from cupy.cuda.function import Function

    from dali_tokenmix.runtime import cuda

    function, stream = Function.__new__(Function), types.SimpleNamespace(ptr=0)
    cuda._function = lambda name, device: lambda *call: function(*call, stream=stream)
    cupy.cuda.Device = lambda: types.SimpleNamespace(id=0)
    for *launched, _ in launches:
        cuda.launch(*launched)
    sys.stdout.buffer.write(pickle.dumps(noted))


def replace(module: Any, name: str, signature: bytes, function: Any) -> None:
    """Puts a ctypes function in the place of a C function that modules loaded later find by name and signature."""
    new, valid = ctypes.pythonapi.PyCapsule_New, ctypes.pythonapi.PyCapsule_IsValid
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    valid.argtypes = (ctypes.py_object, ctypes.c_char_p)
    table = getattr(module, "__pyx_capi__", {})
    if not valid(table.get(name), signature):
        sys.exit(NO_SUCH_TABLE)
    table[name] = new(ctypes.cast(function, ctypes.c_void_p), signature, None)


if __name__ == "__main__":
    main()
