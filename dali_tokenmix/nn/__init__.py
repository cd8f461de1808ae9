"""Mixing inside a network, by forward hooks: hidden states (ManifoldMixup)."""

from .manifold_mixup import ManifoldMixup

__all__ = ["ManifoldMixup"]
