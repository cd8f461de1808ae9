"""PuzzleMix against its objective written out, over all masks and all moves; what it shows against its targets."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

import dali_tokenmix as dtm
from dali_tokenmix.optimised.cells import averaging, edges, neighbours, salience
from dali_tokenmix.optimised.contrast import contrasts
from dali_tokenmix.optimised.inputs import unit_scale
from dali_tokenmix.optimised.mask_levels import best_levels
from dali_tokenmix.optimised.min_cut import minimum_cuts
from dali_tokenmix.optimised.transport import best_moves, moved
from tests.examples import EXAMPLES, run_example
from tests.helpers import provenance, some_pairs


def borders(grid):
    """The pairs of neighbouring cells, in the order of the package, by loops."""
    rows, columns = grid
    below = [(r * columns + c, (r + 1) * columns + c) for r in range(rows - 1) for c in range(columns)]
    return below + [(r * columns + c, r * columns + c + 1) for r in range(rows) for c in range(columns - 1)]


def objective(z, own, other, contrast, share, grid, levels, beta, gamma, eta):
    """(M,) the paper's objective of M masks z (M, cells), of one sample, term by term."""
    m = levels - 1
    total = np.zeros(len(z))
    for cell in range(z.shape[1]):
        probability = stats.binom.pmf(np.rint(z[:, cell] * m), m, share)
        total += -(1 - z[:, cell]) * own[cell] - z[:, cell] * other[cell] - eta * np.log(probability)
    for e, (i, j) in enumerate(borders(grid)):
        total += beta * (z[:, i] - z[:, j]) ** 2
        for a, b in itertools.product((0, 1), repeat=2):
            shows = (z[:, i] if a else 1 - z[:, i]) * (z[:, j] if b else 1 - z[:, j])
            total += beta * gamma * shows * contrast[a, b, e]
    return total


def problem(seed, grid, samples=3):
    """Saliency of two images, contrasts and prior means, at random."""
    rng = np.random.default_rng(seed)
    cells, pairs = grid[0] * grid[1], len(borders(grid))
    own, other = (rng.dirichlet(np.full(cells, 0.7), samples) for _ in range(2))
    return own, other, rng.random((samples, 2, 2, pairs)), rng.beta(1, 1, samples)


@pytest.mark.parametrize(
    ("grid", "levels"), [((3, 3), 2), ((4, 4), 2), ((2, 5), 2), ((5, 1), 2), ((1, 1), 2), ((3, 3), 3), ((2, 3), 4)]
)
@pytest.mark.parametrize(("beta", "gamma", "eta"), [(0.02, 0.5, 0.01), (0.1, 1.0, 0.05), (0.0, 0.5, 0.0)])
def test_the_mask_is_the_best_of_all(grid, levels, beta, gamma, eta):
    cells, weights = grid[0] * grid[1], {"levels": levels, "beta": beta, "gamma": gamma, "eta": eta}
    every = np.array(list(itertools.product(range(levels), repeat=cells))) / (levels - 1)
    own, other, contrast, share = problem(cells + levels, grid)
    found = best_levels(own, other, contrast, share, grid, **weights)
    assert len(np.unique(found)) > 1 or cells == 1 or beta == 0.1
    for sample in range(3):
        of = (own[sample], other[sample], contrast[sample], share[sample], grid)
        least = objective(every, *of, **weights).min()
        mine = objective(found[sample][None] / (levels - 1), *of, **weights)[0]
        assert mine == pytest.approx(least, abs=1e-6)


def test_a_smooth_mask_is_not_what_every_cell_would_choose():
    """The pairwise terms matter in the cases above: without them the minimum is another one."""
    own, other, contrast, share = problem(11, (3, 3))
    weights = {"levels": 2, "gamma": 0.5, "eta": 0.01}
    assert (
        best_levels(own, other, contrast, share, (3, 3), beta=0.1, **weights)
        != best_levels(own, other, contrast, share, (3, 3), beta=0, **weights)
    ).any()


