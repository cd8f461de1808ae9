"""Says what is installed, which device is used, and for everything missing the command that mends it.

Ends with a trial: one batch mixed by DALI on that device. Exit code 0 if all is well, 1 if a line begins with !!.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import numpy as np

from .. import __version__, devices
from ..progress import progress
from ..runtime import host

HELP = "say what is installed, which device is used, and how to mend what is missing"
GOOD, ABSENT, BAD = "ok", "--", "!!"


class Finding(NamedTuple):
    """A line of the report. state: GOOD, ABSENT (and not needed here) or BAD. mend: a command, or what else helps."""

    name: str
    state: str
    text: str
    mend: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(given: argparse.Namespace) -> int:
    """Prints the report; 0 if nothing needed is missing and the trial went well, 1 otherwise."""
    with progress("looking"):
        findings = list(_findings())
    for name, state, text, _ in findings:
        print(f"{state}  {name:<14} {text}")
    mending = [f"{finding.name}: {finding.mend}" for finding in findings if finding.mend]
    if mending:
        print("\nto mend:", *mending, sep="\n  ")
    return int(any(finding.state == BAD for finding in findings))


def is_installed(module: str) -> bool:
    """Whether a module is there, without importing it (its parents are)."""
    try:
        return module in sys.modules or find_spec(module) is not None
    except ImportError:
        return False


def _findings() -> Iterator[Finding]:
    driver = devices.driver_version()
    device: Literal["cpu", "gpu"] = "cpu" if devices.gpu_problem() else "gpu"
    yield Finding("dali_tokenmix", GOOD, f"{__version__}, Python {platform.python_version()}, numpy {np.__version__}")
    yield _package("DALI", "nvidia.dali", "nvidia-dali")
    yield _package("torch", "torch", "torch")
    yield _package("CuPy", "cupy", "cupy", needed=driver is not None)
    yield _demo_extra()
    yield _cpu_kernels()
    yield _checked("GPU", _gpu)
    yield _checked("NVRTC", _nvrtc)
    if device == "gpu":
        yield _checked("torch's CUDA", _torch_cuda)
    yield _checked("DALI operator", _operator)
    yield _checked("trial", lambda: _trial(device))


def _package(name: str, module: str, distribution: str, needed: bool = True) -> Finding:
    """Whether a package imports. distribution: its name, or how its names with a CUDA version begin."""
    installed = _distributions(distribution)
    versions = ", ".join(f"{dist.version} ({dist.name})" for dist in installed)
    if not is_installed(module):
        return Finding(name, BAD if needed else ABSENT, "not installed", _install() if needed else "")
    try:
        import_module(module)
    except Exception as error:  # a broken installation raises what it likes
        return Finding(name, BAD, f"{versions} does not import: {_line(error)}", f"{_install()} --force-reinstall")
    if len(installed) > 1:
        names = " ".join(dist.name for dist in installed)
        return Finding(name, BAD, f"more than one: {versions}", f"pip uninstall {names}, then {_install()}")
    return Finding(name, GOOD, versions)


def _demo_extra() -> Finding:
    missing = [name for module, name in (("PIL", "Pillow"), ("skimage", "scikit-image")) if not is_installed(module)]
    if missing:
        mend = "pip install 'dali_tokenmix[demo]'"
        return Finding("demo", ABSENT, f"{' and '.join(missing)} not installed, for 'dali-tokenmix demo' alone", mend)
    return Finding(
        "demo", GOOD, f"Pillow {metadata.version('pillow')}, scikit-image {metadata.version('scikit-image')}"
    )


def _cpu_kernels() -> Finding:
    try:
        path = host.kernels().path
    except (RuntimeError, OSError) as error:
        return Finding("CPU kernels", BAD, _line(error), "pip install --force-reinstall --no-deps dali_tokenmix")
    return Finding("CPU kernels", GOOD, f"{path.name}, {host.default_threads()} threads of {os.cpu_count()} CPUs")


def _gpu() -> Finding:
    if problem := devices.driver_problem():
        return Finding("GPU", ABSENT, problem)
    if not is_installed("cupy"):
        return Finding("GPU", GOOD, f"the driver is for CUDA {_cuda(devices.driver_version())}")
    import cupy

    count = cupy.cuda.runtime.getDeviceCount()
    names = [cupy.cuda.runtime.getDeviceProperties(k)["name"].decode() for k in range(count)]
    return Finding("GPU", GOOD, f"{', '.join(names)}; the driver is for CUDA {_cuda(devices.driver_version())}")


def _nvrtc() -> Finding:
    """NVRTC compiles the kernels: it must be there, and its CUDA's major version no newer than the driver's."""
    driver = devices.driver_version()
    if problem := devices.compiler_problem():
        return Finding("NVRTC", ABSENT if driver is None else BAD, problem, "" if driver is None else _install())
    fits = "there is no driver to fit" if driver is None else f"fits the driver for CUDA {_cuda(driver)}"
    major, minor = devices.nvrtc_version()
    return Finding("NVRTC", GOOD, f"for CUDA {major}.{minor}, {fits}")


def _torch_cuda() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("torch's CUDA", GOOD, f"CUDA {torch.version.cuda}")
    text = f"torch {torch.__version__} (CUDA {torch.version.cuda or 'none'}) does not see the GPU"
    return Finding("torch's CUDA", BAD, text, f"install torch for CUDA {_cuda(devices.driver_version())} or older")


def _operator() -> Finding:
    from .. import op

    if op.whole_batch_available():
        return Finding("DALI operator", GOOD, "whole batch, no copies")
    if os.environ.get(op.FALLBACK) == "1":
        return Finding("DALI operator", GOOD, f"the slower fallback: {op.FALLBACK}=1 asks for it")
    return Finding("DALI operator", ABSENT, "the slower fallback: this DALI has no whole-batch operator")


def _trial(device: Literal["cpu", "gpu"]) -> Finding:
    from .trial import mixes_right

    if not mixes_right(device):
        return Finding("trial", BAD, f"a batch mixed on the {device} has wrong pixels: please report this")
    return Finding("trial", GOOD, f"mixed a batch on the {device}, which is what device=None uses")


def _checked(name: str, check: Callable[[], Finding]) -> Finding:
    """What check finds. If it raises, that is the finding."""
    try:
        return check()
    except Exception as error:  # whatever a broken driver, compiler or DALI raises belongs in the report
        return Finding(name, BAD, _line(error))


def _install() -> str:
    """The command for the extra that fits the driver."""
    return f"pip install 'dali_tokenmix[cuda{13 if (devices.driver_version() or 0) >= 13000 else 12}]'"


def _distributions(beginning: str) -> list[Any]:
    """Installed distributions of this name, or of this name with a CUDA version: cupy, cupy-cuda12x."""
    found = {dist.name: dist for dist in metadata.distributions() if dist.name}
    return [found[name] for name in sorted(found) if name == beginning or name.startswith(f"{beginning}-cuda")]


def _cuda(version: int | None) -> str:
    return "none" if version is None else devices.cuda(version)


def _line(error: BaseException) -> str:
    """The error in one line of moderate length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
