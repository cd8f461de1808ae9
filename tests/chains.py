"""Plans of AugMix's chains for tests."""

from __future__ import annotations

import numpy as np

from dali_tokenmix.plan import Plan
from dali_tokenmix.regions import Chains
from dali_tokenmix.regions.chains import OPERATIONS


def chains_plan(
    rng: np.random.Generator, n: int, size: tuple[int, int], width: int = 3, depth: int = 3, only: str | None = None
) -> Plan:
    """Chains of any operations, or of one only; the affine ones turn, shear, grow and shift."""
    steps = (n, width, depth)
    operations = rng.integers(0, len(OPERATIONS), steps) if only is None else np.full(steps, OPERATIONS.index(only))
    parameters = np.zeros((*steps, 6), np.float32)
    parameters[..., 0] = rng.uniform(0.1, 1.9, steps)
    for name, values in (
        ("affine", rng.uniform(-1, 1, (*steps, 6)) * (1, 0.5, size[1], 0.5, 1, size[0])),
        ("posterize", 256 - 2.0 ** rng.integers(0, 8, steps)[..., None]),
        ("solarize", rng.uniform(0, 256, steps)[..., None]),
    ):
        here = operations == OPERATIONS.index(name)
        parameters[here, : values.shape[-1]] = values[here]
    weights = rng.dirichlet(np.ones(1 + width), n).astype(np.float32)
    region = Chains(weights, operations.astype(np.int32), parameters, float(rng.integers(0, 256)))
    return Plan(np.arange(n), (region,), size)
