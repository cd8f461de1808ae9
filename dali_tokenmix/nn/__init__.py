"""Mixing inside a network, by forward hooks: hidden states (ManifoldMixup) and patch tokens (MixToken)."""

from .manifold_mixup import ManifoldMixup
from .mix_token import MixToken

__all__ = ["ManifoldMixup", "MixToken"]
