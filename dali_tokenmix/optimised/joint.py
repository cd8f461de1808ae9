"""CoMixup's optimisation: which input each cell of each output shows (Kim et al., ICLR 2021, arXiv 2102.03065)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cells import Grid
from .expansion import LEAST, expanded, potts


@dataclass(frozen=True)
class Parts:
    """Parts of a batch that are mixed on their own: in each, `inputs` images make as many outputs.

    cost: (parts, cells, m) of showing an input in a cell; m is the most inputs of a part, numpy.inf fills the others.
    alike: (parts, m, m) symmetric, >= 0: how much it costs that two outputs show a cell of these two inputs.
    inputs: (parts,). smoothness: for each border between two inputs. penalty: for what exceeds limit (parts,), below.

    The objective of labels (parts, m outputs, cells), with counts o[j] (m,) of the cells that output j shows of each:

        sum over outputs of potts(cost, smoothness) + penalty * max(limit, sum over outputs j != k of o[j] alike o[k])
    """

    cost: np.ndarray
    alike: np.ndarray
    inputs: np.ndarray
    grid: Grid
    smoothness: float
    penalty: float
    limit: np.ndarray

    def objective(self, labels: np.ndarray) -> np.ndarray:
        """(parts,) what optimised() makes small."""
        used = np.arange(labels.shape[1]) < self.inputs[:, None]
        each = [potts(self.cost, self.smoothness, self.grid, labels[:, j]) for j in range(labels.shape[1])]
        shared = _shared(self.alike, counts(labels, len(used[0])) * used[:, :, None])
        return np.asarray((np.stack(each, 1) * used).sum(1) + self.penalty * np.maximum(self.limit, shared))

    def optimised(self, labels: np.ndarray, iterations: int) -> np.ndarray:
        """(parts, m outputs, cells): labels of an objective that is lower, or the same.

        Output after output, with the others as they are. The term that outputs share is constant below the limit, where
        the best output is the same for all, and above it a cost for each cell that shows an input. Both are tried, and
        what is better than before is taken. Ends early where a round changes nothing.
        """
        labels = labels.copy()
        free = expanded(self.cost, self.smoothness, self.grid, self.cost.argmin(2))
        for _ in range(iterations):
            before = labels.copy()
            for output in range(labels.shape[1]):
                some = np.flatnonzero(output < self.inputs)
                labels[some, output] = self._better(labels, output, some, free[some])
            if (labels == before).all():
                break
        return labels

    def _better(self, labels: np.ndarray, output: int, some: np.ndarray, free: np.ndarray) -> np.ndarray:
        """(some, cells): one output of some parts, chosen anew."""
        used = (np.arange(labels.shape[1]) < self.inputs[:, None])[some, :, None]
        shown, alike = counts(labels[some], self.cost.shape[2]) * used, self.alike[some]
        now = shown[:, output]
        each = 2 * np.einsum("pab,pb->pa", alike, shown.sum(1) - now)  # what outputs share more, by cell and input
        rest = _shared(alike, shown) - (now * each).sum(1)
        best: np.ndarray = labels[some, output]
        priced = free.copy()
        over = np.flatnonzero(rest + (counts(free, each.shape[1]) * each).sum(1) > self.limit[some])
        if len(over):  # elsewhere nothing is better than what is best without the term
            priced[over] = self._priced(self.cost[some[over]] + self.penalty * each[over, None], best[over])
        value = self._value(some, best, rest, each)
        for tried in (free, priced):
            after = self._value(some, tried, rest, each)
            better = after < value - LEAST
            best, value = np.where(better[:, None], tried, best), np.where(better, after, value)
        return best

    def _priced(self, cost: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(B, cells) good labels for cost (B, cells, m), from those given or each cell's cheapest."""
        cheapest = cost.argmin(2)
        one, other = (potts(cost, self.smoothness, self.grid, start) for start in (cheapest, labels))
        start = np.where((one < other)[:, None], cheapest, labels)
        return expanded(cost, self.smoothness, self.grid, start)

    def _value(self, some: np.ndarray, labels: np.ndarray, rest: np.ndarray, each: np.ndarray) -> np.ndarray:
        """(some,) what of the objective depends on one output; see _better()."""
        shared = rest + (counts(labels, each.shape[1]) * each).sum(1)
        alone = potts(self.cost[some], self.smoothness, self.grid, labels)
        return np.asarray(alone + self.penalty * np.maximum(self.limit[some], shared))


def counts(labels: np.ndarray, inputs: int) -> np.ndarray:
    """(..., inputs) how many of the cells (..., cells) show each input."""
    return np.asarray((labels[..., None] == np.arange(inputs)).sum(-2))


def _shared(alike: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """(parts,) sum over outputs j != k of o[j] alike o[k], for counts (parts, outputs, m)."""
    total = shown.sum(1)
    return np.asarray(
        np.einsum("pa,pab,pb->p", total, alike, total) - np.einsum("pja,pab,pjb->p", shown, alike, shown, optimize=True)
    )
