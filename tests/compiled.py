"""Kernels compiled by runtime/cuda.py itself, once a session, by each NVRTC: code, PTX and ptxas's figures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from dali_tokenmix.runtime import cuda
from tests import nvrtc_library

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
NVRTCS = (12, 13)
DTYPES = ("uint8", "float16", "float32")
KERNELS = {
    "block_mask": {"block_mask", "philox"},
    "blend": {
        f"blend_{name}_{width}" for name, item in (("uint8", 1), ("float16", 2), ("float32", 4)) for width in (item, 16)
    },
    "chains_apply": {"chains_apply"},
    "chains_sum": {"chains_sum"},
    "chains_tables": {"chains_tables_count", "chains_tables"},
    "exchange": {f"exchange_{region}_{width}" for region in ("tokens", "box") for width in (1, 2, 4, 8, 16)},
    "luminance": {f"luminance_{name}" for name in ("uint8", "float16", "float32")},
    "place": {"place_row_peaks", "place_peak", "place_top"},
    "quarters": {"quarters_by_group"}
    | {f"quarters_compose_{width}" for width in (1, 2, 4)}
    | {f"quarters_store_{width}" for width in (1, 2, 4, 8, 16)},
    "erase": {f"erase_{region}_{fill}" for region in ("boxes", "cells") for fill in ("colour", *DTYPES)},
    "targets": {"targets"},
    "mirror": {"mirror"},
    "normalise": {"normalise_float32", "normalise_float16"},
    "resize": {"resize_taps", "resize"},
    "resized": {
        *(f"resized_take_{dtype}" for dtype in ("uint8", "float16", "float32")),
        *(f"resized_paste_{width}" for width in (1, 2, 4, 8, 16)),
    },
    "resized_pairs": {f"resized_pairs_{dtype}" for dtype in ("uint8", "float16", "float32")},
    "score": {"score"},
    "crop_maps": {"crop_maps"},
    "roi_weights": {"roi_weights"},
    "relabel": {"relabel_pool", "relabel_softmax", "relabel_mix"},
    "token_labels": {"token_labels"},
}
ALL_KERNELS = sorted(set().union(*KERNELS.values()))


@dataclass(frozen=True)
class Build:
    """One kernel file for one architecture. log: ptxas's, with registers, stack and spills of each kernel."""

    cubin: bytes
    ptx: str
    log: str

    def body(self, kernel: str) -> str:
        """The PTX between a kernel's braces."""
        found = re.search(rf"\.entry {kernel}\(.*?\n\)\n(?:\.\w+ [^\n]*\n)*\{{(.*?)\n\}}", self.ptx, re.DOTALL)
        assert found, f"no {kernel} in the PTX"
        return found[1]


@cache
def nvrtc(major: int) -> Any:
    """cupy.cuda.nvrtc if that is what CuPy picks, or else the library in NVIDIA's wheel; a skip where there is none."""
    cupy_cuda = pytest.importorskip("cupy.cuda")
    if cupy_cuda.nvrtc.getVersion()[0] == major:
        return cupy_cuda.nvrtc
    path = nvrtc_library.find(major)
    if path is None:
        pytest.skip(f"no NVRTC {major}: pip install '{nvrtc_library.PACKAGES[major]}'")
    return nvrtc_library.Library(path)


@cache
def build(stem: str, architecture: int, major: int) -> Build:
    """kernels/<stem>.cu through cuda.compile_cubin(): its source text, its options, and a request for the figures."""
    listener = _Listener(nvrtc(major))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cupy.cuda.nvrtc", listener)
        cubin = cuda.compile_cubin(stem, architecture)
    return Build(cubin, listener.ptx, listener.log)


class _Listener:
    """Stands in for cupy.cuda.nvrtc and keeps what compile_cubin() does not ask for."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def compileProgram(self, program: int, options: tuple[str, ...]) -> None:
        self._real.compileProgram(program, (*options, "--ptxas-options=-v"))
        ptx = self._real.getPTX(program)
        self.ptx = ptx.decode() if isinstance(ptx, bytes) else ptx
        self.log = self._real.getProgramLog(program)
