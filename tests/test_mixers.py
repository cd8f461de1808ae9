"""Mixers: who is paired with whom, the statistics of what is drawn, and every argument and mistake of theirs."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

import dali_tokenmix as dtm
from dali_tokenmix.mixing import generator

UNLIKELY = 1e-4  # what a p-value may fall to; the seeds are fixed
SIZE = (60, 90)
MIXERS = {
    "block": dtm.TokenMix,
    "random": lambda **options: dtm.TokenMix(mask="random", **options),
    "region": lambda **options: dtm.TokenMix(mask="region", **options),
    "cutmix": dtm.CutMix,
    "minmax": lambda **options: dtm.CutMix(minmax=(0.2, 0.8), **options),
    "mixup": dtm.MixUp,
}


def what_is_drawn(plan):
    """(N, ...) one row a sample: mask bits, box or weight."""
    return plan.regions[0].pack().reshape(len(plan), -1)


def drawn_boxes(mixer, count, size=SIZE, seed=0):
    """(count, 4) boxes of as many pairs; every other sample has its pair's."""
    plan = dtm.draw(mixer, 2 * count, size, seed=seed)
    return plan.regions[0].boxes[:count].astype(int)


def areas(boxes):
    y0, x0, y1, x1 = boxes.T
    return (y1 - y0) * (x1 - x0)


# --- pairs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("build", MIXERS.values(), ids=MIXERS)
def test_flip_pairs_the_first_with_the_last(build, n):
    plan = dtm.draw(build(), n, 224, seed=n)
    assert plan.partner.tolist() == list(range(n))[::-1]


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("build", MIXERS.values(), ids=MIXERS)
def test_random_pairs_leave_at_most_one_alone(build, n):
    for seed in range(20):
        partner = dtm.draw(build(partner="random"), n, 224, seed=seed).partner
        np.testing.assert_array_equal(partner[partner], np.arange(n))
        assert (partner == np.arange(n)).sum() == n % 2


@pytest.mark.parametrize("n", [4, 5])
def test_random_pairings_are_all_as_likely(n):
    """Three of four samples, fifteen of five."""
    pairings = Counter(
        tuple(dtm.draw(dtm.MixUp(partner="random"), n, 8, seed=seed).partner.tolist()) for seed in range(3000)
    )
    assert len(pairings) == {4: 3, 5: 15}[n]
    assert stats.chisquare(list(pairings.values())).pvalue > UNLIKELY


@pytest.mark.parametrize("partner", ["flip", "random"])
@pytest.mark.parametrize("build", [*MIXERS.values(), lambda **o: dtm.Choice([dtm.MixUp(**o), dtm.CutMix(**o)])])
@pytest.mark.parametrize("valid", [0, 1, 4, 5])
def test_padding_is_nobody_s_partner(build, partner, valid):
    for seed in range(10):
        plan = dtm.draw(build(partner=partner), 7, 224, seed=seed, valid=valid)
        assert plan.partner[valid:].tolist() == list(range(valid, 7))
        assert (plan.partner[:valid] < max(valid, 1)).all()
        assert (plan.partner[:valid] != np.arange(valid)).sum() == valid // 2 * 2
        assert not plan.other[valid:].any()


@pytest.mark.parametrize("build", MIXERS.values(), ids=MIXERS)
def test_mode_says_who_shares_a_draw(build):
    """Six samples, flipped: batch has one draw, pair three, elem six."""
    for mode, expected in (("batch", [0] * 6), ("pair", [0, 1, 2, 2, 1, 0]), ("elem", [0, 1, 2, 3, 4, 5])):
        drawn = what_is_drawn(dtm.draw(build(mode=mode), 6, 224, seed=3))
        _, groups = np.unique(drawn, axis=0, return_inverse=True)
        same = groups.reshape(-1)[:, None] == groups.reshape(-1)
        np.testing.assert_array_equal(same, np.equal.outer(expected, expected))


@pytest.mark.parametrize("build", MIXERS.values(), ids=MIXERS)
@pytest.mark.parametrize(("mode", "groups"), [("pair", 1000), ("elem", 2000)])
def test_prob_is_the_share_of_groups_that_are_mixed(build, mode, groups):
    plan = dtm.draw(build(mode=mode, prob=0.3), 2000, 32 if build is not dtm.TokenMix else 64, seed=8)
    mixed = what_is_drawn(plan).any(axis=1)
    if mode == "pair":
        np.testing.assert_array_equal(mixed, mixed[::-1])
        np.testing.assert_array_equal(plan.partner == np.arange(2000), ~mixed)
    drawn = int(mixed.sum()) * groups // 2000
    assert stats.binomtest(drawn, groups, 0.3).pvalue > UNLIKELY
    assert not plan.other[~mixed].any()


