"""SaliencyMix and AttentiveCutMix: what they draw and where maps place it, against slow definitions from the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import dali_tokenmix as dtm
from dali_tokenmix.mixing import drawn
from tests.helpers import provenance

UNLIKELY = 1e-3
SIZE = (60, 90)
SIZES = ((224, 224), (60, 90), (97, 33), (8, 9))
MIXERS = {"saliency": dtm.SaliencyMix, "attentive": dtm.AttentiveCutMix}
every_mixer = pytest.mark.parametrize("build", MIXERS.values(), ids=MIXERS)


def some_maps(n, shape=(7, 7), seed=0):
    return np.random.default_rng(seed).random((n, *shape)).astype(np.float32)


def plan_of(mixer, n=8, size=SIZE, seed=0, **options):
    return dtm.draw(mixer, n, size, seed=seed, maps=some_maps(n), **options)


# --- SaliencyMix -----------------------------------------------------------------------------------------------------


def box_by_hand(height, width, size, saliency):
    """The paper's: centred at the peak of the source's saliency map, clipped. Loops over the map."""
    rows, columns = saliency.shape
    peak = max(((y, x) for y in range(rows) for x in range(columns)), key=lambda at: saliency[at])
    y, x = (math.floor((k + 0.5) * side / cells) for k, side, cells in zip(peak, size, saliency.shape, strict=True))
    top, left = y - height // 2, x - width // 2
    return [max(0, top), max(0, left), min(size[0], top + height), min(size[1], left + width)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_each_box_is_around_the_peak_of_its_own_partner(size, mode, n):
    mixer, maps = dtm.SaliencyMix(mode=mode, partner="random"), some_maps(n, (12, 5))
    plan, sizes = dtm.draw(mixer, n, size, seed=3, maps=maps), drawn(mixer, n, size, seed=3).regions[0].boxes
    for k in range(n):
        if plan.partner[k] == k:
            assert not plan.regions[0].boxes[k].any()
            continue
        height, width = map(int, sizes[k, 2:] - sizes[k, :2])
        if height and width:
            assert plan.regions[0].boxes[k].tolist() == box_by_hand(height, width, size, maps[plan.partner[k]])
    assert (plan.partner == np.arange(n)).sum() == n % 2


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_sizes_are_drawn_as_in_the_paper(alpha):
    """Sides sqrt(1 - lambda) of the image's with lambda ~ Beta(alpha, alpha), before the border clips them."""
    boxes = drawn(dtm.SaliencyMix(alpha, mode="elem"), 4000, SIZE, seed=5).regions[0].boxes
    rng = np.random.default_rng(6)
    by_hand = [[int(side * math.sqrt(1 - lam)) for side in SIZE] for lam in rng.beta(alpha, alpha, 4000)]
    for axis in range(2):
        assert stats.ks_2samp(boxes[:, 2 + axis], np.array(by_hand)[:, axis]).pvalue > UNLIKELY
    assert not boxes[:, :2].any()
    assert (np.abs(boxes[:, 2] / SIZE[0] - boxes[:, 3] / SIZE[1]) <= 1 / min(SIZE)).all()


def test_the_default_is_the_paper_s():
    assert dtm.SaliencyMix() == dtm.SaliencyMix(alpha=1.0, saliency=dtm.Saliency(), mode="pair", partner="flip", prob=1)


@pytest.mark.parametrize(("mode", "expected"), [("batch", [0] * 6), ("pair", [0, 1, 2, 2, 1, 0]), ("elem", range(6))])
def test_what_shares_a_draw_shares_the_size_of_the_box(mode, expected):
    boxes = drawn(dtm.SaliencyMix(mode=mode), 6, 224, seed=3).regions[0].boxes
    _, groups = np.unique(boxes, axis=0, return_inverse=True)
    same = groups.reshape(-1)[:, None] == groups.reshape(-1)
    np.testing.assert_array_equal(same, np.equal.outer(list(expected), list(expected)))


def test_saliency_of_the_images_themselves():
    """Two bright spots; each sample gets the other's."""
    images = np.full((2, 96, 160, 3), 90, np.uint8)
    images[0, 20:28, 30:38], images[1, 70:78, 120:128] = 250, 250
    plan = dtm.draw(dtm.SaliencyMix(), 2, (96, 160), seed=2, maps=dtm.Saliency()(images))
    (y0, x0, y1, x1), (v0, u0, v1, u1) = plan.regions[0].boxes
    assert y0 < 74 < y1
    assert x0 < 124 < x1
    assert v0 < 24 < v1
    assert u0 < 34 < u1
    mixed = dtm.apply(plan, images.copy())
    assert (mixed[0, 70:78, 120:128] == 250).any()
    assert (mixed[1, 20:28, 30:38] == 250).any()


