"""Forward hooks as objects: they can be copied and pickled with the model, and a copy knows its own mixing only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from .in_network import InNetwork

INPUT = "input"  # the name of what goes into the model


def install(model: nn.Module, layer: str, owner: InNetwork) -> RemovableHandle:
    """A hook that lets the owner mix the layer's output, or the model's input where the layer is INPUT."""
    if layer == INPUT:
        return model.register_forward_pre_hook(InputHook(owner), with_kwargs=True)
    return model.get_submodule(layer).register_forward_hook(OutputHook(owner, layer))


def recomputing() -> bool:
    """Whether autograd is going backward: a module that runs then is one that activation checkpointing repeats."""
    return int(torch._C._current_graph_task_id()) != -1  # what torch.utils.checkpoint asks, too


class OutputHook:
    """What a module calls after its forward()."""

    def __init__(self, owner: InNetwork, layer: str) -> None:
        self.owner, self.layer = owner, layer

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Tensor | None:
        return self.owner.seen(self.layer, output)


class InputHook:
    """What the model calls before its forward(): its images are the first argument, by position or by name."""

    def __init__(self, owner: InNetwork) -> None:
        self.owner = owner

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if args:
            mixed = self.owner.seen(INPUT, args[0])
            return None if mixed is None else ((mixed, *args[1:]), kwargs)
        name = next(iter(kwargs), None)
        mixed = self.owner.seen(INPUT, kwargs[name] if name is not None else None)
        return None if mixed is None or name is None else (args, {**kwargs, name: mixed})