def test_prob_by_batch_mixes_all_or_none():
    mixed = [dtm.draw(dtm.MixUp(mode="batch", prob=0.3), 8, 16, seed=seed).other > 0 for seed in range(1000)]
    assert all(batch.all() or not batch.any() for batch in mixed)
    assert stats.binomtest(sum(batch.any() for batch in mixed), 1000, 0.3).pvalue > UNLIKELY


@pytest.mark.parametrize("build", MIXERS.values(), ids=MIXERS)
def test_equal_seeds_draw_equal_plans_and_others_do_not(build):
    one, again, other = (dtm.draw(build(partner="random"), 16, 224, seed=seed) for seed in (7, 7, 8))
    assert one.rows().tobytes() == again.rows().tobytes()
    assert one.rows().tobytes() != other.rows().tobytes()


def test_draws_do_not_touch_global_random_state():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for build in MIXERS.values():
        dtm.draw(build(partner="random"), 4, 224)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


# --- what is drawn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 3.0])
def test_mixup_weights_are_beta(alpha):
    plan = dtm.draw(dtm.MixUp(alpha, mode="elem"), 5000, 4, seed=2)
    assert stats.kstest(1 - plan.blend().astype(float), stats.beta(alpha, alpha).cdf).pvalue > UNLIKELY


def clipped_boxes_by_hand(rng, alpha, count):
    """CutMix as its paper writes it, one box at a time."""
    height, width = SIZE
    found = []
    for _ in range(count):
        lam = rng.beta(alpha, alpha)
        h, w = int(height * math.sqrt(1 - lam)), int(width * math.sqrt(1 - lam))
        y, x = int(rng.random() * height), int(rng.random() * width)
        top, left = y - h // 2, x - w // 2
        found.append([max(0, top), max(0, left), min(height, top + h), min(width, left + w)])
    return np.array(found)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_cutmix_boxes_are_those_of_its_paper(alpha):
    """Edges, sides, areas and aspects are distributed alike."""
    ours = drawn_boxes(dtm.CutMix(alpha), 8000)
    by_hand = clipped_boxes_by_hand(np.random.default_rng(5), alpha, 8000)
    for measure in (
        areas,
        *(lambda b, k=k: b[:, k] for k in range(4)),
        lambda b: b[:, 2] - b[:, 0] - b[:, 3] + b[:, 1],
    ):
        assert stats.ks_2samp(measure(ours), measure(by_hand)).pvalue > UNLIKELY


def test_cutmix_boxes_keep_the_aspect_where_they_are_not_clipped():
    boxes = drawn_boxes(dtm.CutMix(), 2000)
    y0, x0, y1, x1 = boxes.T
    inside = (y0 > 0) & (x0 > 0) & (y1 < SIZE[0]) & (x1 < SIZE[1])
    assert inside.sum() > 200
    assert (np.abs((y1 - y0) / SIZE[0] - (x1 - x0) / SIZE[1])[inside] <= 1 / min(SIZE)).all()


def test_minmax_boxes_have_uniform_sides_and_lie_inside():
    boxes = drawn_boxes(dtm.CutMix(minmax=(0.2, 0.5)), 12_000)
    y0, x0, y1, x1 = boxes.T
    for (start, end), side in zip(((y0, y1), (x0, x1)), SIZE, strict=True):
        length = end - start
        sides = np.bincount(length)
        least, most = side // 5, side // 2
        assert (length.min(), length.max()) == (least, most)
        assert stats.chisquare(sides[least:]).pvalue > UNLIKELY
        assert start.min() >= 0
        assert end.max() <= side
        within = (start + np.random.default_rng(1).random(len(start))) / (side - length + 1)
        assert stats.kstest(within, "uniform").pvalue > UNLIKELY
    assert abs(stats.pearsonr(y1 - y0, x1 - x0).statistic) < 0.05


