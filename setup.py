"""Builds the CPU library from the kernels; everything else is in pyproject.toml."""

import os
import platform
import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

KERNELS = Path("kernels")
ON_GRID = os.environ.get("DALI_TOKENMIX_ON_GRID", "0") == "1"  # see dali_tokenmix/runtime/grid.py and the Makefile
SANITIZE = os.environ.get("DALI_TOKENMIX_SANITIZE", "")  # "address,undefined": see the Makefile
# Contraction off: NumPy, CPU and GPU agree bit for bit.
FLAGS = [
    "-std=c++17",
    "-O3",
    "-pthread",
    "-ffp-contract=off",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
]
SANITIZER_FLAGS = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"]


class build_host_library(build_ext):
    """A plain shared library: there is no Python module in it to initialise."""

    def get_export_symbols(self, ext):
        return []


class build_package(build_py):
    """Takes the kernel sources along, for the GPU to compile at run time."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copytree(KERNELS, Path(self.build_lib) / "dali_tokenmix" / "kernels", dirs_exist_ok=True)


def host_library(stem: str, *flags: str) -> Extension:
    return Extension(
        f"dali_tokenmix._{stem}",
        [f"kernels/{stem}.cpp"],
        depends=sorted(map(str, [*KERNELS.glob("*.cu*"), *KERNELS.glob("*.h"), KERNELS / "host.cpp"])),
        language="c++",
        define_macros=[("ON_GRID", None)] * ON_GRID,
        extra_compile_args=[*FLAGS, *flags, *SANITIZER_FLAGS * bool(SANITIZE)],
        extra_link_args=["-pthread", *SANITIZER_FLAGS * bool(SANITIZE)],
    )


# Of one source: any processor, and those with AVX2, for which runtime/host.py looks. A GPU's grid needs no second one.
LIBRARIES = [host_library("host")]
if platform.machine() in ("x86_64", "AMD64") and not ON_GRID:
    LIBRARIES.append(host_library("host_avx2", "-mavx2", "-mbmi"))

setup(ext_modules=LIBRARIES, cmdclass={"build_ext": build_host_library, "build_py": build_package})
