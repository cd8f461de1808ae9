"""DALI's buffers and its CUDA stream, handed to a callback and back: all that op.py has to know of a GPU.

The rules, and where each is from. jax_function.h and dltensor_obj.h are headers of DALI's wheel (include/dali).

1. Whatever touches a batch goes onto DALI's stream. The GPU operator calls back with its stream as a number and inputs
   that are ready in that stream's order (jax_function.h, RunPythonCallback), and reads outputs in the same order
   (ShareOutputs: "safe to access in [...] ws.stream() order"). So CuPy's and torch's current stream is set to it.
2. Inputs are taken with `__dlpack__(stream=DALI's)`: that makes the stream wait for the event that DALI recorded
   (dltensor_obj.h, dlpack()), on the device, and a stream does not wait for itself. Without a stream nothing waits.
3. Outputs are given as `array.__dlpack__(stream=DALI's)`: the producer orders its work before what the consumer puts on
   the stream it names (array API standard, __dlpack__). It is the stream that the work is on: again nothing waits.
4. Ownership travels in capsules. An input that is handed on is the very capsule that came in: no other owner may exist.
   A deleter may run on any thread, without the GIL (ShareOutputs); those of NumPy, CuPy and torch take it themselves.
5. Memory of CuPy or torch is free for reuse on the stream it was allocated on as soon as its owner lets go (CuPy: each
   stream has its own arena; torch: the caching allocator's blocks belong to a stream). Scratch is safe, whose readers
   are on that stream. What leaves the graph is not: consumers read on streams of their own. So outputs are copied to
   memory of DALI's, which is freed in the order of its use (label_nodes.py).
6. The device of the batch is made current first, for the runtime's calls and the kernel cache: with several GPUs a
   thread's current device is whatever it was last.
7. Nothing here or in a callback waits for the device, and mixing allocates nothing.
8. In dynamic mode a batch keeps the event of when DALI made it, and consumers on other streams wait for that. What is
   written after it is given to DALI as new memory (dynamic.py, _Written; tests/test_dynamic.py, on a GPU).

Tests: tests/test_streams.py; on a CPU it holds these functions to rules 1 to 4 and 6, on a GPU to 1 to 7.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .runtime.dlpack import device_of_capsule

Work = Callable[..., Sequence[Any]]


def call(work: Work, stream: int | None, objects: Sequence[Any], library: str = "cupy") -> tuple[Any, ...]:
    """What DALI's operator gets back: work(*capsules) -> capsules or arrays, as capsules.

    stream: DALI's, None on the CPU. objects: its DLTensorObjs, each consumed here. library: "cupy" or "torch", whose
    current stream and device are set while `work` runs.
    """
    capsules = [item.__dlpack__(stream=stream) for item in objects]
    if stream is None:
        return tuple(map(_given, work(*capsules)))
    with CURRENT[library](stream, device_of_capsule(capsules[0])):
        return tuple(_given(result, stream) for result in work(*capsules))


@contextlib.contextmanager
def current_cupy(stream: int, device: int) -> Iterator[int]:
    """CuPy works on this device and stream, which it gives."""
    import cupy

    from .runtime.cuda import external_stream

    with cupy.cuda.Device(device), external_stream(stream):
        yield stream


@contextlib.contextmanager
def _torch_on(stream: int, device: int) -> Iterator[None]:
    import torch

    cuda: Any = torch.cuda  # its ExternalStream has no types
    with cuda.stream(cuda.ExternalStream(stream, device=device)):  # sets the device too
        yield


CURRENT = {"cupy": current_cupy, "torch": _torch_on}


def _given(result: Any, stream: int | None = None) -> Any:
    """A capsule as it is, an array or tensor as a capsule that is ready on the stream."""
    if not hasattr(result, "__dlpack__"):
        return result
    return result.__dlpack__() if stream is None else result.__dlpack__(stream=stream)
