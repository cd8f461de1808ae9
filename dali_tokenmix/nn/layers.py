"""Layers of a model by name, as named_modules() has them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn

from .hooks import INPUT


def bare(model: Any) -> nn.Module:
    """The model without what torch.compile and DistributedDataParallel put around it.

    Raises TypeError for what is no module, or is split over devices in one process by DataParallel.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {model!r:.80}")
    if isinstance(model, nn.DataParallel):
        raise TypeError("model must see whole batches, which DataParallel cuts up: use DistributedDataParallel")
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return bare(model.module)
    return bare(model._orig_mod) if hasattr(model, "_orig_mod") else model


def layers_of(model: nn.Module, layers: Sequence[str]) -> tuple[str, ...]:
    """The names, checked. Raises TypeError unless they are a list of names, ValueError for one that is not there."""
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        raise TypeError(f"layers must be a list of names, got {layers!r:.80}")
    known = [INPUT, *(name for name, _ in model.named_modules() if name)]
    for name in layers:
        if not isinstance(name, str):
            raise TypeError(f"layers must be names of modules, got {name!r:.80}")
        if name not in known:
            near = get_close_matches(name, known, n=5, cutoff=0.4) or known[:5]
            raise ValueError(
                f"layers must be 'input' or names of named_modules(), got {name!r}; near it: {', '.join(near)}"
            )
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(f"layers must be one or more different names, got {layers!r}")
    return tuple(layers)
