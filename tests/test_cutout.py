"""Cutout: squares of one length, centred on any pixel, clipped at the border."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import dali_tokenmix as dtm

UNLIKELY = 1e-3  # what a p-value may fall to; the seeds are fixed
SIZE = (30, 50)


def drawn(mixer, count, size=SIZE, seed=0):
    """(count, holes, 4) int64 boxes."""
    return dtm.draw(mixer, count, size, seed=seed).regions[0].boxes.astype(int)


def erased_by_definition(length, centres, size):
    """(H, W) bool: as the paper puts it, pixels of a square around each centre that lie in the image."""
    found = np.zeros(size, bool)
    for y, x in np.ndindex(*size):
        found[y, x] = any(
            -(length // 2) <= y - cy < length - length // 2 and -(length // 2) <= x - cx < length - length // 2
            for cy, cx in centres
        )
    return found


@pytest.mark.parametrize("length", [1, 2, 7, 12, 29, 200])
def test_centres_are_uniform_over_all_pixels(length):
    """Every clipped square stems from a centre, known as long as one edge of it is inside; counted along each axis."""
    boxes = drawn(dtm.Cutout(length), 9000)[:, 0]
    for k, side in enumerate(SIZE):
        expected = np.zeros((side + 1, side + 1))
        for centre in range(side):
            start = centre - length // 2
            expected[max(start, 0), min(start + length, side)] += 9000 / side
        seen = np.zeros_like(expected)
        np.add.at(seen, (boxes[:, k], boxes[:, k + 2]), 1)
        assert not seen[expected == 0].any()
        if (expected > 0).sum() > 1:
            assert stats.chisquare(seen[expected > 0], expected[expected > 0]).pvalue > UNLIKELY
    if length < 200:
        assert abs(stats.pearsonr(boxes[:, 0], boxes[:, 1]).statistic) < 0.05


@pytest.mark.parametrize(("length", "n_holes"), [(1, 1), (4, 1), (5, 3), (8, 2)])
def test_pixels_are_those_of_squares_around_centres(length, n_holes):
    size = (21, 34)
    plan = dtm.draw(dtm.Cutout(length, n_holes=n_holes), 12, size, seed=5)
    for shown, holes in zip(plan.sources(), plan.regions[0].boxes, strict=True):
        centres = []
        for y0, x0, y1, x1 in holes.tolist():  # an edge that is clipped leaves the other to tell the centre
            ends = ((y0, y1, size[0]), (x0, x1, size[1]))
            centres.append(
                [end - (length - length // 2) if end < side else start + length // 2 for start, end, side in ends]
            )
        np.testing.assert_array_equal(shown < 0, erased_by_definition(length, centres, size))


def test_holes_are_drawn_on_their_own():
    boxes = drawn(dtm.Cutout(6, n_holes=3), 3000)
    assert boxes.shape == (3000, 3, 4)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for edge in range(2):
            assert stats.pearsonr(boxes[:, one, edge], boxes[:, other, edge]).pvalue > UNLIKELY


def test_the_mean_share_is_that_of_the_paper_s_clipping():
    """A square of half the side loses, on average, what sticks out: 1/16 of the image is left of 1/4 at a corner."""
    shares = (dtm.draw(dtm.Cutout(16), 20_000, 32, seed=1).sources()[:2000] < 0).mean(axis=(1, 2))
    clipped = np.array([min(c + 8, 32) - max(c - 8, 0) for c in range(32)])
    assert abs(shares.mean() - (clipped.mean() / 32) ** 2) < 3 * shares.std() / np.sqrt(2000)
    assert shares.max() == 0.25
    assert shares.min() >= 0.0625


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"length": 0}, ValueError, "length must be in 1.*, got 0"),
        ({"length": 1.5}, TypeError, "length must be a whole number, got 1.5"),
        ({"length": (3, 4)}, TypeError, r"length must be a whole number, got \(3, 4\)"),
        ({"length": 3, "n_holes": 0}, ValueError, "n_holes must be in 1.*, got 0"),
        ({"length": 3, "n_holes": True}, TypeError, "n_holes must be a whole number, got True"),
        ({}, TypeError, "length"),
    ],
    ids=str,
)
def test_mistakes_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dtm.Cutout(**arguments)
