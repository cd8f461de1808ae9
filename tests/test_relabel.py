"""Soft labels from top-k label maps, of crops and of tokens: against torchvision's ROI-align of the dense maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

import dali_tokenmix as dtm
from dali_tokenmix import reference
from tests.test_scoring import MIXERS


def label_maps(rng, n, k, h, w, classes):
    """ids (N, k, h, w), distinct in each cell, and scores, strongest first, exact in float16."""
    ids = rng.random((n, h, w, classes)).argsort(-1)[..., :k].transpose(0, 3, 1, 2)
    scores = -np.sort(-rng.normal(4, 5, (n, k, h, w)), axis=1).astype(np.float16)
    return ids.astype(np.int32), scores.astype(np.float32)


def some_boxes(rng, n):
    corners = np.sort(rng.random((n, 2, 2)), axis=1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1]], axis=1).astype(np.float32)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1e-3).clip(max=1)
    boxes[:, :2] = np.minimum(boxes[:, :2], boxes[:, 2:] - 1e-3)
    boxes[0] = (0, 0, 1, 1)
    return boxes


def dense_labels(ids, scores, boxes, flips, grid, classes):
    """The oracle, (N, gh, gw, C) float64: zeros, scatter, torchvision's ROI-align, softmax."""
    n, _, h, w = ids.shape
    maps = torch.zeros(n, classes, h, w, dtype=torch.float64)
    maps.scatter_add_(1, torch.from_numpy(ids).long(), torch.from_numpy(scores).double())
    y0, x0, y1, x1 = (boxes * np.float32([h, w, h, w])).T
    regions = torch.from_numpy(np.stack([np.arange(n), x0, y0, x1, y1], axis=1)).double()
    cropped = roi_align(maps, regions, grid, aligned=True, sampling_ratio=-1).softmax(1).permute(0, 2, 3, 1).numpy()
    return np.where(flips[:, None, None, None], cropped[:, :, ::-1], cropped)


def scattered(ids, probabilities, classes):
    """(N, T, C) of the sparse targets; an id that is there twice counts twice."""
    dense = np.zeros((*ids.shape[:2], classes))
    for place in np.ndindex(*ids.shape):
        dense[(*place[:2], ids[place])] += probabilities[place]
    return dense


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 6), st.integers(6, 40), st.integers(0, 2**32 - 1))
def test_crop_labels_are_the_softmax_of_the_pooled_dense_map(height, width, k, classes, seed):
    rng = np.random.default_rng(seed)
    ids, scores = label_maps(rng, 5, k, height, width, classes)
    boxes = some_boxes(rng, 5)
    expected = dense_labels(ids, scores, boxes, np.zeros(5, bool), (1, 1), classes)[:, 0, 0]
    ours = dtm.crop_labels(ids, scores, boxes, num_classes=classes)
    np.testing.assert_allclose(ours, expected, atol=1e-5)  # float32 coordinates, times logits
    np.testing.assert_allclose(ours.sum(1), 1, atol=1e-5)


def test_the_definition_is_torchvisions_too():
    rng = np.random.default_rng(0)
    ids, scores = label_maps(rng, 3, 2, 5, 4, 6)
    boxes, flips = some_boxes(rng, 3), np.array([True, False, True])
    theirs = dense_labels(ids, scores, boxes, flips, (3, 2), 6)
    dense = reference.dense_maps(ids, scores, 6)
    np.testing.assert_allclose(reference.crop_labels(dense, boxes, flips, (3, 2)), theirs, atol=1e-6)
    whole = dtm.crop_labels(ids, scores, num_classes=6)
    np.testing.assert_array_equal(whole, dtm.crop_labels(ids, scores, [[0, 0, 1, 1]] * 3, num_classes=6))


