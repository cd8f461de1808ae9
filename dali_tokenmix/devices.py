"""Which device to use, and what is missing for a GPU, in one line that also says what mends it."""

from __future__ import annotations

import ctypes
import importlib.util
import warnings
from functools import cache
from typing import Literal

from .checks import choice, integer

EXTRAS = "pip install 'dali_tokenmix[cuda12]' (or [cuda13])"
DRIVER = "libcuda.so.1"


@cache
def gpu_problem(device_id: int = 0) -> str | None:
    """Why GPU number device_id is not to be worked on, and what would mend it; None if it is."""
    return driver_problem(device_id) or compiler_problem()


def driver_problem(device_id: int = 0) -> str | None:
    """What there is no driver, no GPU or no such GPU for; None if all is well."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return f"no NVIDIA driver: {DRIVER} is not found. Install the driver (in a container: run it with --gpus all)"
    if code := driver.cuInit(0):
        return f"the NVIDIA driver does not start: cuInit returned {code}. nvidia-smi tells more"
    count = ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    if count.value == 0:
        return "the NVIDIA driver sees no GPU: look at CUDA_VISIBLE_DEVICES and nvidia-smi"
    if device_id >= count.value:
        return f"there is no GPU {device_id}: the driver sees {count.value}, numbered from 0"
    return None


def compiler_problem() -> str | None:
    """What keeps kernels from being compiled and launched: no CuPy, no NVRTC, or a driver too old for it."""
    try:
        found = importlib.util.find_spec("cupy")
    except ImportError:
        found = None
    if found is None:
        return f"CuPy is not installed, which launches the kernels: {EXTRAS}"
    try:
        major, minor = nvrtc_version()
    except Exception as error:  # ImportError, or whatever CuPy raises where it finds no library
        reason = " ".join(str(error).split())
        return f"NVRTC is not found, which compiles the kernels ({reason:.120}): {EXTRAS}"
    driver = driver_version()
    if driver is not None and major > driver // 1000:
        return (
            f"the driver is for CUDA {cuda(driver)} and does not load what NVRTC {major}.{minor} compiles: update the "
            f"driver to one for CUDA {major}, or install torch and CuPy for CUDA {driver // 1000}"
        )
    return None


def nvrtc_version() -> tuple[int, int]:
    """The version of the NVRTC that CuPy finds. Raises what CuPy raises where there is none."""
    from cupy.cuda import nvrtc

    major, minor = nvrtc.getVersion()
    return major, minor


def cuda(version: int) -> str:
    """12.4 for 12040."""
    return f"{version // 1000}.{version % 1000 // 10}"


def driver_version() -> int | None:
    """The CUDA version of the driver, 12040 for 12.4; None without a driver."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return None
    version = ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    return version.value


def resolve(device: Literal["cpu", "gpu"] | None, device_id: int | None = None) -> Literal["cpu", "gpu"]:
    """The device asked for; None picks the GPU if there is one, and warns if there is one that cannot be used.

    device_id: the number of the GPU, which asks for one. Raises RuntimeError if a GPU is asked for in vain, ValueError
    for a device_id beside device="cpu" or below 0.
    """
    choice("device", device, (None, "cpu", "gpu"))
    number = 0 if device_id is None else integer("device_id", device_id, at_least=0)
    if device == "cpu":
        if device_id is not None:
            raise ValueError(f"device_id is the number of a GPU, got {device_id} with device='cpu': leave it out")
        return "cpu"
    problem = gpu_problem(number)
    if problem is None:
        return "gpu"
    if device == "gpu" or device_id is not None:
        asked = "device='gpu'" if device_id is None else f"device_id={device_id}"
        raise RuntimeError(f"{asked}: {problem}; or use device='cpu'")
    if driver_problem() is None:
        warnings.warn(f"there is a GPU, but it is not used: {problem}", stacklevel=2)
    return "cpu"
