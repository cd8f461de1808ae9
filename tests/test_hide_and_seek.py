"""HideAndSeek: cells of a grid whose size is drawn, each hidden on its own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import dali_tokenmix as dtm

UNLIKELY = 1e-3  # what a p-value may fall to; the seeds are fixed
SIZE = (100, 170)


def test_sizes_are_drawn_alike():
    sides = dtm.draw(dtm.HideAndSeek(), 5000, SIZE, seed=1).regions[0].sides
    counts = np.bincount(sides)
    assert np.flatnonzero(counts).tolist() == [0, 16, 32, 44, 56]
    assert stats.chisquare(counts[counts > 0]).pvalue > UNLIKELY
    twice = np.bincount(dtm.draw(dtm.HideAndSeek(sizes=(8, 8, 4)), 3000, SIZE, seed=1).regions[0].sides)
    assert stats.chisquare(twice[[4, 8]], [1000, 2000]).pvalue > UNLIKELY


def test_pixels_are_hidden_cell_by_cell():
    """By the paper's loops over a grid from the upper left corner: a cell is hidden as a whole, or not at all."""
    plan = dtm.draw(dtm.HideAndSeek(), 40, SIZE, seed=2)
    for shown, side in zip(plan.sources() < 0, plan.regions[0].sides.tolist(), strict=True):
        if side == 0:
            assert not shown.any()
            continue
        some = set()
        for y in range(0, SIZE[0], side):
            for x in range(0, SIZE[1], side):
                cell = shown[y : y + side, x : x + side]
                assert cell.all() or not cell.any()
                some.add(bool(cell.any()))
        assert some == {True, False}


@pytest.mark.parametrize("hide_prob", [0.0, 0.25, 0.5, 1.0])
def test_each_cell_is_hidden_on_its_own_and_as_likely(hide_prob):
    plan = dtm.draw(dtm.HideAndSeek(sizes=(16,), hide_prob=hide_prob), 1500, (48, 80), seed=3)
    cells = plan.sources()[:, ::16, ::16].reshape(1500, -1) < 0
    if hide_prob in (0, 1):
        assert (cells == hide_prob).all()
        return
    assert cells.shape == (1500, 15)
    totals = np.bincount(cells.sum(1), minlength=16)
    expected = 1500 * stats.binom(15, hide_prob).pmf(np.arange(16))
    often = expected > 5
    pooled = [[*counts[often], counts[~often].sum()] for counts in (totals, expected)]
    assert stats.chisquare(*pooled).pvalue > UNLIKELY
    z = (cells.sum(0) - 1500 * hide_prob) / np.sqrt(1500 * hide_prob * (1 - hide_prob))
    assert UNLIKELY < stats.chi2(15).sf((z**2).sum()) < 1 - UNLIKELY


def test_a_size_above_the_image_hides_all_or_nothing():
    shares = (dtm.draw(dtm.HideAndSeek(sizes=(300,)), 400, SIZE, seed=4).sources() < 0).mean(axis=(1, 2))
    assert set(shares.tolist()) == {0.0, 1.0}
    assert stats.binomtest(int(shares.sum()), 400, 0.5).pvalue > UNLIKELY


def test_cells_that_a_grid_does_not_have_are_not_in_the_plan():
    region = dtm.draw(dtm.HideAndSeek(hide_prob=1.0), 200, SIZE, seed=5).regions[0]
    for side, bits in zip(region.sides.tolist(), region.bits, strict=True):
        rows, columns = (-(-pixels // side) for pixels in SIZE) if side else (0, 0)
        assert bits[:rows, :columns].all()
        assert bits.sum() == rows * columns


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sizes": 16}, ValueError, "sizes must be a list of at least one side in pixels, got 16"),
        ({"sizes": ()}, ValueError, r"sizes must be a list .* got \(\)"),
        ({"sizes": (0, 0)}, ValueError, r"sizes must not all be 0, got \(0, 0\)"),
        ({"sizes": (16, -1)}, ValueError, r"sizes\[1\] must be in 0.*, got -1"),
        ({"sizes": (16, 1.5)}, TypeError, r"sizes\[1\] must be a whole number, got 1.5"),
        ({"hide_prob": 2}, ValueError, "hide_prob must be >= 0 and <= 1, got 2"),
        ({"hide_prob": None}, TypeError, "hide_prob must be a number, got None"),
    ],
    ids=str,
)
def test_mistakes_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dtm.HideAndSeek(**arguments)
