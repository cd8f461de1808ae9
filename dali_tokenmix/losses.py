"""Losses for soft targets: cross entropy, binary cross entropy, token labelling, and AugMix's consistency."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .checks import integer, number


def soft_target_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-sum over classes of target * log softmax(logits), the mean over samples; a scalar.

    Targets are taken as they are: a row that sums to less than 1 weighs less. Half precision is computed in float32.

    Args:
        logits: (N, C), or (N, T, C) for tokens.
        targets: the same shape, floating.

    Raises TypeError for targets that are not floating, ValueError for shapes that do not fit.
    """
    _require_dense("targets", targets, logits)
    return -(targets * functional.log_softmax(logits.to(_wide(logits)), dim=-1)).sum(-1).mean()


def soft_target_bce(logits: Tensor, targets: Tensor, *, sum_classes: bool = False, clamp: bool = False) -> Tensor:
    """Binary cross entropy of every class on its own, with targets as they are; a scalar.

    The better of the two losses in TokenMix (arXiv 2207.08409, table 11). Every class is a yes or no, so rows need not
    sum to 1, as those of content-scored targets do not. Where both samples of a mix are of one class, its target may
    exceed 1: no probability meets it, the loss has no lower bound there and always pulls the logit up.

    Args:
        logits, targets: (N, C), the targets floating.
        sum_classes: sum over classes, and mean over samples; otherwise the mean over both, as in timm.
        clamp: limits targets to [0, 1] first.

    Raises TypeError for targets that are not floating, ValueError for shapes that do not fit.
    """
    _require_dense("targets", targets, logits)
    wide = _wide(logits)
    targets = targets.to(wide).clamp(0, 1) if clamp else targets.to(wide)
    loss = functional.binary_cross_entropy_with_logits(logits.to(wide), targets, reduction="none")
    return loss.sum(-1).mean() if sum_classes else loss.mean()


def token_cross_entropy(logits: Tensor, ids: Tensor, probabilities: Tensor) -> Tensor:
    """Cross entropy of tokens against sparse targets, the mean over tokens and samples; a scalar.

    Classes that are not among a token's k have target 0; an entry of probability 0 is none. An id that is there twice
    counts twice. No dense target is made.

    Args:
        logits: (N, T, C).
        ids: (N, T, k) whole numbers in [0, C).
        probabilities: (N, T, k), floating.

    Raises TypeError for wrong dtypes, ValueError for shapes that do not fit and, on the CPU, for ids outside [0, C).
    """
    if logits.ndim != 3:
        raise ValueError(f"token logits must be (N, T, C), got shape {tuple(logits.shape)}")
    if ids.ndim != 3 or ids.shape[:2] != logits.shape[:2]:
        raise ValueError(f"token ids must be (N, T, k) = {tuple(logits.shape[:2])} and k, got shape {tuple(ids.shape)}")
    if probabilities.shape != ids.shape:
        raise ValueError(
            f"token probabilities must have the shape of the ids, {tuple(ids.shape)}, got {tuple(probabilities.shape)}"
        )
    _require_floating("token probabilities", probabilities)
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise TypeError(f"token ids must be whole numbers, got {ids.dtype}")
    classes = logits.shape[2]
    if ids.device.type == "cpu" and not ((ids >= 0) & (ids < classes)).all():  # on a GPU, looking would be waiting
        raise ValueError(f"token ids must be in [0, {classes}), got {int(ids.min())}..{int(ids.max())}")
    wide = logits.to(_wide(logits))
    missing = wide.logsumexp(-1, keepdim=True) - wide.gather(-1, ids.long())
    return (probabilities * missing).sum(-1).mean()


def jensen_shannon(logits: Sequence[Tensor]) -> Tensor:
    """How far predictions of several views of the same samples are apart, the mean over samples; a scalar.

    The mean over views of KL(p || M), where p is a view's softmax and M the mean of them all: at least 0, where they
    agree, and at most log of the number of views. Computed from logarithms: timm and the released code limit M to at
    least 1e-7, which is felt only where all views are surer than that. Half precision is computed in float32.

    Args:
        logits: (N, C) of each view, two or more.

    Raises ValueError for shapes that differ.
    """
    shapes = [tuple(view.shape) for view in logits]
    if len(shapes) < 2 or len(shapes[0]) != 2 or set(shapes) != {shapes[0]}:
        raise ValueError(f"logits must be (N, C) of two or more views, all of one shape, got {shapes}")
    logs = functional.log_softmax(torch.stack([view.to(_wide(view)) for view in logits]), dim=-1)
    middle = logs.logsumexp(0) - math.log(len(shapes))
    return (logs.exp() * (logs - middle)).sum(-1).mean()


