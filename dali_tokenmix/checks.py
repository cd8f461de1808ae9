"""Refusals that name the argument, the rule and the value."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any


def choice(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raises ValueError unless value is one of `allowed`."""
    allowed = tuple(allowed)
    if not any(value is option or (isinstance(value, str) and value == option) for option in allowed):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    below: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> None:
    """Raises TypeError unless value is a real number, ValueError unless it is finite and inside the bounds."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    bounds = {">": above, "<": below, ">=": at_least, "<=": at_most}
    inside = {
        ">": lambda bound: value > bound,
        "<": lambda bound: value < bound,
        ">=": lambda bound: value >= bound,
        "<=": lambda bound: value <= bound,
    }
    rules = {sign: bound for sign, bound in bounds.items() if bound is not None}
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    if not all(inside[sign](bound) for sign, bound in rules.items()):
        rule = " and ".join(f"{sign} {bound}" for sign, bound in rules.items())
        raise ValueError(f"{name} must be {rule}, got {value!r}")


def integer(name: str, value: Any, *, at_least: int, at_most: int = 2**31 - 1) -> int:
    """The value as an int. Raises TypeError unless it is a whole number, ValueError outside the bounds."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    whole = int(value)
    if not at_least <= whole <= at_most:
        raise ValueError(f"{name} must be in {at_least}..{at_most}, got {value!r}")
    return whole


def image_size(value: Any) -> tuple[int, int]:
    """(height, width) from one number for both or a pair. Raises TypeError or ValueError unless they are pixels."""
    sides = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(sides) != 2:
        raise ValueError(f"image_size must be one number or (height, width), got {value!r}")
    height, width = (integer("image_size", side, at_least=1) for side in sides)
    return height, width


def mixes(mixer: Any) -> int:
    """Samples that show in one image, at most, that this mixer mixes; 2 where it does not say."""
    known: int = getattr(mixer, "mixes", 2)
    return known


def mixer(name: str, value: Any) -> None:
    """Raises TypeError unless value can draw plans."""
    if not isinstance(value, type) and (reason := getattr(value, "not_in_a_graph", None)):
        call = f"images, targets = {type(value).__name__}(...)(images, labels, saliency, num_classes=..., seed=...)"
        raise TypeError(f"{name} cannot be {type(value).__name__}: {reason}, {call}; load with mixer=None")
    if isinstance(value, type) or not hasattr(value, "draw"):
        raise TypeError(f"{name} must be a mixer such as TokenMix(), got {value!r}")