@pytest.mark.parametrize("seed", range(3))
def test_cuts_are_minimal_and_have_the_fewest_ones(seed):
    rng = np.random.default_rng(seed)
    graphs, variables, count = 20, 7, 14
    first, second = rng.integers(0, variables, (2, count))
    unary = rng.integers(-3, 4, (graphs, variables)).astype(float)  # small whole numbers: with ties
    weight = np.where(rng.random((graphs, count)) < 0.1, np.inf, rng.integers(0, 3, (graphs, count)))
    found = minimum_cuts(unary, first, second, weight)
    every = np.array(list(itertools.product((0, 1), repeat=variables)))
    for graph in range(graphs):
        cut = every[:, first] * (1 - every[:, second])
        value = every @ unary[graph] + np.where(cut > 0, weight[graph], 0).sum(1)
        best = every[value == value.min()]
        assert found[graph].tolist() == best[best.sum(1).argmin()].tolist()


def test_functions_of_any_scale_are_cut_alike():
    own, other, contrast, _ = problem(3, (4, 4), samples=40)
    first, second = neighbours((4, 4))
    unary, weight = own - other, contrast[:, 0, 0] * 0.1
    one = minimum_cuts(unary, first, second, weight)
    for scale in (1e-9, 1e9):
        assert (minimum_cuts(unary * scale, first, second, weight * scale) == one).all()
    assert not minimum_cuts(unary * 0, first, second, weight).any()


@pytest.mark.parametrize("grid", [(2, 2), (1, 4), (2, 3), (1, 1)])
@pytest.mark.parametrize("xi", [0.0, 0.1, 0.8])
def test_the_moves_are_the_best_of_all(grid, xi):
    rng = np.random.default_rng(5)
    cells = grid[0] * grid[1]
    seen, visible = rng.dirichlet(np.ones(cells), 6), rng.choice([0, 0.5, 1], (6, cells))
    visible[0] = 0

    def price(sample, source):
        total = 0.0
        for target in range(cells):
            (y, x), (v, u) = divmod(int(source[target]), grid[1]), divmod(target, grid[1])
            far = ((y - v) ** 2 + (x - u) ** 2) / max(max(grid) - 1, 1) ** 2
            total += xi * far - seen[sample, source[target]] * visible[sample, target]
        return total

    found = best_moves(seen, visible, grid, xi)
    assert found[0].tolist() == list(range(cells))  # an image of which nothing shows stays
    for sample in range(6):
        assert sorted(found[sample]) == list(range(cells))
        least = min(price(sample, source) for source in itertools.permutations(range(cells)))
        assert price(sample, found[sample]) == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize(("size", "grid"), [((8, 12), (2, 3)), ((9, 11), (2, 4)), ((5, 7), (5, 3))])
def test_cells_move_as_a_whole(size, grid):
    images = provenance(4, *size)
    rng = np.random.default_rng(0)
    moves = np.array([rng.permutation(grid[0] * grid[1]) for _ in range(4)])
    got = moved(torch.from_numpy(images).permute(0, 3, 1, 2), moves, grid).permute(0, 2, 3, 1).numpy()
    rows, columns = (edges(side, cells) for side, cells in zip(size, grid, strict=True))
    for n, y, x in np.ndindex(4, *size):
        r, c = (int(np.searchsorted(edge, at, side="right")) - 1 for edge, at in ((rows, y), (columns, x)))
        there = divmod(int(moves[n, r * grid[1] + c]), grid[1])
        from_y = min(y - rows[r] + rows[there[0]], size[0] - 1)
        from_x = min(x - columns[c] + columns[there[1]], size[1] - 1)
        assert got[n, y, x].tolist() == [n, from_y, from_x]


@pytest.mark.parametrize(("size", "grid"), [((8, 12), (2, 3)), ((9, 11), (3, 4))])
def test_contrasts_are_those_of_the_pixels_at_a_border(size, grid):
    rng = np.random.default_rng(1)
    images, partner = rng.integers(0, 256, (4, 3, *size), dtype=np.uint8), some_pairs(rng, 4, 1)
    pixels = torch.from_numpy(images)
    got = contrasts(pixels, partner, grid, unit_scale(pixels, None))
    rows, columns = (edges(side, cells) for side, cells in zip(size, grid, strict=True))
    for n, e in np.ndindex(4, len(borders(grid))):
        (r, c), (below, _) = (divmod(cell, grid[1]) for cell in borders(grid)[e])
        for a, b in itertools.product((0, 1), repeat=2):
            one, two = ((images[n], images[partner[n]])[of].astype(float) for of in (a, b))
            if below > r:
                across = slice(columns[c], columns[c + 1])
                expected = np.abs(one[:, rows[r + 1] - 1, across] - two[:, rows[r + 1], across]).mean() / 255
            else:
                across = slice(rows[r], rows[r + 1])
                expected = np.abs(one[:, across, columns[c + 1] - 1] - two[:, across, columns[c + 1]]).mean() / 255
            assert got[n, a, b, e] == pytest.approx(expected, rel=1e-5)