def test_minmax_overrides_alpha():
    one, other = (drawn_boxes(dtm.CutMix(alpha, minmax=(0.5, 0.5)), 50) for alpha in (0.1, 9.0))
    np.testing.assert_array_equal(areas(one), 30 * 45)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_random_tokens_are_uniform(ratio):
    masks = dtm.draw(dtm.TokenMix(mask="random", mode="elem", ratio=ratio), 5000, (80, 112), seed=4).mask()
    total = int(ratio * 35)
    assert (masks.sum(axis=(1, 2)) == total).all()
    often = masks.sum(axis=0).reshape(-1)
    # 35 dependent counts: those without replacement vary less than the multinomial by (T - k) / (T - 1)
    chi_square = ((often - 5000 * total / 35) ** 2 / (5000 * total / 35)).sum() * 34 / (35 - total)
    assert UNLIKELY < stats.chi2(34).sf(chi_square) < 1 - UNLIKELY
    for one, next_one in pairwise(range(0, 35, 5)):  # and pairs of tokens are independent but for the total
        both = (masks.reshape(5000, -1)[:, [one, next_one]].all(axis=1)).sum()
        assert stats.binomtest(int(both), 5000, total * (total - 1) / (35 * 34)).pvalue > UNLIKELY


@pytest.mark.parametrize("size", [(224, 224), (80, 112), (30, 250)])
def test_region_masks_are_one_rectangle_of_at_most_the_ratio(size):
    masks = dtm.draw(dtm.TokenMix(mask="region", mode="elem"), 1000, size, seed=4).mask()
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    np.testing.assert_array_equal(masks, rows[:, :, None] & columns[:, None, :])
    for line in (rows, columns):
        assert (np.diff(line.astype(int), axis=1, prepend=0, append=0) == 1).sum(axis=1).tolist() == [1] * 1000
    tokens, share = masks[0].size, masks.sum(axis=(1, 2))
    assert share.max() <= 0.5 * tokens
    assert share.max() == math.prod(int(side * math.sqrt(0.5)) for side in masks.shape[1:])
    assert share.min() > 0
    assert len(np.unique(masks.reshape(1000, -1), axis=0)) > 10


def test_ratio_is_the_share_of_tokens_from_the_partner():
    for mask in ("block", "random"):
        plan = dtm.draw(dtm.TokenMix(ratio=0.25, mask=mask), 32, 224, seed=1)
        assert plan.mask().sum(axis=(1, 2)).tolist() == [49] * 32
        assert plan.other.tolist() == [0.25] * 32


@pytest.mark.parametrize("size", [(224, 224), (225, 223), (384, 288), (97, 33), (17, 400)])
@pytest.mark.parametrize("patch_size", [4, 7, 16])
def test_any_image_and_patch_size_has_its_grid(size, patch_size):
    plan = dtm.draw(dtm.TokenMix(patch_size), 3, size, seed=1)
    grid = tuple(math.ceil(side / patch_size) for side in size)
    assert plan.mask().shape == (3, *grid)
    assert plan.mask()[0].sum() == math.prod(grid) // 2


# --- Choice ----------------------------------------------------------------------------------------------------------


def three(**options):
    return [dtm.TokenMix(8, **options), dtm.CutMix(minmax=(0.3, 0.6), **options), dtm.MixUp(**options)]


def which_region(plan):
    """(N,) the region that gives a sample something, -1 for none; fails if there are several."""
    touched = np.array([region.shares(len(plan), plan.image_size)[:, 0] > 0 for region in plan.regions])
    assert (touched.sum(axis=0) <= 1).all()
    return np.where(touched.any(axis=0), touched.argmax(axis=0), -1)


def test_choice_by_batch_draws_one_mixer_for_all_as_often_as_weighted():
    mixer = dtm.Choice(three(), weights=[1, 2, 5])
    drawn = [which_region(dtm.draw(mixer, 4, 64, seed=seed)) for seed in range(2000)]
    assert all(len(set(batch.tolist())) == 1 for batch in drawn)
    assert stats.chisquare(np.bincount([batch[0] for batch in drawn]), [250, 500, 1250]).pvalue > UNLIKELY


def test_choice_by_pair_draws_one_mixer_a_pair_as_often_as_weighted():
    drawn = which_region(dtm.draw(dtm.Choice(three(), [1, 2, 5], mode="pair"), 4000, 64, seed=1))
    np.testing.assert_array_equal(drawn, drawn[::-1])
    assert stats.chisquare(np.bincount(drawn[:2000]), [250, 500, 1250]).pvalue > UNLIKELY


