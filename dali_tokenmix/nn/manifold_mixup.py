"""Manifold Mixup: MixUp of a hidden state (Verma et al., ICML 2019, arXiv 1806.05236)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..mixers import MixUp
from ..mixing import draw, generator
from ..plan import Plan, untouched
from ..regions import BlendShape
from .in_network import InNetwork

ANY_SIZE = (1, 1)  # a weighted sum has no geometry


class ManifoldMixup(InNetwork):
    """Hidden states of a layer become lambda * own + (1 - lambda) * partner's (Verma et al., arXiv 1806.05236).

    For each batch one of the layers is drawn, each with equal odds, and mixed there, where "input" stands for the
    images themselves, so that layers=["input"] is MixUp. Labels are mixed with the same lambda.

        mix = dtm.nn.ManifoldMixup(model, ["input", "layer1", "layer2"], num_classes=1000)
        for images, labels in loader:
            with mix(labels) as targets:
                logits = model(images)
            loss = dtm.losses.soft_target_cross_entropy(logits, targets)

    Args:
        model: the network. torch.compile and DistributedDataParallel may be around it, before or after this.
        layers: "input" and names of its modules, as named_modules() has them. A layer gives one tensor with a row for
            each sample, and is used once in a forward pass.
        mixer: what draws lambda and partners: MixUp, or Choice of several. The paper draws one lambda for a batch and
            shuffles it, MixUp(2.0, mode="batch", partner="random"); alpha = 2 is what its tables have for CIFAR.
        num_classes: C, of targets for class ids; None: labels are rows of C numbers.
        smoothing: of the targets, in [0, 1]. 0 by default: rows of a Loader are smoothed already.
        seed: of the draws, in [0, 2**64), for begin() without a seed. Ranks that shall differ need different ones.

    A pair swaps: partners point back at each other, as everywhere here, where the paper shuffles a batch or takes a
    second one. lambda is float32, and the sum is made in float32 or wider, whatever autocast makes of the layer. A
    sample that is not mixed keeps its numbers, bit by bit. Batch statistics of layers before the mixed one are those
    of clean samples, of layers after it those of mixed ones.

    Raises TypeError or ValueError for arguments that do not fit, ValueError for an unknown layer, with those near it.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        *,
        mixer: Any = MixUp(2.0),  # noqa: B008  # frozen
        num_classes: int | None = None,
        smoothing: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(model, layers, mixer=mixer, num_classes=num_classes, smoothing=smoothing, seed=seed)
        if not all(isinstance(shape, BlendShape) for shape in mixer.shapes(ANY_SIZE)):
            self.remove()
            raise ValueError(f"mixer must blend whole samples, as MixUp does, got {mixer!r}")

    def drawn(self, samples: int, seed: int) -> tuple[Plan, str]:
        """The plan of draw(mixer, samples, 1, seed), and a layer from another stream of that seed."""
        plan = draw(self.mixer, samples, ANY_SIZE, seed)
        elsewhere = np.random.Generator(generator(seed).bit_generator.jumped())  # type: ignore[attr-defined]
        return plan, self.layers[elsewhere.integers(len(self.layers))]

    def untouched(self, samples: int) -> Plan:
        """Weight 0 for all."""
        return untouched(samples, ANY_SIZE, self.mixer.shapes(ANY_SIZE))

    def arrays_of(self, plan: Plan) -> tuple[np.ndarray, ...]:
        """The partners, (N,) int64, and their weights, (N,) float32."""
        return plan.partner.astype(np.int64), plan.other.copy()

    def mix_hidden(self, hidden: Tensor, *tensors: Tensor) -> Tensor:
        """lambda * own + (1 - lambda) * partner's."""
        partner, weight = tensors
        wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        weight = weight.to(wide.dtype).reshape(-1, *[1] * (wide.ndim - 1))
        return torch.lerp(wide, wide.index_select(0, partner), weight).to(hidden.dtype)