def test_floating_images_have_the_contrast_of_their_values_before_they_were_normalised():
    values = torch.rand(3, 3, 8, 8)
    partner, grid = np.array([2, 1, 0]), (2, 2)
    mean, std = (torch.tensor(numbers).reshape(3, 1, 1) for numbers in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    plain = contrasts(values, partner, grid, unit_scale(values, 1.0))
    normalised = (values - mean) / std
    scaled = contrasts(normalised, partner, grid, unit_scale(normalised, (0.2, 0.3, 0.4)))
    np.testing.assert_allclose(scaled, plain, rtol=1e-5)


@pytest.mark.parametrize(
    ("maps", "size", "grid"), [((8, 6), (8, 6), (4, 3)), ((7, 7), (33, 20), (4, 3)), ((2, 2), (9, 9), (4, 4))]
)
def test_saliency_is_pooled_by_area(maps, size, grid):
    given = np.random.default_rng(2).random((2, *maps))
    fine = np.kron(
        given, np.ones((1, *size))
    )  # maps * size steps a side: whole numbers of them in pixels and in map cells
    expected = np.empty((2, *grid))
    for r, c in np.ndindex(*grid):
        (y0, y1), (x0, x1) = (
            (k * side // cells, (k + 1) * side // cells) for k, side, cells in zip((r, c), size, grid, strict=True)
        )
        expected[:, r, c] = fine[:, y0 * maps[0] : y1 * maps[0], x0 * maps[1] : x1 * maps[1]].mean((1, 2))
    expected /= expected.sum((1, 2), keepdims=True)
    np.testing.assert_allclose(salience(given, grid, size).reshape(2, *grid), expected, rtol=1e-9)
    assert averaging(size[0], grid[0], maps[0]).sum(1) == pytest.approx(1)
    assert salience(np.zeros((1, *maps)), grid, size)[0] == pytest.approx(1 / expected[0].size)


def batch(n, size, seed=0):
    """Provenance images (N, H, W, 3), each sample its own class, and random saliency of another size."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(provenance(n, *size))
    return images, torch.arange(n), torch.from_numpy(rng.random((n, 5, 4)) ** 4)


@pytest.mark.parametrize("size", [(32, 32), (24, 48), (33, 50), (17, 9)])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("transport", [False, True])
def test_targets_are_what_is_visible(size, n, transport):
    images, labels, saliency = batch(n, size)
    for seed in range(3):
        mix = dtm.PuzzleMix(levels=2, eta=0.02, transport=transport)
        mixed, targets, mask = mix(
            images, labels, saliency, num_classes=n, seed=seed, smoothing=0, layout="NHWC", return_mask=True
        )
        counted = np.array([np.bincount(sample.ravel(), minlength=n) for sample in mixed[..., 0].numpy()])
        np.testing.assert_allclose(targets, counted / (size[0] * size[1]), atol=1e-6)
        assert mask.shape[0] == n
        assert set(mask.unique().tolist()) <= {0, 1}
        if not transport:  # and every pixel is where it was
            assert (mixed[..., 1:] == images[..., 1:]).all()


def test_half_shown_cells_are_means_of_both():
    images, labels, saliency = batch(6, (16, 24))
    mixed, targets, mask = dtm.PuzzleMix(grid=(2, 3), transport=False)(
        images, labels, saliency, num_classes=6, seed=4, smoothing=0, return_mask=True
    )
    assert 0.5 in mask
    z = mask.repeat_interleave(8, 1).repeat_interleave(8, 2)[..., None]
    expected = ((1 - z) * images + z * images.flip(0)).round()
    assert (mixed == expected).all()
    other = z.mean((1, 2, 3))
    for sample in range(6):
        assert targets[sample, 5 - sample] == pytest.approx(other[sample])
        assert targets[sample, sample] == pytest.approx(1 - other[sample])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_any_type_and_layout_is_mixed_alike(dtype, layout):
    images, labels, saliency = batch(5, (16, 24))
    plain, targets = dtm.PuzzleMix(grid=4, levels=2, beta=0)(images, labels, saliency, num_classes=5, seed=1)
    given = images.to(dtype)
    given = given.permute(0, 3, 1, 2).contiguous() if layout == "NCHW" else given
    before = given.clone()
    mixed, again = dtm.PuzzleMix(grid=4, levels=2, beta=0)(given, labels, saliency, num_classes=5, seed=1)
    assert mixed.dtype == dtype
    assert mixed.is_contiguous()
    assert (given == before).all()  # not in place
    assert (mixed == (plain.permute(0, 3, 1, 2) if layout == "NCHW" else plain).to(dtype)).all()
    assert (again == targets).all()


def test_what_is_salient_shows():
    """A salient quarter of each image shows, whichever of the two images it is in."""
    images = torch.from_numpy(provenance(2, 32, 32))
    saliency = np.full((2, 2, 2), 0.01)
    saliency[0, 0, 0] = saliency[1, 1, 1] = 1
    mixed, _ = dtm.PuzzleMix(grid=2, beta=0, eta=0)(images, [0, 1], saliency, num_classes=2, seed=0)
    assert (mixed[:, :16, :16, 0] == 0).all()
    assert (mixed[:, 16:, 16:, 0] == 1).all()


def test_what_would_be_hidden_moves_where_it_shows():
    """Both are salient in the same cell: it goes to one of them, and the other's moves beside it."""
    images = torch.from_numpy(provenance(2, 16, 32))
    saliency = np.zeros((2, 1, 2))
    saliency[:, 0, 0] = 0.9
    saliency[:, 0, 1] = (0.05, 0.1)
    mixed, _, mask = dtm.PuzzleMix(grid=(1, 2), beta=0, eta=0, xi=0.1)(
        images, [0, 1], saliency, num_classes=2, seed=0, return_mask=True
    )
    first = mask[0, 0].int().tolist()
    assert sorted(first) == [0, 1]
    columns = mixed[0, 0, :, 2].reshape(2, 16)
    assert columns[0].tolist() == columns[1].tolist() == list(range(16))  # the first cell of both images


@pytest.mark.parametrize("prob", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("mode", ["pair", "batch", "elem"])
@pytest.mark.parametrize("partner", ["flip", "random"])
def test_who_is_mixed(mode, partner, prob):
    images, labels, saliency = batch(9, (8, 8))
    mix = dtm.PuzzleMix(grid=2, mode=mode, partner=partner, prob=prob, eta=0.01)
    mixed, targets, mask = mix(images, labels, saliency, num_classes=9, seed=3, smoothing=0, return_mask=True)
    touched = mask.flatten(1).any(1)
    assert (mixed[~touched] == images[~touched]).all()
    assert (targets[~touched] == torch.eye(9)[~touched]).all()
    if prob in (0, 1):
        assert bool(touched.any()) == (prob == 1)
    if partner == "flip":
        assert (targets + torch.eye(9).flip(0) > 0)[targets > 0].all()
    assert ((targets > 0).sum(1) <= 2).all()


def test_equal_seeds_draw_the_same_and_others_do_not():
    images, labels, saliency = batch(8, (32, 32))
    runs = [dtm.PuzzleMix()(images, labels, saliency, num_classes=8, seed=seed) for seed in (7, 7, 8)]
    assert (runs[0][0] == runs[1][0]).all()
    assert (runs[0][1] == runs[1][1]).all()
    assert (runs[0][0] != runs[2][0]).any()


def test_smoothing_and_soft_labels():
    images, labels, saliency = batch(4, (16, 16))
    plain = dtm.PuzzleMix(grid=2)(images, labels, saliency, num_classes=4, seed=1, smoothing=0)[1]
    smooth = dtm.PuzzleMix(grid=2)(images, labels, saliency, num_classes=4, seed=1, smoothing=0.2)[1]
    rows = dtm.PuzzleMix(grid=2)(images, torch.eye(4), saliency, num_classes=4, seed=1, smoothing=0)[1]
    np.testing.assert_allclose(smooth, 0.8 * plain + 0.2 / 4, atol=1e-6)
    assert (rows == plain).all()


def test_the_prior_alone_gives_the_drawn_shares():
    """With one cell, no saliency and two levels z is 1 where lambda > 1/2; lambda is Beta(alpha, alpha): one in two."""
    images = torch.zeros(2000, 1, 1, 3, dtype=torch.uint8)
    options = {"num_classes": 1, "layout": "NHWC", "return_mask": True}
    mix = dtm.PuzzleMix(grid=1, levels=2, mode="elem", alpha=2.0)
    _, _, mask = mix(images, np.zeros(2000, int), np.ones((2000, 1, 1)), seed=5, **options)
    assert stats.binomtest(int(mask.sum()), 2000).pvalue > 1e-3
    three = dtm.PuzzleMix(grid=1, levels=3, mode="elem", alpha=1.0)
    _, _, mask = three(images, np.zeros(2000, int), np.ones((2000, 1, 1)), seed=6, **options)
    observed = [
        int((mask == level).sum()) for level in (0, 0.5, 1)
    ]  # (1-l)^2, 2 l (1-l), l^2: largest in turn by thirds
    assert stats.chisquare(observed).pvalue > 1e-3


def test_a_pair_shares_its_lambda_and_a_batch_does():
    images = torch.zeros(400, 1, 1, 3, dtype=torch.uint8)
    for mode in ("pair", "batch"):
        mask = dtm.PuzzleMix(grid=1, levels=2, mode=mode)(
            images, np.zeros(400, int), np.ones((400, 1, 1)), num_classes=1, seed=2, layout="NHWC", return_mask=True
        )[2].flatten()
        assert (mask == mask.flip(0)).all()
        assert (mask.std() == 0) == (mode == "batch")


def test_the_grid_is_drawn():
    images, labels, saliency = batch(2, (16, 24))
    drawn = [
        dtm.PuzzleMix(prob=0)(images, labels, saliency, num_classes=2, seed=seed, return_mask=True)[2].shape[1]
        for seed in range(400)
    ]
    assert stats.chisquare([drawn.count(cells) for cells in (2, 4, 8, 16)]).pvalue > 1e-3
    small = [
        dtm.PuzzleMix()(images[:, :5, :7], labels, saliency, num_classes=2, seed=seed, layout="NHWC", return_mask=True)
        for seed in range(20)
    ]
    assert {mask.shape[1:] for _, _, mask in small} == {(2, 2), (4, 4)}


def test_wholes_are_scaled_as_documented():
    """beta / (16 sqrt(n)), eta / n: the whole mixer chooses the mask of the objective with those weights."""
    rng = np.random.default_rng(9)
    images = torch.from_numpy(rng.integers(0, 256, (4, 12, 16, 3), dtype=np.uint8))
    saliency, grid = rng.random((4, 3, 4)) ** 3, (3, 4)
    mix = dtm.PuzzleMix(grid=grid, levels=2, beta=3.0, gamma=0.7, eta=0.3, transport=False)
    mask = mix(images, [0, 1, 2, 3], saliency, num_classes=4, seed=0, return_mask=True)[2].flatten(1).numpy()
    seen = saliency.reshape(4, -1) / saliency.reshape(4, -1).sum(1, keepdims=True)
    pixels = images.permute(0, 3, 1, 2)
    contrast = contrasts(pixels, np.array([3, 2, 1, 0]), grid, unit_scale(pixels, None))
    every = np.array(list(itertools.product((0.0, 1.0), repeat=12)))
    rng = dtm.mixing.generator(0)
    _, share = rng.random(2), rng.beta(1, 1, 2)[[0, 1, 1, 0]]
    for n in range(4):
        value = objective(
            every, seen[n], seen[3 - n], contrast[n], share[n], grid, 2, 3.0 / 16 / math.sqrt(12), 0.7, 0.3 / 12
        )
        assert every[value.argmin()].tolist() == mask[n].tolist()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"grid": 0}, ValueError, "grid must be in 1..64, got 0"),
        ({"grid": (2, 2, 2)}, ValueError, r"grid must be one number or \(rows, columns\), got \(2, 2, 2\)"),
        ({"grid": 2.5}, TypeError, "grid must be a whole number, got 2.5"),
        ({"levels": 1}, ValueError, "levels must be in 2..16, got 1"),
        ({"alpha": 0}, ValueError, "alpha must be > 0, got 0"),
        ({"beta": -1}, ValueError, "beta must be >= 0, got -1"),
        ({"gamma": 1.5}, ValueError, "gamma must be >= 0 and <= 1, got 1.5|gamma must be <= 1 and >= 0, got 1.5"),
        ({"eta": -0.1}, ValueError, "eta must be >= 0, got -0.1"),
        ({"xi": math.inf}, ValueError, "xi must be finite, got inf"),
        ({"std": (0.2, 0)}, ValueError, "std must be > 0, got 0"),
        ({"transport": 1}, TypeError, "transport must be True or False, got 1"),
        ({"mode": "all"}, ValueError, "mode must be one of"),
        ({"prob": 2}, ValueError, "prob must be"),
    ],
)
def test_impossible_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        dtm.PuzzleMix(**options)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"images": np.zeros((4, 8, 8, 3), np.uint8)}, TypeError, "images must be a torch tensor, got ndarray"),
        ({"images": torch.zeros(4, 8, 8, 3, dtype=torch.int64)}, TypeError, "images must be uint8, .* got torch.int64"),
        ({"images": torch.zeros(8, 8, 3)}, ValueError, r"images must be \(N, H, W, C\)"),
        ({"images": torch.zeros(4, 3, 8, 3)}, ValueError, "may be NHWC or NCHW: say layout="),
        ({"saliency": np.ones((3, 2, 2))}, ValueError, r"saliency must be \(4, h, w\), one map for each image"),
        ({"saliency": -np.ones((4, 2, 2))}, ValueError, "saliency must be finite and >= 0, got -1"),
        ({"saliency": np.full((4, 2, 2), np.nan)}, ValueError, "saliency must be finite"),
        ({"saliency": None}, TypeError, "saliency must be numbers"),
        ({"labels": [0, 1, 2]}, ValueError, r"labels must be \(4,\)"),
        ({"labels": [0, 1, 2, 9]}, ValueError, r"labels must be in \[0, num_classes=4\), got 9"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"smoothing": 2}, ValueError, "smoothing must be"),
    ],
)
def test_batches_that_do_not_fit_are_refused(changed, error, message):
    images, labels, saliency = batch(4, (8, 8))
    given = {"images": images, "labels": labels, "saliency": saliency, "num_classes": 4, "seed": 0} | changed
    with pytest.raises(error, match=message):
        dtm.PuzzleMix(grid=2)(**given)


