"""The PyTorch-side hook: a classifier becomes a teacher of activation maps."""

from .hook import Teacher

__all__ = ["Teacher"]
