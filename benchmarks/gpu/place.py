"""Where a check runs: a GPU through CuPy, or the CPU as a dry run of the same code."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from timing import turns

from dali_tokenmix import devices

AHEAD = 2**29  # bytes that are copied, twice, before the clock starts
LEAD = 0.03  # seconds that the GPU is busy with copies before a timed part
REST = 0.02  # seconds in which threads of OpenMP that spin give up
DRIVER = Path("/proc/driver/nvidia/version")


class Cpu:
    """NumPy arrays, time.perf_counter."""

    device, torch_device = "cpu", "cpu"
    clocks = ("wall", "CPU")  # what overheads/clock.py reads: first what counts
    cache = 2**21  # bytes that a batch must not fit into to come from memory; a CPU's own, not all there is

    def put(self, array: np.ndarray) -> Any:
        """A copy here, 64 bytes aligned, as GPU memory is."""
        memory = self.empty((array.nbytes,), "uint8")
        memory[...] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return memory.view(array.dtype).reshape(array.shape)

    def send(self, array: np.ndarray) -> Any:
        """What the host has just made, where the kernels read it: as it is, here."""
        return array

    def tensor(self, array: Any) -> Any:
        """A torch tensor in the array's memory."""
        import torch

        return torch.from_numpy(array)

    def get(self, array: Any) -> np.ndarray:
        return np.array(array)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """New memory; what runtime's functions call `make`."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = np.zeros(size + 64, np.uint8)
        start = -memory.ctypes.data % 64
        return memory[start : start + size].view(dtype).reshape(shape)

    def copy(self, target: Any, source: Any) -> None:
        np.copyto(target, source)

    def measure(self, function: Callable[[int], object], call: int, repeat: int = 1) -> float:
        """Seconds of a call, the mean of `repeat` in a row."""
        start = time.perf_counter()
        for k in range(repeat):
            function(call * repeat + k)
        return (time.perf_counter() - start) / repeat

    def wait(self) -> None:
        """Until all work is done."""

    def wall(self, function: Callable[[int], object], call: int, repeat: int = 1) -> float:
        """Seconds of a call on the host's clock, from all work done to all work done."""
        self.wait()
        start = time.perf_counter()
        for k in range(repeat):
            function(call * repeat + k)
        self.wait()
        return (time.perf_counter() - start) / repeat

    def ahead(self) -> None:
        """What has to go before a timing: here torch's threads, which spin for a while, come to rest."""
        time.sleep(REST)

    def mark(self) -> Any:
        """A moment for between(), by CPU time of all threads."""
        return time.process_time()

    def between(self, begin: Any, end: Any) -> float:
        """Seconds between two marks, once all work is done."""
        return end - begin

    def describe(self) -> dict[str, Any]:
        return {"gpu": "none: a dry run on the CPU"}


class Gpu(Cpu):
    """CuPy arrays on its current device and stream, CUDA events. Never run yet: no machine of ours has a GPU."""

    device, torch_device = "gpu", "cuda"
    clocks = ("GPU", "host")

    def __init__(self, cupy: Any = None) -> None:
        """cupy: the module, or what stands in for it."""
        self.cupy = cupy or importlib.import_module("cupy")
        self.cache = int(self.cupy.cuda.Device().attributes["L2CacheSize"])
        self._ahead, self._copies = self.cupy.zeros((2, AHEAD), "uint8"), 0

    def put(self, array: np.ndarray) -> Any:
        return self.cupy.asarray(np.ascontiguousarray(array))

    def send(self, array: np.ndarray) -> Any:
        """Copied by way of CuPy's pinned memory: the host does not wait."""
        return self.put(array)

    def tensor(self, array: Any) -> Any:
        import torch

        return torch.as_tensor(array, device=self.torch_device)

    def get(self, array: Any) -> np.ndarray:
        return self.cupy.asnumpy(array)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self.cupy.empty(shape, dtype)

    def copy(self, target: Any, source: Any) -> None:
        self.cupy.copyto(target, source)

    def measure(self, function: Callable[[int], object], call: int, repeat: int = 1) -> float:
        """Seconds between two events around `repeat` calls, by as many.

        Large copies go ahead: they empty the L2 cache, and while they run the host puts all calls on the stream, so
        that the events see kernels back to back and not the host's launches.
        """
        for _ in range(2):
            self.copy(self._ahead[0], self._ahead[1])
        begin = self.mark()
        for k in range(repeat):
            function(call * repeat + k)
        end = self.mark()
        end.synchronize()
        return self.between(begin, end) / repeat

    def wait(self) -> None:
        self.cupy.cuda.Device().synchronize()

    def ahead(self) -> None:
        """LEAD seconds of copies, so that what follows is on the stream before the GPU comes to it."""
        if not self._copies:
            self.measure(lambda _: self.copy(self._ahead[0], self._ahead[1]), 0)  # the first may be slow
            self._copies = math.ceil(LEAD / self.measure(lambda _: self.copy(self._ahead[0], self._ahead[1]), 0))
        for _ in range(self._copies):
            self.copy(self._ahead[0], self._ahead[1])

    def mark(self) -> Any:
        """An event, put on CuPy's current stream."""
        event = self.cupy.cuda.Event()
        event.record()
        return event

    def between(self, begin: Any, end: Any) -> float:
        return self.cupy.cuda.get_elapsed_time(begin, end) / 1e3

    def describe(self) -> dict[str, Any]:
        """The card and what drives it."""
        number = self.cupy.cuda.Device().id
        card = self.cupy.cuda.runtime.getDeviceProperties(number)
        driver = devices.driver_version() or 0
        return {
            "gpu": card["name"].decode() if isinstance(card["name"], bytes) else card["name"],
            "compute_capability": self.cupy.cuda.Device().compute_capability,
            "memory_bytes": int(card["totalGlobalMem"]),
            "l2_bytes": self.cache,
            "multiprocessors": int(card["multiProcessorCount"]),
            "driver": DRIVER.read_text().splitlines()[0] if DRIVER.is_file() else "unknown",
            "driver_supports_cuda": f"{driver // 1000}.{driver % 1000 // 10}",
            "cuda_runtime": self.cupy.cuda.runtime.runtimeGetVersion(),
            "nvrtc": ".".join(map(str, self.cupy.cuda.nvrtc.getVersion())),
        }


def interleaved(
    measure: Callable[..., float], work: dict[str, Callable[[int], object]], rounds: int, repeat: int = 1
) -> dict[str, np.ndarray]:
    """Seconds of a call by measure(function, call, repeat): {name: (rounds,)}. Turns, after one uncounted round."""
    seconds = {name: np.zeros(rounds) for name in work}
    for number, name in turns(work, rounds):
        found = measure(work[name], number + 1, repeat)
        if number >= 0:
            seconds[name][number] = found
    return seconds


def quantiles(values: np.ndarray) -> dict[str, float]:
    """What a report keeps of a sample."""
    low, middle, high = np.percentile(values, (20, 50, 80))
    return {"p20": float(low), "p50": float(middle), "p80": float(high)}
