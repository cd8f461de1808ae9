"""The launches that the package's functions make, kept so that each can be timed alone and in other widths."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from dali_tokenmix.runtime.launch import launch
from dali_tokenmix.runtime.scratch import scratch
from dali_tokenmix.runtime.work import Work

RUNTIME = "dali_tokenmix.runtime."
HOST_ONLY = ("resize", "normalise", "draw")  # modules whose kernels a GPU leaves to DALI, or the host draws with


@dataclass(frozen=True)
class Launch:
    """One call of runtime.launch.launch(). The arrays behind its pointers are the caller's to keep.

    held: scratch memory, which is not theirs.
    """

    device: Any
    name: str
    struct: str
    pointers: tuple[int, ...]
    work: Work
    scalars: dict[str, Any]
    held: tuple[Any, ...] = ()

    @property
    def kernel(self) -> str:
        """The name without element type and width: exchange_tokens_16 and blend_uint8_1 are exchange_tokens, blend."""
        return self.name.split("_uint")[0].split("_float")[0].rstrip("0123456789").rstrip("_")

    def again(self) -> None:
        launch(self.device, self.name, self.struct, self.pointers, self.work, **self.scalars)

    def on_threads(self, threads: int) -> Launch:
        """The same on so many CPU threads. A GPU does not mind."""
        return replace(self, scalars=self.scalars | {"threads": threads})

    def of_width(self, width: int) -> Launch:
        """The same with accesses of so many bytes."""
        stem, old = self.name.rsplit("_", 1)
        return replace(
            self, name=f"{stem}_{width}", work=Work(self.work.rows, self.work.lanes * int(old) // width or 1)
        )


@contextlib.contextmanager
def recorded(width: int | None = None) -> Iterator[list[Launch]]:
    """Launches made inside, in order; they are carried out, with accesses of `width` bytes where one is given."""
    made: list[Launch] = []
    held: list[Any] = []

    def record(device: Any, name: str, struct: str, pointers: tuple[int, ...], work: Work, **scalars: Any) -> None:
        asked = Launch(device, name, struct, pointers, work, scalars, tuple(held))
        made.append(asked.of_width(width) if width else asked)
        made[-1].again()

    def hold(device: Any, size: int) -> tuple[int, Any]:
        address, owner = scratch(device, size)
        held.append(owner)
        return address, owner

    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            ours = name.startswith(RUNTIME) and name.removeprefix(RUNTIME) not in HOST_ONLY
            if ours and getattr(module, "launch", None) is launch:
                stack.enter_context(mock.patch.object(module, "launch", record))
                if getattr(module, "scratch", None) is scratch:
                    stack.enter_context(mock.patch.object(module, "scratch", hold))
        yield made