def test_more_cells_than_pixels_are_refused():
    images, labels, saliency = batch(4, (8, 8))
    with pytest.raises(ValueError, match=r"grid must have at most a cell for each pixel of \(8, 8\), got \(16, 4\)"):
        dtm.PuzzleMix(grid=(16, 4))(images, labels, saliency, num_classes=4, seed=0)
    with pytest.raises(ValueError, match="std must be one number or 3, one a channel"):
        dtm.PuzzleMix(grid=2, std=(1.0, 1.0))(images.float(), labels, saliency, num_classes=4, seed=0)


def test_a_loader_says_where_it_belongs(photo_folder):
    message = "mixer cannot be PuzzleMix: it needs the saliency of the model .* training step.*mixer=None"
    with pytest.raises(TypeError, match=message):
        dtm.Loader(photo_folder, batch_size=4, mixer=dtm.PuzzleMix())
    with pytest.raises(TypeError, match=r"mixers\[0\] cannot be PuzzleMix"):
        dtm.Choice([dtm.PuzzleMix(), dtm.MixUp()])
    with pytest.raises(TypeError, match="must be a mixer such as TokenMix"):
        dtm.draw(dtm.PuzzleMix, 4, 8)


def test_without_scipy_the_extra_is_named():
    code = "import sys; sys.modules['scipy'] = None; import dali_tokenmix as dtm; dtm.PuzzleMix"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "dali_tokenmix.PuzzleMix needs scipy" in ran.stderr
    assert "pip install 'dali_tokenmix[optimised]'" in ran.stderr


@pytest.mark.parametrize("method", ["puzzlemix", "comixup"])
def test_the_example_trains(photo_folder, method, tmp_path, monkeypatch):
    pytest.importorskip("timm")
    arguments = ["--root", photo_folder, "--device", "cpu", "--image-size", 64, "--method", method, "--steps", 6]
    monkeypatch.syspath_prepend(EXAMPLES)  # as Python does that runs the script
    printed = run_example("puzzlemix.py", *arguments, "--out", tmp_path / "mixed.png")
    steps = re.findall(r"step \d+: loss (\S+), (\S+) classes an image, mixed in \S+ ms an image", printed)
    losses, shown = (np.array(values, float) for values in zip(*steps, strict=True))
    assert len(steps) == 6
    assert np.isfinite(losses).all()
    assert ((shown > 1) & (shown <= (2 if method == "puzzlemix" else 4))).any()
    assert (tmp_path / "mixed.png").stat().st_size > 10_000
