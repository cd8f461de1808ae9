"""Which device to use, and what is missing for a GPU, in one line."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from typing import Literal

from .checks import choice

EXTRAS = "pip install 'dali_tokenmix[cuda12]' (or [cuda13])"


@cache
def gpu_problem() -> str | None:
    """Why there is no GPU to work on, and what would mend it; None if there is one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return (
            "no NVIDIA driver: libcuda.so.1 is not found. Install the driver (in a container: run it with --gpus all)"
        )
    if code := driver.cuInit(0):
        return f"the NVIDIA driver does not start: cuInit returned {code}. nvidia-smi tells more"
    count = ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    if count.value == 0:
        return "the NVIDIA driver sees no GPU: look at CUDA_VISIBLE_DEVICES and nvidia-smi"
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed, which launches the kernels: {EXTRAS}"
    return None


def driver_version() -> int | None:
    """The CUDA version of the driver, 12040 for 12.4; None without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    return version.value


def resolve(device: Literal["cpu", "gpu"] | None) -> Literal["cpu", "gpu"]:
    """The device asked for; None picks the GPU if there is one. Raises RuntimeError if a GPU is asked for in vain."""
    choice("device", device, (None, "cpu", "gpu"))
    if device is None:
        return "cpu" if gpu_problem() else "gpu"
    if device == "gpu" and (problem := gpu_problem()):
        raise RuntimeError(f"device='gpu': {problem}; or use device='cpu'")
    return device
