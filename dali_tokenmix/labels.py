"""Plan and labels -> targets: the only place a target is made."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import integer, number
from .plan import Plan
from .runtime import targets
from .runtime.arrays import view


def soft_targets(plan: Plan, labels: Any, num_classes: int, smoothing: float = 0.1) -> np.ndarray:
    """Dense soft targets, (N, C) float32 on the CPU.

    For a sample of class a whose partner is of class b: (1 - s) * (own * onehot(a) + other * onehot(b)) + s / C, with s
    the label smoothing. Where a and b are the same class, the two terms add. With own + other = 1 a row sums to 1.

    Args:
        plan: of draw(); its own and other are the weights.
        labels: (N,) class ids, whole numbers of any array library on the CPU.
        num_classes: C >= 1.
        smoothing: s in [0, 1].

    Raises TypeError for labels that are no whole numbers, ValueError for labels outside [0, num_classes) and for
    shapes that do not fit.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan must be a Plan, got {plan!r}")
    num_classes = integer("num_classes", num_classes, at_least=1)
    number("smoothing", smoothing, at_least=0, at_most=1)
    ids = class_ids(labels, num_classes)
    if len(ids) != len(plan):
        raise ValueError(f"labels must be ({len(plan)},), one for each sample of the plan, got {len(ids)}")
    out = np.empty((len(plan), num_classes), np.float32)
    targets(view("labels", ids), view("plan", plan.packed), view("targets", out), smoothing=smoothing)
    return out


def class_ids(labels: Any, num_classes: int) -> np.ndarray:
    """Labels as (N,) int32. Raises TypeError unless they are whole numbers, ValueError unless in [0, num_classes)."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels must be whole numbers, got {array.dtype}")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"labels must be (N,) or (N, 1) class ids, got shape {array.shape}")
    if array.size and not (array.min() >= 0 and array.max() < num_classes):
        wrong = array[(array < 0) | (array >= num_classes)][0]
        raise ValueError(f"labels must be in [0, num_classes={num_classes}), got {wrong}")
    return np.ascontiguousarray(array, np.int32)