def tokens_of(maps, boxes, flips, patch, size, activation=lambda cut: cut):
    """(N, gh, gw, C) of dense maps (N, C, h, w): torchvision's ROI-align of each token's own box, one by one.

    None where a token's side is so near to a whole number of cells that float32 may take another number of samples.
    """
    n, _, h, w = maps.shape
    grid = tuple(-(-side // patch) for side in size)
    if all(side % patch == 0 for side in size):
        edges = boxes * np.float32([h, w, h, w])
        rois = np.stack([np.arange(n), *edges.T[[1, 0, 3, 2]]], axis=1)
        cut = roi_align(maps, torch.from_numpy(rois).double(), grid, aligned=True, sampling_ratio=-1)
        cut = activation(cut).permute(0, 2, 3, 1).numpy()
        return np.where(flips[:, None, None, None], cut[:, :, ::-1], cut)
    rois = []
    for k, y, x in np.ndindex(n, *grid):
        edges = []
        for at, side, cells, which in ((y, size[0], h, 0), (x, size[1], w, 1)):
            low, high = at * patch / side, min((at + 1) * patch, side) / side
            low, high = (1 - high, 1 - low) if which and flips[k] else (low, high)
            first, last = float(boxes[k, which]) * cells, float(boxes[k, which + 2]) * cells
            edges.append((first + low * (last - first), first + high * (last - first)))
            length = edges[-1][1] - edges[-1][0]
            if abs(length - round(length)) < 1e-4:
                return None
        (y0, y1), (x0, x1) = edges
        rois.append((k, x0, y0, x1, y1))
    cut = roi_align(maps, torch.tensor(rois, dtype=torch.float64), (1, 1), aligned=True, sampling_ratio=-1)
    return activation(cut)[:, :, 0, 0].numpy().reshape(n, *grid, -1)


def dense(ids, scores, classes):
    maps = torch.zeros(len(ids), classes, *ids.shape[2:], dtype=torch.float64)
    return maps.scatter_add_(1, torch.from_numpy(ids).long(), torch.from_numpy(scores).double())


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 5), st.integers(5, 40), st.integers(0, 2**32 - 1))
def test_tokens_have_the_strongest_classes_of_whoever_shows(height, width, k, classes, seed):
    rng = np.random.default_rng(seed)
    patch, size = int(rng.integers(5, 16)), (int(rng.integers(20, 90)), int(rng.integers(20, 90)))
    if seed % 3 == 0:  # no rest
        size = tuple(max(2, side // patch) * patch for side in size)
    ids, scores = label_maps(rng, 5, k, height, width, classes)
    boxes, flips = some_boxes(rng, 5), rng.random(5) < 0.5
    plan = dtm.draw(dtm.TokenMix(patch, mask="random", mode="elem"), 5, size, seed=seed)
    mask = plan.mask().astype(bool)
    labels = tokens_of(dense(ids, scores, classes), boxes, flips, patch, size, lambda cut: cut.softmax(1))
    assume(labels is not None)
    labels = np.where(mask[..., None], labels[plan.partner], labels).reshape(5, -1, classes)
    token_ids, probabilities = dtm.token_labels(plan, ids, scores, boxes, flips, num_classes=classes)
    assert token_ids.shape == probabilities.shape == (5, mask[0].size, k)
    assert (token_ids.dtype, probabilities.dtype) == (np.int32, np.float32)
    np.testing.assert_allclose(np.take_along_axis(labels, token_ids.astype(int), 2), probabilities, atol=1e-4)
    assert (np.diff(probabilities, axis=2) <= 0).all()
    # classes that a bin's cells do not have all share one logit: none that they have is left out for a weaker one
    seen = scattered(token_ids, np.ones_like(probabilities), classes)
    assert seen.max() == 1
    present = dense(ids, np.ones_like(scores), classes)
    reached = tokens_of(present, boxes, flips, patch, size)
    reached = np.where(mask[..., None], reached[plan.partner], reached).reshape(5, -1, classes)
    left_out = np.where((reached > 1e-6) & (seen == 0), labels, 0).max(2)
    assert (left_out <= probabilities[..., -1] + 1e-4).all()


def test_a_class_at_the_edge_belongs_to_the_token_that_is_cut_off_there():
    """100 pixels in tokens of 16: the last one has 4. Class 1 is in the last tenth of the map, flipped in the first."""
    ids, scores = np.zeros((2, 1, 1, 10), np.int32), np.full((2, 1, 1, 10), 9.0, np.float32)
    ids[0, ..., 9:], ids[1, ..., :1] = 1, 1
    plan = dtm.draw(dtm.TokenMix(prob=0.0), 2, 100)
    found, _ = dtm.token_labels(plan, ids, scores, flips=[False, True], num_classes=2)
    assert (found.reshape(2, 7, 7)[:, 0] == [0, 0, 0, 0, 0, 0, 1]).all()


@pytest.mark.parametrize("samples", [1, 2, 7])
@pytest.mark.parametrize("name", MIXERS)
def test_tokens_that_two_samples_share_have_both_their_classes(name, samples):
    """With k = C nothing is left out, so that the dense labels come back whole."""
    rng, classes = np.random.default_rng(3), 6
    for seed in range(6):
        size = (112, 112) if seed % 2 else (97, 130)
        plan = dtm.draw(MIXERS[name], samples, size, seed=seed)
        ids, scores = label_maps(rng, samples, classes, 7, 9, classes)
        boxes, flips = some_boxes(rng, samples) * np.float32(0.983), rng.random(samples) < 0.5
        token_ids, probabilities = dtm.token_labels(plan, ids, scores, boxes, flips, num_classes=classes)
        patch = 20 if "grid" in name else 16
        grid = tuple(-(-side // patch) for side in size)
        shares = reference.cell_shares(plan, grid, patch)
        labels = tokens_of(dense(ids, scores, classes), boxes, flips, patch, size, lambda cut: cut.softmax(1))
        expected = (1 - shares)[..., None] * labels + shares[..., None] * labels[plan.partner]
        sides = 1 if isinstance(MIXERS[name], dtm.TokenMix) else 2
        assert token_ids.shape == (samples, grid[0] * grid[1], sides * classes)
        found = scattered(token_ids, probabilities, classes)
        np.testing.assert_allclose(found, expected.reshape(samples, -1, classes), atol=1e-4)
        np.testing.assert_allclose(probabilities.sum(2), 1, atol=1e-5)


@pytest.mark.parametrize("name", MIXERS)
def test_targets_of_soft_labels_are_mixed_by_the_plans_weights(name):
    rng = np.random.default_rng(1)
    labels = rng.dirichlet(np.ones(9), 7).astype(np.float32)
    plan = dtm.draw(MIXERS[name], 7, 224, seed=2)
    expected = 0.9 * (plan.own[:, None] * labels + plan.other[:, None] * labels[plan.partner]) + 0.1 / 9
    for kind in (labels, torch.from_numpy(labels), labels.astype(np.float64)):
        np.testing.assert_allclose(dtm.soft_targets(plan, kind, 9, 0.1), expected, atol=1e-6)
    np.testing.assert_allclose(dtm.soft_targets(plan, labels, 9, 0.0).sum(1), 1, atol=1e-6)


def test_one_hot_labels_give_the_targets_of_their_class_ids():
    plan = dtm.draw(dtm.TokenMix(mode="elem"), 6, 224, seed=2)
    ids = np.array([4, 0, 2, 3, 1, 4])
    hot = np.eye(5, dtype=np.float32)[ids]
    np.testing.assert_allclose(dtm.soft_targets(plan, hot, 5), dtm.soft_targets(plan, ids, 5), atol=1e-7)


def test_official_boxes_are_the_mirrored_crop():
    """A class in the top right corner: the released code finds it in the crop of the bottom left."""
    ids, scores = np.zeros((1, 1, 14, 14), np.int32), np.zeros((1, 1, 14, 14), np.float32)
    ids[0, 0, :5, 9:], scores[0, 0, :5, 9:] = 3, 12
    top_right, bottom_left = [[0, 0.65, 0.35, 1]], [[0.65, 0, 1, 0.35]]
    assert dtm.crop_labels(ids, scores, top_right, num_classes=5)[0, 3] > 0.99
    assert dtm.crop_labels(ids, scores, bottom_left, num_classes=5)[0, 3] == pytest.approx(0.2)
    assert dtm.crop_labels(ids, scores, bottom_left, num_classes=5, compat="official")[0, 3] > 0.99
    plan = dtm.draw(dtm.TokenMix(prob=0.0), 1, 112)
    for compat, box in ((None, top_right), ("official", bottom_left)):
        found, sure = dtm.token_labels(plan, ids, scores, box, num_classes=5, compat=compat)
        assert (found[sure > 0.5] == 3).all()
        assert (sure > 0.5).mean() > 0.9


def test_large_class_ids_and_logits_of_any_size():
    ids = np.array([0, 70_000]).reshape(1, 2, 1, 1)
    for scores, expected in (([3e4, 2e4], [1, 0]), ([-3e4, -2e4], [0, 0]), ([0, 0], [1 / 70_001] * 2)):
        row = dtm.crop_labels(ids, np.float32(scores).reshape(1, 2, 1, 1), num_classes=70_001)[0]
        np.testing.assert_allclose(row[[0, 70_000]], expected, atol=1e-6)
        assert row.sum() == pytest.approx(1, abs=1e-4)
    two = dtm.crop_labels([[[[0]], [[1]]]], np.float32([-3e4, -3e4]).reshape(1, 2, 1, 1), num_classes=2)
    np.testing.assert_allclose(two, [[0.5, 0.5]], atol=1e-6)
    plan = dtm.draw(dtm.MixUp(), 1, 16)
    _, sure = dtm.token_labels(plan, [[[[0]], [[1]]]], np.float32([-3e4, -3e4]).reshape(1, 2, 1, 1), num_classes=2)
    np.testing.assert_allclose(sure, [[[0.5, 0.5, 0, 0]]], atol=1e-6)


GOOD = {"ids": np.zeros((2, 1, 3, 3), int), "scores": np.ones((2, 1, 3, 3)), "num_classes": 4}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ids": np.full((2, 1, 3, 3), 4)}, ValueError, r"ids must be in \[0, num_classes=4\), got 4"),
        ({"ids": np.full((2, 1, 3, 3), -1)}, ValueError, r"ids must be in \[0, num_classes=4\), got -1"),
        ({"ids": np.zeros((2, 1, 3, 3))}, TypeError, "ids must be whole numbers, got float64"),
        ({"ids": np.zeros((2, 1, 3, 2), int)}, ValueError, r"must both be \(N, k, h, w\), got shapes"),
        ({"scores": np.full((2, 1, 3, 3), np.nan)}, ValueError, "scores must be finite and at most 65504, got nan"),
        ({"scores": np.full((2, 1, 3, 3), 1e6)}, ValueError, "scores must be finite and at most 65504, got 1000000"),
        ({"boxes": [[0, 0, 1, 1]]}, ValueError, r"boxes must be \(2, 4\)"),
        ({"boxes": [[0, 0, 1, 1], [0.4, 0, 0.4, 1]]}, ValueError, "boxes must be y0 < y1"),
        ({"num_classes": 0}, ValueError, "num_classes must be in 1"),
        ({"compat": "theirs"}, ValueError, "compat must be one of None, 'official', got 'theirs'"),
    ],
)
def test_label_maps_that_do_not_fit_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        dtm.crop_labels(**{**GOOD, **change})
    with pytest.raises(error, match=message):
        dtm.token_labels(dtm.draw(dtm.TokenMix(), 2, 224), **{**GOOD, **change})


def test_plans_flips_and_soft_labels_that_do_not_fit_are_refused():
    plan = dtm.draw(dtm.TokenMix(), 3, 224)
    with pytest.raises(ValueError, match="plan must be of as many samples as ids, 2, got Plan"):
        dtm.token_labels(plan, **GOOD)
    with pytest.raises(ValueError, match=r"flips must be \(2,\), one for each map, got shape \(3,\)"):
        dtm.token_labels(dtm.draw(dtm.TokenMix(), 2, 224), flips=[True] * 3, **GOOD)
    for labels in (np.full((3, 5), np.nan), -np.ones((3, 5)), np.full((3, 5), 1e300)):
        with pytest.raises(ValueError, match="rows of labels must be finite and >= 0, got"):
            dtm.soft_targets(plan, labels, 5)
    with pytest.raises(ValueError, match=r"labels must be class ids, .*, or rows .*=5\), got shape \(3, 4"):
        dtm.soft_targets(plan, np.ones((3, 4)), 5)
    with pytest.raises(ValueError, match="compat='official' takes class ids, got soft labels"):
        dtm.soft_targets(plan, np.ones((3, 5)), 5, compat="official")
