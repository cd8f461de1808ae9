"""One way to run a kernel, on both devices: geometry and packing are computed here for each launch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import cuda, host
from .arrays import Device
from .params import pack

THREADS_A_BLOCK = 256
MOST_BLOCKS = 2**31 - 1  # a grid's x dimension


@dataclass(frozen=True)
class Work:
    """rows are independent; lanes work side by side on one. What a row and a lane are is the kernel's affair."""

    rows: int
    lanes: int

    @property
    def block(self) -> tuple[int, int]:
        """(x, y): lanes rounded up to a power of two, at most a warp, and as many rows as fill a block."""
        x = min(32, 1 << max(0, self.lanes - 1).bit_length())
        return x, THREADS_A_BLOCK // x

    @property
    def grid(self) -> int:
        """Blocks in x; kernels stride over the rest where there are more rows."""
        return max(1, min(MOST_BLOCKS, -(-self.rows // self.block[1])))


def vector_alignment(device: Device) -> int:
    """The alignment in bytes that a 16-byte access needs on this device."""
    return host.VECTOR_ALIGNMENT if device == "cpu" else cuda.VECTOR_ALIGNMENT


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
        host.kernels().launch(name, struct, pointers, params, threads)
    else:
        cuda.launch(name, pointers, params, work.grid, work.block)
