"""CoMixup against its objective written out by loops; its parts against brute force; its targets against what shows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

import dali_tokenmix as dtm
from dali_tokenmix.optimised.comixup import _distances
from dali_tokenmix.optimised.expansion import expanded, expansion, potts
from dali_tokenmix.optimised.joint import Parts
from tests.helpers import provenance


def borders(grid):
    """The pairs of neighbouring cells, by loops."""
    cells = list(np.ndindex(*grid))
    return [
        (a, b)
        for a, b in itertools.combinations(range(len(cells)), 2)
        if np.abs(np.subtract(cells[a], cells[b])).sum() == 1
    ]


def energy(cost, smoothness, grid, labels):
    """The Potts energy of one graph."""
    total = sum(cost[cell, label] for cell, label in enumerate(labels))
    return total + smoothness * sum(labels[a] != labels[b] for a, b in borders(grid))


def every(cells, labels):
    return [np.array(one) for one in itertools.product(range(labels), repeat=cells)]


@pytest.mark.parametrize("grid", [(3, 3), (2, 4), (1, 5), (1, 1)])
def test_an_expansion_is_the_best_of_all(grid):
    rng = np.random.default_rng(0)
    cells = grid[0] * grid[1]
    cost, labels = rng.random((4, cells, 3)), rng.integers(0, 3, (4, cells))
    for label in range(3):
        found = expansion(cost, 0.3, grid, labels, label)
        for graph in range(4):
            choices = [np.where(goes, label, labels[graph]) for goes in every(cells, 2)]
            least = min(energy(cost[graph], 0.3, grid, choice) for choice in choices)
            assert energy(cost[graph], 0.3, grid, found[graph]) == pytest.approx(least, abs=1e-6)
            assert ((found[graph] == label) | (found[graph] == labels[graph])).all()


@pytest.mark.parametrize(("grid", "labels", "smoothness"), [((3, 4), 2, 0.2), ((2, 3), 3, 0.2), ((2, 3), 4, 0.05)])
def test_expansions_end_at_the_minimum_or_near_it(grid, labels, smoothness):
    """At the minimum for two labels; for more, no expansion helps any more, and the energy is below twice the least."""
    rng = np.random.default_rng(1)
    cells = grid[0] * grid[1]
    cost, start = rng.random((6, cells, labels)), rng.integers(0, labels, (6, cells))
    found = expanded(cost, smoothness, grid, start)
    np.testing.assert_allclose(
        potts(cost, smoothness, grid, found), [energy(cost[g], smoothness, grid, found[g]) for g in range(6)]
    )
    for graph in range(6):
        mine = energy(cost[graph], smoothness, grid, found[graph])
        least = min(energy(cost[graph], smoothness, grid, choice) for choice in every(cells, labels))
        assert mine <= (least + 1e-6 if labels == 2 else 2 * least)
        assert mine <= energy(cost[graph], smoothness, grid, start[graph])
    for label in range(labels):
        again = potts(cost, smoothness, grid, expansion(cost, smoothness, grid, found, label))
        assert (again > potts(cost, smoothness, grid, found) - 1e-6).all()


def test_a_label_that_is_not_to_be_had_is_never_taken():
    cost = np.random.default_rng(2).random((5, 6, 4))
    cost[:, :, 3] = np.inf
    found = expanded(cost, 0.1, (2, 3), np.zeros((5, 6), np.int64))
    assert found.max() < 3
    assert (found == expanded(cost[:, :, :3], 0.1, (2, 3), np.zeros((5, 6), np.int64))).all()


def some_parts(seed, inputs, grid, tau, gamma=0.5, smoothness=0.02):
    rng = np.random.default_rng(seed)
    cells, most = grid[0] * grid[1], max(inputs)
    cost, alike = np.full((len(inputs), cells, most), np.inf), np.zeros((len(inputs), most, most))
    labels = np.zeros((len(inputs), most, cells), np.int64)
    for k, m in enumerate(inputs):
        cost[k, :, :m] = -rng.dirichlet(np.full(cells, 0.7), m).T
        near = rng.random((m, m))
        alike[k, :m, :m] = 0.9 * np.eye(m) + 0.05 * (near + near.T)
        labels[k, :m] = rng.integers(0, m, (m, cells))
    limit = tau * np.array(inputs) * cells**2
    return Parts(cost, alike, np.array(inputs), grid, smoothness, gamma / cells, limit), labels


def objective(parts, labels, k):
    """The objective of part k, by loops."""
    outputs = range(parts.inputs[k])
    total = sum(energy(parts.cost[k], parts.smoothness, parts.grid, labels[j]) for j in outputs)
    shared = 0.0
    for j, other in itertools.permutations(outputs, 2):
        for a, b in itertools.product(labels[j], labels[other]):
            shared += parts.alike[k, a, b]
    return total + parts.penalty * max(parts.limit[k], shared)


@pytest.mark.parametrize("tau", [0.0, 0.4, 0.83, 5.0])
def test_the_objective_never_rises(tau):
    parts, labels = some_parts(3, (4, 3, 4), (2, 3), tau)
    before = parts.objective(labels)
    np.testing.assert_allclose(before, [objective(parts, labels[k], k) for k in range(3)])
    for rounds in range(1, 5):
        found = parts.optimised(labels, rounds)
        after = parts.objective(found)
        np.testing.assert_allclose(after, [objective(parts, found[k], k) for k in range(3)])
        assert (after <= before + 1e-9).all()
        assert (found[1, :3] < 3).all()  # padding is never shown
        before = after
    assert (before < parts.objective(labels) - 0.1).all()
    assert (parts.optimised(labels, 50) == parts.optimised(labels, 51)).all()


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.83, 5.0])
def test_two_inputs_by_brute_force(tau):
    """Below the limit the whole is at its minimum; where all of the shared term counts no output can do better."""
    grid = (2, 2)
    for seed in range(4):
        parts, labels = some_parts(seed, (2,), grid, tau)
        found = parts.optimised(labels, 10)[0]
        mine, choices = objective(parts, found, 0), every(4, 2)
        if tau == 0.0:
            for output, choice in itertools.product((0, 1), choices):
                assert mine <= objective(parts, [choice, found[1]] if output == 0 else [found[0], choice], 0) + 1e-6
        least = min(objective(parts, both, 0) for both in itertools.product(choices, repeat=2))
        assert least <= mine + 1e-6
        if tau == 5.0:
            assert mine == pytest.approx(least, abs=1e-6)
        else:
            assert mine <= objective(parts, labels[0], 0)


def test_diversity_is_what_gamma_pays_for():
    """One input is more salient than the others: without gamma all outputs show it, with gamma they share."""
    images = torch.from_numpy(provenance(6, 16, 16))
    saliency = np.ones((6, 4, 4))
    saliency[2, 1:3, 1:3] = 30
    saliency[2] += 1e-3
    options = {"num_classes": 6, "smoothing": 0, "seed": 0}
    alone = dtm.CoMixup(gamma=0, eta=0, beta=0.0)(images, torch.arange(6), saliency, **options)[1]
    shared = dtm.CoMixup(eta=0, beta=0.0, tau=0)(images, torch.arange(6), saliency, **options)[1]
    assert (alone[:, 2] > 0).all()
    assert shared[:, 2].sum() < alone[:, 2].sum() / 1.2
    assert shared.sum(0).std() < alone.sum(0).std()


def batch(n, size, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(provenance(n, *size)), torch.arange(n), torch.from_numpy(rng.random((n, 5, 4)) ** 4)


@pytest.mark.parametrize("size", [(32, 32), (24, 48), (33, 50), (17, 9)])
@pytest.mark.parametrize(("n", "part"), [(1, 20), (2, 20), (9, 4), (7, 3), (5, 1)])
def test_targets_are_what_is_visible(size, n, part):
    images, labels, saliency = batch(n, size)
    mixed, targets, mask = dtm.CoMixup(part=part, grid=(4, 3))(
        images, labels, saliency, num_classes=n, seed=1, smoothing=0, layout="NHWC", return_mask=True
    )
    shown = mixed[..., 0].numpy()
    counted = np.array([np.bincount(sample.ravel(), minlength=n) for sample in shown])
    np.testing.assert_allclose(targets, counted / (size[0] * size[1]), atol=1e-6)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    assert (mixed[..., 1:] == images[..., 1:]).all()  # every pixel where it was
    for y, x in itertools.product(range(4), range(3)):
        rows, columns = (slice(k * s // c, (k + 1) * s // c) for k, s, c in ((y, size[0], 4), (x, size[1], 3)))
        assert (shown[:, rows, columns] == mask[:, y, x, None, None].numpy()).all()
    groups = np.concatenate([np.full(len(p), k) for k, p in enumerate(np.array_split(range(n), math.ceil(n / part)))])
    assert (groups[mask.flatten(1)] == groups[:, None]).all()  # parts do not mix


def test_more_than_two_show():
    images, labels, saliency = batch(12, (32, 32))
    targets = dtm.CoMixup()(images, labels, saliency, num_classes=12, seed=1, smoothing=0)[1]
    assert ((targets > 0).sum(1) > 2).any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_layouts_types_seeds_and_soft_labels(dtype):
    images, labels, saliency = batch(6, (16, 24))
    plain, targets = dtm.CoMixup()(images, labels, saliency, num_classes=6, seed=1, smoothing=0.2)
    given = images.permute(0, 3, 1, 2).contiguous().to(dtype)
    before = given.clone()
    mixed, again = dtm.CoMixup()(given, torch.eye(6), saliency, num_classes=6, seed=1, smoothing=0.2)
    assert mixed.dtype == dtype
    assert (given == before).all()
    assert (mixed == plain.permute(0, 3, 1, 2).to(dtype)).all()
    np.testing.assert_allclose(again, targets, atol=1e-6)
    other = dtm.CoMixup()(images, labels, saliency, num_classes=6, seed=2)[0]
    assert (other != plain).any()


def test_distances_are_between_the_most_salient_cells():
    maps = np.zeros((3, 6))
    maps[0, 0] = maps[1, 5] = maps[2, 1] = 1  # of 2 x 3 cells: (0, 0), (1, 2), (0, 1)
    far = np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]])
    np.testing.assert_allclose(_distances(maps, (2, 3)), far * 3 / far.sum())
    assert (_distances(np.ones((3, 6)), (2, 3)) == 0).all()


@pytest.mark.parametrize("tau", [0.0, 9.0])
@pytest.mark.parametrize("beta", [0.1, 0.2, 0.4])
def test_wholes_are_scaled_as_documented(beta, tau):
    """beta / n, eta / n, gamma / n and tau m n^2: no output of the whole mixer can do better in the documented sum."""
    images, labels, saliency = batch(2, (16, 16), seed=4)
    grid, n, m = (2, 2), 4, 2
    mix = dtm.CoMixup(grid=grid, beta=beta, gamma=0.2, eta=0.3, tau=tau, omega=0.4, iterations=9)
    pooled = np.kron(saliency.numpy(), np.ones((4, 4))).reshape(2, 2, 10, 2, 8).mean((2, 4)).reshape(2, 4)
    seen = pooled / pooled.sum(1, keepdims=True)
    (y, x), (v, u) = (divmod(int(each.argmax()), 2) for each in seen)
    alike = 0.6 * np.eye(2) + 0.4 * (1 - np.eye(2)) * (abs(y - v) + abs(x - u) > 0)  # between two: of mean 1 a row
    for seed in range(5):
        mask = mix(images, labels, saliency, num_classes=2, seed=seed, return_mask=True)[2].flatten(1).numpy()
        cost = -seen.T - 0.3 / n * np.log(dtm.mixing.generator(seed).dirichlet((2.0, 2.0)))

        def total(one, two, cost=cost):
            counts = [np.bincount(each, minlength=2) for each in (one, two)]
            shared = max(tau * m * n**2, 2 * counts[0] @ alike @ counts[1])
            return sum(energy(cost, beta / n, grid, each) for each in (one, two)) + 0.2 / n * shared

        for choice in every(4, 2):
            assert total(*mask) <= min(total(choice, mask[1]), total(mask[0], choice)) + 1e-6


def test_random_labels_and_preferences_to_begin_with():
    """No rounds: what shows is uniform. Without saliency the preferred input shows: each is preferred as often."""
    images = torch.zeros(400, 4, 4, 3, dtype=torch.uint8)
    ones = np.ones((400, 1, 1))
    options = {"num_classes": 1, "layout": "NHWC", "return_mask": True}
    mask = dtm.CoMixup(part=4, iterations=0)(images, np.zeros(400, int), ones, seed=0, **options)[2]
    assert stats.chisquare(np.bincount((mask % 4).flatten())).pvalue > 1e-3
    mask = dtm.CoMixup(part=4, gamma=0)(images, np.zeros(400, int), ones, seed=0, **options)[2].flatten(1)
    assert (mask == mask[:, :1]).all()
    preferred = mask.reshape(100, 4, -1)[:, 0, 0] % 4
    assert stats.chisquare(np.bincount(preferred, minlength=4)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"grid": (0, 4)}, ValueError, "grid must be in 1..64, got 0"),
        ({"part": 0}, ValueError, "part must be in 1\\.\\..*, got 0"),
        ({"alpha": 0}, ValueError, "alpha must be > 0, got 0"),
        ({"beta": -1}, ValueError, "beta must be >= 0, got -1"),
        ({"gamma": math.nan}, ValueError, "gamma must be finite, got nan"),
        ({"eta": "x"}, TypeError, "eta must be a number, got 'x'"),
        ({"tau": -0.1}, ValueError, "tau must be >= 0, got -0.1"),
        ({"omega": 1.1}, ValueError, "omega must be .* got 1.1"),
        ({"iterations": 1.5}, TypeError, "iterations must be a whole number, got 1.5"),
    ],
)
def test_impossible_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        dtm.CoMixup(**options)


def test_more_cells_than_pixels_and_loaders_are_refused():
    images, labels, saliency = batch(4, (3, 8))
    with pytest.raises(ValueError, match=r"grid must have at most a cell for each pixel of \(3, 8\), got \(4, 4\)"):
        dtm.CoMixup()(images, labels, saliency, num_classes=4, seed=0, layout="NHWC")
    with pytest.raises(TypeError, match=r"mixer cannot be CoMixup: it needs the saliency .* CoMixup\(...\)\(images"):
        dtm.draw(dtm.CoMixup(), 4, 32)
