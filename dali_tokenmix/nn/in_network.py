"""What ManifoldMixup and MixToken share: a batch is begun, a hook mixes its hidden state once, the batch ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import checks
from ..checks import integer, number
from ..label_maps import TokenTargets
from ..plan import Plan
from .hooks import INPUT, install, recomputing
from .layers import bare, layers_of
from .targets import mixed_targets


@dataclass
class Batch:
    """A batch that is begun: its samples, the layer where it is mixed, and the tensors to mix it with."""

    samples: int
    layer: str
    tensors: tuple[Tensor, ...]  # what mix_hidden() reads
    mixed: bool = False


class InNetwork(ABC):
    """Base of both. Subclasses say what is drawn, and how a hidden state is mixed.

    Attributes:
        plan: of the batch begun last; it leaves all alone where the model was in eval mode. None before the first.
        layer: the name of the layer where that batch is mixed, None where it is not.
        step: how many batches were drawn without a seed of their own.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        *,
        mixer: Any,
        num_classes: int | None,
        smoothing: float,
        seed: int,
    ) -> None:
        checks.mixer("mixer", mixer)
        number("smoothing", smoothing, at_least=0, at_most=1)
        self.model = bare(model)
        self.layers = layers_of(self.model, layers)
        self.mixer, self.smoothing = mixer, float(smoothing)
        self.num_classes = None if num_classes is None else integer("num_classes", num_classes, at_least=1)
        self.seed, self.step = integer("seed", seed, at_least=0, at_most=2**64 - 1), 0
        self.plan: Plan | None = None
        self.layer: str | None = None
        self._batch: Batch | None = None
        self._open = False
        self._handles = [install(self.model, name, self) for name in self.layers]

    @contextmanager
    def __call__(self, labels: Any, *, seed: int | None = None) -> Iterator[Any]:
        """begin(labels), for a with block around one forward pass; end() comes after it.

        Raises what begin() and end() raise; an error of the block itself is not covered up.
        """
        targets = self.begin(labels, seed=seed)
        try:
            yield targets
        except BaseException:
            self._open = False
            raise
        self.end()

    def begin(self, labels: Any, *, seed: int | None = None) -> Any:
        """Draws how the next forward pass is mixed, and returns its targets, (N, C) float32 where the labels are.

        In eval mode nothing is drawn and nothing mixed: the targets are the labels' own, without smoothing.

        Args:
            labels: (N,) class ids or (N, C) rows of soft labels, such as a Loader without a mixer yields.
            seed: in [0, 2**64) for dtm.draw(); equal seeds draw equal plans. None: made of the seed given to
                the constructor and of `step`, which counts on.

        Raises RuntimeError where end() is missing, TypeError or ValueError for labels that do not fit.
        """
        if self._open:
            raise RuntimeError("begin() again before end(): a batch is begun, passed through the model, and ended")
        if isinstance(labels, TokenTargets):
            raise TypeError("labels must be class ids or rows, got TokenTargets: MixToken mixes labels of tokens")
        given = torch.as_tensor(labels)
        if given.ndim not in (1, 2) or 0 in given.shape:
            raise ValueError(f"labels must be (N,) class ids or (N, C) rows, got shape {tuple(given.shape)}")
        if not self.model.training:
            self.plan, self.layer, self._batch = self.untouched(len(given)), None, None
            return mixed_targets(self.plan, given, self.num_classes, 0.0)
        chosen, step = (self._next_seed(), self.step + 1) if seed is None else (seed, self.step)
        plan, layer = self.drawn(len(given), chosen)
        targets = mixed_targets(plan, given, self.num_classes, self.smoothing)
        device = next(self.model.parameters(), given).device
        tensors = tuple(torch.from_numpy(array).to(device, non_blocking=True) for array in self.arrays_of(plan))
        self.plan, self.layer, self.step = plan, layer, step
        self._batch, self._open = Batch(len(plan), layer, tensors), True
        return targets

    def end(self) -> None:
        """Ends a batch: what the model is given next is not mixed. Nothing to do in eval mode.

        Raises ValueError where the layer was not reached since begin().
        """
        missed = self._open and self._batch is not None and not self._batch.mixed
        self._open = False
        if missed:
            why = "call the model itself, not a method of it" if self.layer == INPUT else "the forward pass left it out"
            raise ValueError(f"layer {self.layer!r} was not reached between begin() and end(): {why}")

    def remove(self) -> None:
        """Takes the hooks off the model."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._open, self._batch = [], False, None

    def state_dict(self) -> dict[str, int]:
        """What draws the batches to come: seed and step."""
        return {"seed": self.seed, "step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on where state_dict() was taken. Raises KeyError, TypeError or ValueError for what is no state."""
        seed = integer("seed", state["seed"], at_least=0, at_most=2**64 - 1)
        self.step = integer("step", state["step"], at_least=0)
        self.seed = seed

    def seen(self, layer: str, hidden: Any) -> Tensor | None:
        """What a hook asks: the mixed hidden state of this layer, or None for "leave it alone"."""
        batch = self._batch
        if batch is None or batch.layer != layer:
            return None
        if not torch.compiler.is_compiling() and recomputing():  # activation checkpointing: as the first time
            return self._mixed(batch, hidden)
        if not self._open:
            return None
        if batch.mixed:
            raise ValueError(
                f"layer {layer!r} was reached twice between begin() and end(): a batch is one forward pass, and a "
                "layer must be used once in it"
            )
        mixed = self._mixed(batch, hidden)
        batch.mixed = True
        return mixed

    @abstractmethod
    def drawn(self, samples: int, seed: int) -> tuple[Plan, str]:
        """A plan for so many samples, and the layer where it is mixed."""

    @abstractmethod
    def untouched(self, samples: int) -> Plan:
        """The plan that leaves all alone."""

    @abstractmethod
    def arrays_of(self, plan: Plan) -> tuple[np.ndarray, ...]:
        """What mix_hidden() needs of a plan."""

    @abstractmethod
    def mix_hidden(self, hidden: Tensor, *tensors: Tensor) -> Tensor:
        """The mixed hidden state, of N samples. tensors: arrays_of() the plan, on its device."""

    def _mixed(self, batch: Batch, hidden: Any) -> Tensor:
        if not isinstance(hidden, Tensor):
            raise TypeError(f"layer {batch.layer!r} must give a tensor to mix, got {type(hidden).__name__}")
        if not hidden.is_floating_point():
            raise TypeError(f"layer {batch.layer!r} must give floating numbers to mix, got {hidden.dtype}")
        if hidden.ndim == 0 or hidden.shape[0] != batch.samples:
            raise ValueError(
                f"layer {batch.layer!r} must give one row for each of {batch.samples} labels, got shape "
                f"{tuple(hidden.shape)}"
            )
        return self.mix_hidden(hidden, *(tensor.to(hidden.device) for tensor in batch.tensors))

    def _next_seed(self) -> int:
        return int(np.random.SeedSequence((self.seed, self.step)).generate_state(1, np.uint64)[0])
