"""DALI's decorators with types: DALI's own have none, and whatever they decorate would have none either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from nvidia.dali import pipeline_def
from nvidia.dali.pipeline import Pipeline
from nvidia.dali.pipeline import do_not_convert as without_autograph

Function = TypeVar("Function", bound=Callable[..., Any])


def do_not_convert(function: Function) -> Function:
    """Keeps DALI's conditionals from rewriting the function."""
    kept: Function = without_autograph(function)
    return kept


def pipeline(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Pipeline]]:
    """pipeline_def: makes a function of nodes a maker of pipelines."""
    made: Callable[[Callable[..., Any]], Callable[..., Pipeline]] = pipeline_def(**options)
    return made
