"""Labels of cells that cost little and change rarely: alpha-expansion for a batch of Potts energies."""

from __future__ import annotations

import numpy as np

from .cells import Grid, neighbours
from .min_cut import minimum_cuts

LEAST = 1e-12  # a gain below is the rounding of sums


def potts(cost: np.ndarray, smoothness: float, grid: Grid, labels: np.ndarray) -> np.ndarray:
    """(B,) the energy of labels (B, cells): their cost (B, cells, L), and smoothness for each border between two."""
    first, second = neighbours(grid)
    differing = (labels[:, first] != labels[:, second]).sum(1)
    return np.asarray(_of(cost, labels).sum(1) + smoothness * differing)


def expanded(cost: np.ndarray, smoothness: float, grid: Grid, labels: np.ndarray) -> np.ndarray:
    """(B, cells): labels of a lower energy, or the same, that no expansion improves.

    An expansion gives one label to any set of cells; the best set is a minimum cut (Boykov, Veksler and Zabih, TPAMI
    2001). With two labels the result is a minimum, with more its energy is at most twice that for costs >= 0.

    Args:
        cost: (B, cells, L), numpy.inf where a label is not to be had. labels: (B, cells), where to begin.
    """
    labels = labels.copy()
    energy = potts(cost, smoothness, grid, labels)
    settled = np.zeros((len(labels), cost.shape[2]), bool)  # no gain by that label since the last change
    while True:
        tried_any = False
        for label in range(cost.shape[2]):
            some = np.flatnonzero(~settled[:, label] & _may_gain(cost, smoothness, grid, labels, label))
            if not len(some):
                continue
            tried_any = True
            tried = expansion(cost[some], smoothness, grid, labels[some], label)
            after = potts(cost[some], smoothness, grid, tried)
            better = after < energy[some] - LEAST
            labels[some[better]], energy[some[better]] = tried[better], after[better]
            settled[some[better]] = False
            settled[some, label] = True
        if not tried_any:
            return labels


def expansion(cost: np.ndarray, smoothness: float, grid: Grid, labels: np.ndarray, label: int) -> np.ndarray:
    """(B, cells): the best labels that differ from those given only where they are `label`."""
    first, second = neighbours(grid)
    one, two = labels[:, first], labels[:, second]
    both_stay, first_goes, second_goes = (
        np.multiply(smoothness, a != b) for a, b in ((one, two), (two, label), (one, label))
    )
    gain = cost[:, :, label] - _of(cost, labels)
    np.add.at(gain.swapaxes(0, 1), first, (first_goes - both_stay).T)
    np.subtract.at(gain.swapaxes(0, 1), second, first_goes.T)
    goes = minimum_cuts(gain, second, first, second_goes + first_goes - both_stay)
    return np.where(goes, label, labels)


def _may_gain(cost: np.ndarray, smoothness: float, grid: Grid, labels: np.ndarray, label: int) -> np.ndarray:
    """(B,) bool: whether a cell could gain by that label if it got rid of all its borders between two."""
    first, second = neighbours(grid)
    differing = (labels[:, first] != labels[:, second]).T
    borders = np.zeros(labels.T.shape)
    np.add.at(borders, first, differing)
    np.add.at(borders, second, differing)
    return np.asarray(((labels != label) & (cost[:, :, label] < _of(cost, labels) + smoothness * borders.T)).any(1))


def _of(cost: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.take_along_axis(cost, labels[:, :, None], 2)[:, :, 0]