@pytest.mark.parametrize("mode", ["batch", "pair"])
def test_regions_of_mixers_not_drawn_are_empty(mode):
    for seed in range(20):
        plan = dtm.draw(dtm.Choice(three(), mode=mode), 8, 64, seed=seed)
        chosen = which_region(plan)
        for k, region in enumerate(plan.regions):
            assert not region.pack()[chosen != k].any()
            assert region.pack()[chosen == k].reshape(-1).any() == (chosen == k).any()


def test_choice_weights_are_equal_if_left_out_and_zero_is_never():
    drawn = [which_region(dtm.draw(dtm.Choice(three()), 2, 64, seed=seed))[0] for seed in range(900)]
    assert stats.chisquare(np.bincount(drawn)).pvalue > UNLIKELY
    drawn = [which_region(dtm.draw(dtm.Choice(three(), [1, 0, 1]), 2, 64, seed=seed))[0] for seed in range(200)]
    assert set(drawn) == {0, 2}


def test_choice_draws_as_its_mixers_do():
    """What is drawn is what the chosen mixer draws of the same generator, after the choice was made."""
    plan = dtm.draw(dtm.Choice([dtm.CutMix(partner="random")]), 6, 64, seed=4)
    rng = generator(4)
    rng.random()  # one choice
    expected = dtm.CutMix(partner="random").draw(rng, dtm.mixing.Batch(6, (64, 64), 6))
    assert plan.rows().tobytes() == expected.rows().tobytes()


def test_choice_may_hold_choice():
    inner = dtm.Choice([dtm.CutMix(), dtm.MixUp()], mode="pair")
    plan = dtm.draw(dtm.Choice([inner, dtm.TokenMix(8)], [1, 0]), 64, 64, seed=4)
    assert set(which_region(plan).tolist()) == {0, 1}


def test_choice_knows_how_its_mixers_pair_up():
    assert dtm.Choice(three()).partner == "flip"
    assert dtm.Choice([*three(), dtm.MixUp(partner="random")]).partner == "random"


# --- arguments and mistakes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "changed"),
    [
        *(
            (build, change)
            for build in (dtm.TokenMix, dtm.CutMix, dtm.MixUp)
            for change in (
                {"mode": "batch"},
                {"mode": "elem"},
                {"partner": "random"},
                {"prob": 0.2},
            )
        ),
        *(
            (dtm.TokenMix, change)
            for change in (
                {"patch_size": 8},
                {"mask": "random"},
                {"mask": "region"},
                {"ratio": 0.4},
                {"min_tokens": 3},
                {"compat": "official"},
            )
        ),
        (lambda **o: dtm.TokenMix(mask="region", **o), {"ratio": 0.25}),
        (lambda **o: dtm.TokenMix(compat="official", **o), {"min_tokens": 13}),
        (dtm.CutMix, {"alpha": 0.2}),
        (dtm.CutMix, {"minmax": (0.2, 0.8)}),
        (lambda **o: dtm.CutMix(**{"minmax": (0.2, 0.8)} | o), {"minmax": (0.1, 0.8)}),
        (lambda **o: dtm.CutMix(**{"minmax": (0.2, 0.8)} | o), {"minmax": (0.2, 0.9)}),
        (dtm.MixUp, {"alpha": 0.2}),
        (lambda **o: dtm.Choice(three(), **o), {"weights": [1, 1, 50]}),
        (lambda **o: dtm.Choice(three(), **o), {"mode": "pair"}),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),  # no addresses: pytest-xdist compares names
)
def test_every_argument_changes_what_is_drawn(build, changed):
    seeds = range(8)
    usual, other = (
        [dtm.draw(mixer, 8, 224, seed=s).rows().tobytes() for s in seeds] for mixer in (build(), build(**changed))
    )
    assert usual != other


