"""One way to run a kernel, on both devices: its scalars are packed here for each launch."""

from __future__ import annotations

from typing import Any

from . import cuda, host
from .arrays import Device
from .params import pack
from .work import Work


def vector_alignment(device: Device) -> int:
    """The alignment in bytes that a 16-byte access needs on this device."""
    as_gpu = device == "gpu" or host.kernels().on_grid
    return cuda.VECTOR_ALIGNMENT if as_gpu else host.VECTOR_ALIGNMENT


def launch(
    device: Device,
    name: str,
    struct: str,
    pointers: tuple[int, ...],
    work: Work,
    *,
    threads: int | None = None,
    **scalars: Any,
) -> None:
    """Runs kernel `name` over `pointers` with its struct of scalars.

    threads: CPU threads, all of them if left out; a GPU ignores it. On a GPU this only puts the kernel on the stream.
    """
    params = pack(struct, **scalars)
    if device == "cpu":
        threads = min(threads or host.default_threads(), max(1, work.rows))
        host.kernels().launch(name, struct, pointers, params, threads, work)
    else:
        cuda.launch(name, pointers, params, work.grid, work.block)
