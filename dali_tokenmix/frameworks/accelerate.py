"""What Accelerate wants to know of a loader that runs: where it begins and ends. Nothing where it is not used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def running(loader: Any) -> Iterator[Callable[[Any], Any]]:
    """While a loader is looped over; gives what puts a batch on the accelerator's device.

    Accelerate steps the optimizer at a loader's end, whatever is left of the accumulation: loader.end_of_dataloader.
    """
    loader.end_of_dataloader = False
    if "accelerate" not in sys.modules:
        yield lambda batch: batch
        return
    from accelerate import state
    from accelerate.utils import send_to_device

    if not state.is_initialized():
        yield lambda batch: batch
        return
    gradients, device = state.GradientState(), state.PartialState().device
    gradients._add_dataloader(loader)
    try:
        yield lambda batch: send_to_device(batch, device)
    finally:
        gradients._remove_dataloader(loader)