BAD_COMMON = [
    ({"mode": "pairs"}, ValueError, "mode must be one of 'pair', 'batch', 'elem', got 'pairs'"),
    ({"mode": None}, ValueError, "mode must be one of .* got None"),
    ({"partner": "next"}, ValueError, "partner must be one of 'flip', 'random', got 'next'"),
    ({"prob": -0.1}, ValueError, "prob must be >= 0 and <= 1, got -0.1"),
    ({"prob": 1.5}, ValueError, "prob must be >= 0 and <= 1, got 1.5"),
    ({"prob": math.nan}, ValueError, "prob must be finite, got nan"),
    ({"prob": "1"}, TypeError, "prob must be a number, got '1'"),
    ({"prob": True}, TypeError, "prob must be a number, got True"),
]
BAD_ALPHA = [
    ({"alpha": 0}, ValueError, "alpha must be > 0, got 0"),
    ({"alpha": -1}, ValueError, "alpha must be > 0, got -1"),
    ({"alpha": math.inf}, ValueError, "alpha must be finite, got inf"),
    ({"alpha": None}, TypeError, "alpha must be a number, got None"),
]
BAD = [
    *((build, *bad) for build in (dtm.TokenMix, dtm.CutMix, dtm.MixUp) for bad in BAD_COMMON),
    *((build, *bad) for build in (dtm.CutMix, dtm.MixUp) for bad in BAD_ALPHA),
    (dtm.TokenMix, {"patch_size": 0}, ValueError, "patch_size must be in 1.*, got 0"),
    (dtm.TokenMix, {"patch_size": -1}, ValueError, "patch_size must be in 1.*, got -1"),
    (dtm.TokenMix, {"patch_size": 1.5}, TypeError, "patch_size must be a whole number, got 1.5"),
    (dtm.TokenMix, {"patch_size": True}, TypeError, "patch_size must be a whole number, got True"),
    (dtm.TokenMix, {"patch_size": (16, 16)}, TypeError, r"patch_size must be a whole number, got \(16, 16\)"),
    (dtm.TokenMix, {"mask": "blocks"}, ValueError, "mask must be one of 'block', 'random', 'region', got 'blocks'"),
    (dtm.TokenMix, {"ratio": 0}, ValueError, "ratio must be > 0 and < 1, got 0"),
    (dtm.TokenMix, {"ratio": 1}, ValueError, "ratio must be > 0 and < 1, got 1"),
    (dtm.TokenMix, {"ratio": 1.5}, ValueError, "ratio must be > 0 and < 1, got 1.5"),
    (dtm.TokenMix, {"ratio": math.nan}, ValueError, "ratio must be finite, got nan"),
    (dtm.TokenMix, {"ratio": "a"}, TypeError, "ratio must be a number, got 'a'"),
    (dtm.TokenMix, {"min_tokens": 0}, ValueError, "min_tokens must be in 1.*, got 0"),
    (dtm.TokenMix, {"min_tokens": 2.5}, TypeError, "min_tokens must be a whole number, got 2.5"),
    (dtm.TokenMix, {"compat": "timm"}, ValueError, "compat must be one of None, 'official', got 'timm'"),
    (dtm.TokenMix, {"compat": "official", "mask": "random"}, ValueError, "compat='official' .* got mask='random'"),
    (dtm.CutMix, {"minmax": (0.8, 0.2)}, ValueError, r"minmax\[1\] must be >= 0.8 and <= 1, got 0.2"),
    (dtm.CutMix, {"minmax": (-0.1, 0.2)}, ValueError, r"minmax\[0\] must be >= 0 and <= 1, got -0.1"),
    (dtm.CutMix, {"minmax": (0.1, 1.2)}, ValueError, r"minmax\[1\] must be .*, got 1.2"),
    (dtm.CutMix, {"minmax": 0.5}, ValueError, r"minmax must be two numbers \(least, most\), got 0.5"),
    (dtm.CutMix, {"minmax": (0.1, 0.2, 0.3)}, ValueError, "minmax must be two numbers"),
    (dtm.CutMix, {"minmax": "ab"}, ValueError, "minmax must be two numbers .* got 'ab'"),
    (dtm.CutMix, {"minmax": (0.1, "b")}, TypeError, r"minmax\[1\] must be a number, got 'b'"),
    (dtm.Choice, {"mixers": []}, ValueError, "mixers must hold at least one mixer, got none"),
    (dtm.Choice, {"mixers": dtm.CutMix()}, TypeError, r"mixers must be a list, got CutMix\("),
    (dtm.Choice, {"mixers": [dtm.CutMix(), "mixup"]}, TypeError, r"mixers\[1\] must be a mixer .* got 'mixup'"),
    (dtm.Choice, {"mixers": [dtm.CutMix]}, TypeError, r"mixers\[0\] must be a mixer .* got <class"),
    (
        dtm.Choice,
        {"mixers": three(), "weights": [1, 1]},
        ValueError,
        "weights must be one for each of 3",
    ),
    (dtm.Choice, {"mixers": three(), "weights": [1, -1, 1]}, ValueError, r"weights\[1\] must be >= 0, got -1"),
    (dtm.Choice, {"mixers": three(), "weights": [0, 0, 0]}, ValueError, r"weights must not all be 0, got \(0, 0, 0\)"),
    (dtm.Choice, {"mixers": three(), "weights": [1, 1, math.nan]}, ValueError, r"weights\[2\] must be finite, got nan"),
    (dtm.Choice, {"mixers": three(), "weights": [1, 1, "1"]}, TypeError, r"weights\[2\] must be a number, got '1'"),
    (dtm.Choice, {"mixers": three(), "weights": 0.5}, TypeError, "weights must be a list, got 0.5"),
    (dtm.Choice, {"mixers": three(), "mode": "elem"}, ValueError, "mode must be one of 'batch', 'pair', got 'elem'"),
    (
        dtm.Choice,
        {"mixers": three(partner="random"), "mode": "pair"},
        ValueError,
        "needs partner='flip'",
    ),
]


