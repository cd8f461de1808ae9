"""Minimum cuts: the exact minimum of submodular functions of yes-or-no variables, for a batch of graphs at once."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

TOGETHER = 16  # graphs solved in one call of SciPy, which takes longer to begin than for a small graph
CAPACITY = 2**31 - 1  # SciPy's maximum_flow knows int32


def minimum_cuts(unary: np.ndarray, first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(B, P) bool: for each of B functions of P variables b, the b that makes it smallest.

    The function is sum over p of unary[p] * b[p], and over edges e of weight[e] * b[first[e]] * (1 - b[second[e]]).
    Of several minima it is the one with the fewest ones, so equal arguments give equal results everywhere.

    Args:
        unary: (B, P) finite. first, second: (E,) variables, the same in all B. weight: (B, E) >= 0; numpy.inf forbids.

    Capacities are whole numbers: each function is scaled so that the sum of |unary| is about 2**27, and rounded. What
    is found is the minimum of the rounded function, at most (P + E) / 2**27 of that sum above the true one.
    """
    chosen = np.empty(unary.shape, bool)
    for begin in range(0, len(unary), TOGETHER):
        some = slice(begin, begin + TOGETHER)
        chosen[some] = _cut(unary[some], first, second, weight[some])
    return chosen


def _cut(unary: np.ndarray, first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """minimum_cuts() for so few graphs that all their flows together stay within CAPACITY."""
    graphs, variables = unary.shape
    total = np.abs(unary).sum(1, keepdims=True)
    unit = (CAPACITY // TOGETHER - variables) / np.where(total > 0, total, 1)
    cost = np.rint(unary * unit).astype(np.int32).ravel()
    bound = np.abs(cost).reshape(graphs, variables).sum(1, keepdims=True, dtype=np.int64) + 1
    between = np.rint(np.minimum(weight * unit, bound)).astype(np.int32).ravel()  # at the bound it is never cut
    offset = variables * np.arange(graphs)[:, None]
    source, sink = cost.size, cost.size + 1  # b = 1 on the source's side
    gains, costs = np.flatnonzero(cost < 0), np.flatnonzero(cost > 0)
    tails = np.concatenate([(first + offset).ravel(), np.full(len(gains), source), costs])
    heads = np.concatenate([(second + offset).ravel(), gains, np.full(len(costs), sink)])
    capacity = csr_matrix((np.concatenate([between, -cost[gains], cost[costs]]), (tails, heads)), (sink + 1, sink + 1))
    residual = capacity - maximum_flow(capacity, source, sink).flow
    residual.eliminate_zeros()
    reached = np.zeros(sink + 1, bool)
    reached[breadth_first_order(residual, source, return_predecessors=False)] = True
    return reached[:source].reshape(graphs, variables)