# --- AttentiveCutMix -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize(("k", "grid"), [(6, (7, 7)), (1, (7, 7)), (48, (7, 7)), (3, (4, 5)), (1, (2, 1))])
def test_the_k_cells_of_the_partner_s_highest_attention_are_pasted(k, grid, size, n):
    maps = some_maps(n, grid)
    plan = dtm.draw(dtm.AttentiveCutMix(k=k, grid=grid, partner="random"), n, size, seed=1, maps=maps)
    for i in range(n):
        mask = np.zeros(grid, np.uint8)
        if plan.partner[i] != i:
            attention = maps[plan.partner[i]].copy()
            for _ in range(k):
                at = np.unravel_index(attention.argmax(), grid)
                mask[at], attention[at] = 1, -1
        np.testing.assert_array_equal(plan.mask()[i], mask)


def test_a_7_by_7_grid_covers_any_image_in_whole_pixels():
    plan = plan_of(dtm.AttentiveCutMix(), 2, (97, 33))
    edges = [[k * side // 7 for k in range(8)] for side in (97, 33)]
    for y, x in np.ndindex(7, 7):
        cell = plan.pixel_mask()[0, edges[0][y] : edges[0][y + 1], edges[1][x] : edges[1][x + 1]]
        assert (cell == plan.mask()[0, y, x]).all()
    assert plan_of(dtm.AttentiveCutMix(), 2, 224).other.tolist() == [np.float32(6 / 49)] * 2


def test_attention_may_be_negative_and_only_its_order_counts():
    maps = some_maps(4)
    usual = dtm.draw(dtm.AttentiveCutMix(), 4, 224, maps=maps)
    np.testing.assert_array_equal(dtm.draw(dtm.AttentiveCutMix(), 4, 224, maps=maps * 3 - 7).rows(), usual.rows())


# --- both ------------------------------------------------------------------------------------------------------------


@every_mixer
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_weights_are_what_shows(build, mode, size):
    n = 7
    plan = plan_of(build(mode=mode, prob=0.7), n, size, seed=4)
    shown = dtm.apply(plan, provenance(n, *size))[..., 0]
    for k in range(n):
        counted = (shown[k] == plan.partner[k]).mean() if plan.partner[k] != k else 0.0
        assert plan.other[k] == np.float32(counted)
        assert plan.own[k] == np.float32(1 - counted)
    np.testing.assert_array_equal(shown, plan.sources())


@every_mixer
@pytest.mark.parametrize(("mode", "groups"), [("pair", 1000), ("elem", 2000)])
def test_prob_is_the_share_of_groups_that_are_mixed(build, mode, groups):
    plan = plan_of(build(mode=mode, prob=0.3), 2000, 32, seed=8)
    mixed = plan.regions[0].pack().any(axis=1)
    assert stats.binomtest(int(mixed.sum()) * groups // 2000, groups, 0.3).pvalue > UNLIKELY
    assert not plan.other[~mixed].any()


@every_mixer
@pytest.mark.parametrize("valid", [0, 1, 4, 5])
def test_padding_is_nobody_s_partner(build, valid):
    plan = plan_of(build(partner="random"), 7, 224, valid=valid)
    assert plan.partner[valid:].tolist() == list(range(valid, 7))
    assert not plan.other[valid:].any()
    assert (plan.other[:valid] > 0).sum() == valid // 2 * 2


@every_mixer
def test_probability_zero_changes_nothing_and_one_everything(build):
    images = provenance(8, *SIZE)
    np.testing.assert_array_equal(dtm.apply(plan_of(build(prob=0.0)), images.copy()), images)
    assert (plan_of(build(prob=1.0), seed=1).other > 0).all()


@every_mixer
def test_equal_seeds_draw_equal_plans_and_others_do_not(build):
    one, again, other = (plan_of(build(partner="random"), 16, seed=seed) for seed in (7, 7, 8))
    assert one.rows().tobytes() == again.rows().tobytes()
    assert one.rows().tobytes() != other.rows().tobytes()


@pytest.mark.parametrize("mode", ["batch", "pair"])
def test_choice_of_them_and_others(mode):
    """Each sample has one region, that of the mixer drawn for it."""
    mixers = [dtm.CutMix(), dtm.SaliencyMix(), dtm.AttentiveCutMix(), dtm.MixUp()]
    maps = {"saliency": some_maps(64, (20, 30)), "attention": some_maps(64)}
    seen = set()
    for seed in range(20):
        plan = dtm.draw(dtm.Choice(mixers, mode=mode), 64, SIZE, seed=seed, maps=maps)
        assert [type(region).__name__ for region in plan.regions] == ["Box", "Box", "Tokens", "Blend"]
        shares = np.stack([region.shares(64, SIZE)[:, 0] for region in plan.regions])
        assert ((shares > 0).sum(0) <= 1).all()
        np.testing.assert_array_equal(plan.other, shares.sum(0).astype(np.float32))
        seen |= set(np.flatnonzero(shares.any(1)))
    assert seen == {0, 1, 2, 3}


@every_mixer
@pytest.mark.parametrize("cutter", [dtm.Cutout(length=20), dtm.HideAndSeek()], ids=lambda m: type(m).__name__)
def test_what_is_placed_may_be_cut_afterwards_and_keeps_its_labels(build, cutter):
    plan, alone = plan_of(dtm.Sequence([build(), cutter]), seed=3), plan_of(build(), seed=3)
    np.testing.assert_array_equal(plan.other, alone.other)
    np.testing.assert_array_equal(plan.own, alone.own)
    sources, shown = plan.sources(), dtm.apply(plan, provenance(8, *SIZE))[..., 0]
    np.testing.assert_array_equal(shown[sources >= 0], sources[sources >= 0])
    np.testing.assert_array_equal(sources[sources >= 0], alone.sources()[sources >= 0])
    assert (sources < 0).any()


BAD = [
    (dtm.SaliencyMix, {"alpha": 0}, ValueError, "alpha must be > 0, got 0"),
    (dtm.SaliencyMix, {"alpha": None}, TypeError, "alpha must be a number, got None"),
    (dtm.SaliencyMix, {"saliency": "spectral"}, TypeError, "saliency must be a Saliency, got 'spectral'"),
    (dtm.SaliencyMix, {"mode": "pairs"}, ValueError, "mode must be one of"),
    (dtm.AttentiveCutMix, {"k": 0}, ValueError, r"k must be in 1\.\..*, got 0"),
    (dtm.AttentiveCutMix, {"k": 49}, ValueError, "k must leave a cell of the 7 x 7 grid to the sample, got 49"),
    (dtm.AttentiveCutMix, {"k": 2.0}, TypeError, "k must be a whole number, got 2.0"),
    (dtm.AttentiveCutMix, {"grid": 7}, ValueError, r"grid must be \(rows, columns\), got 7"),
    (dtm.AttentiveCutMix, {"grid": (7, 0)}, ValueError, r"grid must be in 1\.\.256, got 0"),
    (dtm.AttentiveCutMix, {"prob": 2}, ValueError, "prob must be >= 0 and <= 1, got 2"),
]


@pytest.mark.parametrize(("build", "arguments", "error", "message"), BAD, ids=str)
def test_mistakes_are_refused_when_the_mixer_is_made(build, arguments, error, message):
    with pytest.raises(error, match=message):
        build(**arguments)


BOTH = [dtm.SaliencyMix(), dtm.AttentiveCutMix()]


@pytest.mark.parametrize(
    ("mixer", "maps", "error", "message"),
    [
        (
            BOTH[0],
            None,
            ValueError,
            r"maps must be given.*'saliency' maps, such as dtm.Saliency\(\).*, got None",
        ),
        (BOTH[1], None, ValueError, r"maps must be given.*'attention' maps, such as Teacher.attention\(images\)"),
        (dtm.CutMix(), some_maps(4), ValueError, "maps must be None for a mixer that draws without looking"),
        (dtm.Choice(BOTH), some_maps(4), ValueError, "maps must be a dict of 'saliency' maps.*'attention'.*one array"),
        (
            BOTH[0],
            {"attention": some_maps(4)},
            ValueError,
            "maps must be a dict of 'saliency' .* of 'attention'",
        ),
        (BOTH[0], some_maps(3), ValueError, r"saliency maps must be \(4, .* got shape \(3, 7, 7\)"),
        (BOTH[0], some_maps(4) * np.nan, ValueError, "saliency maps must be finite"),
        (BOTH[1], {"attention": "maps"}, TypeError, "attention maps must be an array"),
    ],
)
def test_maps_that_do_not_fit_are_refused(mixer, maps, error, message):
    with pytest.raises(error, match=message):
        dtm.draw(mixer, 4, 64, maps=maps)


def test_an_image_with_fewer_pixels_than_cells_is_refused():
    with pytest.raises(ValueError, match=r"token mask must have 1 to 6 x 90 cells, got \(7, 7\)"):
        plan_of(dtm.AttentiveCutMix(), 4, (6, 90))