class SoftTargetCrossEntropy(nn.Module):
    """soft_target_cross_entropy as a module: module(logits, targets)."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return soft_target_cross_entropy(logits, targets)


class SoftTargetBCE(nn.Module):
    """soft_target_bce as a module, module(logits, targets); sum_classes and clamp are as there."""

    def __init__(self, *, sum_classes: bool = False, clamp: bool = False) -> None:
        super().__init__()
        self.sum_classes, self.clamp = sum_classes, clamp

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return soft_target_bce(logits, targets, sum_classes=self.sum_classes, clamp=self.clamp)

    def extra_repr(self) -> str:
        return f"sum_classes={self.sum_classes}, clamp={self.clamp}"


class TokenLabelingLoss(nn.Module):
    """Cross entropy of the image plus weight times that of its tokens (Jiang et al., arXiv 2104.10858).

    weight: of the token loss, 0.5 in the paper.
    image_loss: of (logits, targets); soft_target_cross_entropy unless another is given, such as SoftTargetBCE().
    """

    def __init__(self, weight: float = 0.5, *, image_loss: nn.Module | None = None) -> None:
        super().__init__()
        number("weight", weight, at_least=0)
        self.weight, self.image_loss = weight, image_loss or SoftTargetCrossEntropy()

    def forward(
        self, logits: Tensor, token_logits: Tensor, targets: Tensor, token_ids: Tensor, token_probabilities: Tensor
    ) -> Tensor:
        """logits, targets (N, C); token_logits (N, T, C); token_ids, token_probabilities (N, T, k) -> a scalar."""
        if logits.ndim != 2 or token_logits.shape[:1] != logits.shape[:1]:
            raise ValueError(
                f"logits must be (N, C), one row for each sample of the token logits, got shapes {tuple(logits.shape)} "
                f"and {tuple(token_logits.shape)}"
            )
        tokens = token_cross_entropy(token_logits, token_ids, token_probabilities)
        loss: Tensor = self.image_loss(logits, targets) + self.weight * tokens
        return loss

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


class JensenShannon(nn.Module):
    """Cross entropy of the clean view, plus weight times how far the views' predictions are apart.

    The loss of AugMix (Hendrycks et al., ICLR 2020, arXiv 1912.02781): CE(p_clean, y) + weight * JS(p_clean, p_1, p_2).
    Called on logits, (views * N, C) of the clean images and then of each augmented view, as timm orders them; or a
    tuple of (N, C), a view each. In a DALI pipeline two nodes AugMix()(images) beside images are the other views, of
    the same crop and flip. Targets are of the N samples: (N, C) soft ones, as they come from a Loader, or (N,) class
    ids.

    weight: 12 in the paper.
    views: 3 in the paper; a tuple of logits brings its own number.
    Raises TypeError or ValueError for arguments that do not fit.
    """

    def __init__(self, weight: float = 12.0, *, views: int = 3) -> None:
        super().__init__()
        number("weight", weight, at_least=0)
        self.weight, self.views = weight, integer("views", views, at_least=2)

    def forward(self, logits: Tensor | Sequence[Tensor], targets: Tensor) -> Tensor:
        """Logits and targets as above -> a scalar."""
        if isinstance(logits, Tensor):
            if logits.ndim != 2 or len(logits) % self.views:
                raise ValueError(
                    f"logits must be ({self.views} * N, C), {self.views} views of N samples, got shape "
                    f"{tuple(logits.shape)}"
                )
            logits = logits.chunk(self.views)
        apart, clean = jensen_shannon(logits), logits[0]
        if targets.ndim == 1 and not targets.is_floating_point():
            if targets.shape != clean.shape[:1]:
                raise ValueError(
                    f"targets must be of the {len(clean)} samples, not of each view, got shape {tuple(targets.shape)}"
                )
            return functional.cross_entropy(clean.to(_wide(clean)), targets) + self.weight * apart
        return soft_target_cross_entropy(clean, targets) + self.weight * apart

    def extra_repr(self) -> str:
        return f"weight={self.weight}, views={self.views}"


def _wide(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def _require_dense(name: str, targets: Tensor, logits: Tensor) -> None:
    if logits.ndim < 2 or targets.shape != logits.shape:
        raise ValueError(
            f"{name} must be (N, C) like the logits, got shapes {tuple(targets.shape)} and {tuple(logits.shape)}"
        )
    _require_floating(name, targets)


def _require_floating(name: str, values: Tensor) -> None:
    if not values.is_floating_point():
        raise TypeError(f"{name} must be floating, got {values.dtype}")
