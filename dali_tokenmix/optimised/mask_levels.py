"""PuzzleMix's masks: the exact minimum of its objective (Kim et al., ICML 2020, arXiv 2009.06962)."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from .cells import Grid, neighbours
from .min_cut import minimum_cuts


def best_levels(
    own: np.ndarray,
    other: np.ndarray,
    contrast: np.ndarray,
    share: np.ndarray,
    grid: Grid,
    *,
    levels: int,
    beta: float,
    gamma: float,
    eta: float,
) -> np.ndarray:
    """(N, cells) int: t of z = t / (levels - 1), the partner's part in each cell, that makes the objective smallest:

        sum over cells      -(1 - z) own - z other - eta log p(z),  p: Binomial(levels - 1, share) of t
        + over neighbours   beta ((z - z')^2 + gamma phi(z, z')),
            phi(z, z') = sum over a, b in {0, 1} of z_a z'_b contrast[a, b],  z_1 = z and z_0 = 1 - z

    Args:
        own, other: (N, cells) saliency of the sample and of its partner.
        contrast: (N, 2, 2, E) in [0, 1], how much the image changes across each border of cells.neighbours(), where
            the first cell shows a and the second b: 0 the sample, 1 the partner.
        share: (N,) in [0, 1], the prior's mean of z. beta >= 0; gamma in [0, 1]: then the objective is submodular.

    The pairwise terms are -z z' times a factor >= 0 and terms of z or z' alone. Such functions of ordered labels have
    an exact minimum by one cut (Ishikawa, TPAMI 2003): a variable for each cell and step says whether z reaches it.
    The paper takes alpha-beta swaps, which are exact for two levels only.
    """
    first, second = neighbours(grid)
    z = np.arange(levels) / (levels - 1)
    cost = -own[:, :, None] * (1 - z) - other[:, :, None] * z - eta * _log_binomial(levels, share)[:, None]
    alone, attraction = _separated(contrast, beta, gamma)
    for cell, slope in ((first, alone[0]), (second, alone[1])):
        np.add.at(cost.swapaxes(0, 1), cell, (beta * z**2 + slope[:, :, None] * z).swapaxes(0, 1))
    return _steps(cost, attraction, first, second)


def _separated(contrast: np.ndarray, beta: float, gamma: float) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """The pairwise terms as slope * z + slope' * z' - attraction * z z', beside beta (z^2 + z'^2) and a constant."""
    start, across = contrast[:, 0, 0], contrast[:, 1, 0] + contrast[:, 0, 1] - contrast[:, 0, 0] - contrast[:, 1, 1]
    slopes = beta * gamma * (contrast[:, 1, 0] - start), beta * gamma * (contrast[:, 0, 1] - start)
    return slopes, np.maximum(beta * (2 + gamma * across), 0)


def _log_binomial(levels: int, share: np.ndarray) -> np.ndarray:
    """(N, levels) log of Binomial(levels - 1, share); a share of 0 or 1 is taken as one just beside it."""
    t, m = np.arange(levels), levels - 1
    share = np.clip(share, 1e-8, 1 - 1e-8)[:, None]
    binomial = gammaln(m + 1) - gammaln(t + 1) - gammaln(m - t + 1)
    return np.asarray(binomial + t * np.log(share) + (m - t) * np.log1p(-share))


def _steps(cost: np.ndarray, attraction: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, cells) t that minimise the sum of cost[t] (N, cells, levels) minus attraction (N, E) times z z'.

    Variable cell * m + k says t > k. z z' is the sum of all b b' / m^2, and 2 b b' = b + b' - b (1 - b') - b' (1 - b).
    """
    samples, cells, levels = cost.shape
    m = levels - 1
    unary = np.diff(cost, axis=2)
    for cell in (first, second):
        np.subtract.at(unary.swapaxes(0, 1), cell, attraction.T[:, :, None] / (2 * m))
    here, there = (np.repeat(first, m * m) * m + np.tile(np.repeat(np.arange(m), m), len(first)),
                   np.repeat(second, m * m) * m + np.tile(np.arange(m), m * len(second)))  # fmt: skip
    lower = (np.arange(cells)[:, None] * m + np.arange(m - 1)).ravel()  # t > k + 1 without t > k is no level
    tails, heads = np.concatenate([here, there, lower + 1]), np.concatenate([there, here, lower])
    apart = np.repeat(attraction / (2 * m * m), m * m, axis=1)
    weight = np.concatenate([apart, apart, np.full((samples, len(lower)), np.inf)], axis=1)
    reached = minimum_cuts(unary.reshape(samples, -1), tails, heads, weight)
    return np.asarray(reached.reshape(samples, cells, m).sum(2))