@pytest.mark.parametrize(("build", "arguments", "error", "message"), BAD, ids=str)
def test_mistakes_are_refused_when_the_mixer_is_made(build, arguments, error, message):
    with pytest.raises(error, match=message):
        build(**arguments)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"mixer": None}, TypeError, "mixer must be a mixer such as TokenMix.*, got None"),
        ({"mixer": "TokenMix"}, TypeError, "mixer must be a mixer .* got 'TokenMix'"),
        ({"mixer": dtm.TokenMix}, TypeError, "mixer must be a mixer .* got <class"),
        ({"n": 0}, ValueError, "n must be in 1.*, got 0"),
        ({"n": 2.0}, TypeError, "n must be a whole number, got 2.0"),
        ({"image_size": 0}, ValueError, "image_size must be in 1.*, got 0"),
        ({"image_size": -224}, ValueError, "image_size must be in 1.*, got -224"),
        ({"image_size": 224.0}, TypeError, "image_size must be a whole number, got 224.0"),
        ({"image_size": "224"}, TypeError, "image_size must be a whole number, got '224'"),
        ({"image_size": (224, 224, 3)}, ValueError, r"image_size must be one number or .* got \(224, 224, 3\)"),
        ({"seed": -1}, ValueError, "seed must be in 0.*, got -1"),
        ({"seed": 2**64}, ValueError, "seed must be in 0.*, got 18446744073709551616"),
        ({"seed": 0.5}, TypeError, "seed must be a whole number, got 0.5"),
        ({"seed": None}, TypeError, "seed must be a whole number, got None"),
        ({"valid": 5}, ValueError, "valid must be in 0..4, got 5"),
        ({"valid": -1}, ValueError, "valid must be in 0..4, got -1"),
        ({"image_size": 16}, ValueError, "must leave tokens on both sides, got 0 of the 1 x 1 grid .*patch_size=16"),
        ({"mixer": dtm.TokenMix(ratio=0.01), "image_size": 64}, ValueError, "got 0 of the 4 x 4 grid .*ratio=0.01"),
        ({"mixer": dtm.TokenMix(mask="random"), "image_size": 9}, ValueError, "got 0 of the 1 x 1 grid"),
        ({"mixer": dtm.TokenMix(mask="region"), "image_size": 16}, ValueError, "no box of whole tokens on the 1 x 1"),
        ({"mixer": dtm.TokenMix(mask="region"), "image_size": (16, 224)}, ValueError, "on the 1 x 14 grid"),
        (
            {"mixer": dtm.TokenMix(compat="official"), "image_size": 64},
            ValueError,
            "got 22 of the 4 x 4 grid",
        ),
    ],
)
def test_mistakes_are_refused_when_a_plan_is_drawn(changed, error, message):
    given = {"mixer": dtm.TokenMix(), "n": 4, "image_size": 224, "seed": 0} | changed
    with pytest.raises(error, match=message):
        dtm.draw(**given)


def test_paper_masks_fit_a_4_by_4_grid():
    assert dtm.draw(dtm.TokenMix(), 8, 64).mask().sum(axis=(1, 2)).tolist() == [8] * 8
