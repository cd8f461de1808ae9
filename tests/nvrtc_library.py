"""An NVRTC of one's choice, by ctypes, with what runtime/cuda.py uses of cupy.cuda.nvrtc, which picks its own."""

from __future__ import annotations

import ctypes
import site
from pathlib import Path

WHEELS = {12: "nvidia/cuda_nvrtc/lib/libnvrtc.so.12", 13: "nvidia/cu13/lib/libnvrtc.so.13"}
PACKAGES = {12: "nvidia-cuda-nvrtc-cu12", 13: "nvidia-cuda-nvrtc>=13"}


def find(major: int) -> Path | None:
    """The library in NVIDIA's wheel, where that is installed."""
    places = [Path(folder) / WHEELS[major] for folder in (*site.getsitepackages(), site.getusersitepackages())]
    return next((place for place in places if place.is_file()), None)


class NVRTCError(RuntimeError):
    """What a call of the library returned."""


class Library:
    """Programs by number. Raises NVRTCError wherever the library returns anything but success."""

    NVRTCError = NVRTCError

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def getVersion(self) -> tuple[int, int]:
        """(major, minor)."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    def createProgram(self, source: str, name: str, headers: tuple, include_names: tuple) -> int:
        """A program of one source text; it takes no headers."""
        assert (headers, include_names) == ((), ())
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
        assert program.value is not None
        return program.value

    def compileProgram(self, program: int, options: tuple[str, ...]) -> None:
        """Compiles. The log says what went wrong, and with --ptxas-options=-v what the kernels need."""
        texts = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        self._call("nvrtcCompileProgram", ctypes.c_void_p(program), len(options), texts)

    def destroyProgram(self, program: int) -> None:
        """Frees the program."""
        self._call("nvrtcDestroyProgram", ctypes.byref(ctypes.c_void_p(program)))

    def getCUBIN(self, program: int) -> bytes:
        """The machine code, an ELF file."""
        return self._fetch("nvrtcGetCUBIN", program)

    def getPTX(self, program: int) -> bytes:
        """The intermediate code, text."""
        return self._fetch("nvrtcGetPTX", program).rstrip(b"\0")

    def getProgramLog(self, program: int) -> str:
        """What the compiler had to say."""
        return self._fetch("nvrtcGetProgramLog", program).rstrip(b"\0").decode()

    def _fetch(self, function: str, program: int) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{function}Size", ctypes.c_void_p(program), ctypes.byref(size))
        memory = ctypes.create_string_buffer(size.value)
        self._call(function, ctypes.c_void_p(program), memory)
        return memory.raw

    def _call(self, function: str, *arguments: object) -> None:
        if status := getattr(self._library, function)(*arguments):
            raise NVRTCError(f"{function}: {self._library.nvrtcGetErrorString(status).decode()}")
