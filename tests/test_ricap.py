"""RICAP: who is patched with whom, where the boundary and the crops lie, what shows, and what the label makes of it."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline
from scipy import stats

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.plan import Plan, read_rows
from dali_tokenmix.regions import Quarters
from tests.helpers import provenance

UNLIKELY = 1e-3  # what a p-value may fall to; the seeds are fixed
SIZE = (50, 83)


def patched(plan, images):
    """The definition, from the paper: four crops side by side. Pixel by pixel, of (N, H, W, C) images."""
    (region,) = plan.regions
    height, width = plan.image_size
    out = images.copy()
    for i, y, x in np.ndindex(len(plan), height, width):
        y0, x0 = height - region.lower_right[i, 0], width - region.lower_right[i, 1]
        if (y0, x0) == (height, width):
            continue  # all of it is the sample's own
        quarter = 2 * (y >= y0) + (x >= x0)
        image = [i, plan.partner[i], plan.further[i, 0], plan.further[i, 1]][quarter]
        crop_y, crop_x = region.crops[i, quarter]
        out[i, y, x] = images[image, crop_y + y - y0 * (y >= y0), crop_x + x - x0 * (x >= x0)]
    return out


def groups_of(plan):
    """The set of samples that each one shows."""
    return [frozenset(row) for row in np.column_stack([np.arange(len(plan)), plan.partner, plan.further]).tolist()]


def boundaries(plan):
    """(N, 2): where the lower right quarter begins."""
    return np.array(plan.image_size) - plan.regions[0].lower_right


# --- what shows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["pair", "batch", "elem"])
@pytest.mark.parametrize("partner", ["flip", "random"])
@pytest.mark.parametrize(
    ("n", "size"), [(8, (13, 22)), (7, (22, 13)), (6, (1, 9)), (5, (9, 1)), (3, (6, 6)), (1, (4, 5))]
)
def test_pixels_are_those_of_four_crops(mode, partner, n, size):
    for seed, prob in enumerate((1.0, 0.5, 0.0)):
        plan = dtm.draw(dtm.RICAP(1.0, mode=mode, partner=partner, prob=prob), n, size, seed=seed)
        images = provenance(n, *size)
        expected = patched(plan, images)
        np.testing.assert_array_equal(reference.mixed(plan, images), expected)
        np.testing.assert_array_equal(dtm.apply(plan, images.copy(), layout="NHWC"), expected)
        np.testing.assert_array_equal(plan.sources(), expected[..., 0])
        assert prob or (expected == images).all()


@pytest.mark.parametrize("mode", ["pair", "batch", "elem"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 9])
def test_weights_are_the_pixels_of_each_sample(mode, n):
    for seed in range(8):
        plan = dtm.draw(dtm.RICAP(1.0, mode=mode, prob=0.8), n, SIZE, seed=seed)
        shown = dtm.apply(plan, provenance(n, *SIZE))[..., 0]
        targets = dtm.soft_targets(plan, np.arange(n), n, smoothing=0.0)
        np.testing.assert_allclose(
            targets, [(np.bincount(image.ravel(), minlength=n)) / shown[0].size for image in shown]
        )
        total = plan.own + plan.other + plan.further_weights.sum(1)
        np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_a_crop_may_be_all_or_nothing(dtype):
    """A boundary at any corner leaves the whole to one image."""
    images = provenance(4, 6, 7, dtype=dtype)
    for k, corner in enumerate([(0, 0), (0, 7), (6, 0), (6, 7)]):
        region = Quarters(np.tile(np.int32(corner), (4, 1)), np.zeros((4, 4, 2), np.int32))
        plan = Plan([1, 0, 3, 2], (region,), (6, 7), further=[[2, 3], [3, 2], [0, 1], [1, 0]])
        mixed = dtm.apply(plan, images.copy(), layout="NHWC")
        order = [np.arange(4), plan.partner, plan.further[:, 0], plan.further[:, 1]][k]
        np.testing.assert_array_equal(mixed, images[order])
        weights = np.column_stack([plan.own, plan.other, plan.further_weights])
        assert weights.tolist() == [[float(j == k) for j in range(4)]] * 4


def test_mask_is_all_but_the_own_crop():
    plan = dtm.draw(dtm.RICAP(), 8, SIZE, seed=1)
    for mask, (y, x) in zip(plan.mask(), boundaries(plan), strict=True):
        expected = np.ones(SIZE, np.uint8)
        expected[:y, :x] = 0
        np.testing.assert_array_equal(mask, expected)


def test_plans_travel_as_rows():
    plan = dtm.draw(dtm.RICAP(mode="elem"), 9, SIZE, seed=3)
    again = read_rows(plan.rows(), (plan.regions[0].shape,), SIZE)
    assert again.rows().tobytes() == plan.rows().tobytes()
    for name in ("partner", "own", "other", "further", "further_weights"):
        np.testing.assert_array_equal(getattr(again, name), getattr(plan, name))


# --- who -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partner", ["flip", "random"])
@pytest.mark.parametrize("n", range(1, 14))
def test_groups_of_four_show_each_other_each_in_each_quarter(n, partner):
    for seed in range(5):
        plan = dtm.draw(dtm.RICAP(partner=partner), n, SIZE, seed=seed)
        groups = groups_of(plan)
        assert all(groups[member] == group for group in groups for member in group)
        assert sorted(Counter(len(group) for group in groups).items()) == sorted(
            (size, count) for size, count in ((4, n // 4 * 4), (2, n // 2 % 2 * 2), (1, n % 2)) if count
        )
        for column in (plan.partner, *plan.further.T):
            assert sorted(column.tolist()) == list(range(n))
        alone = plan.partner == np.arange(n)
        assert (plan.further[alone] == plan.partner[alone, None]).all()
        left = np.array([len(group) == 2 for group in groups])  # a pair alone is patched crosswise
        np.testing.assert_array_equal(plan.further[left], np.column_stack([plan.partner, np.arange(n)])[left])


def test_flip_patches_the_outermost_pair_with_the_innermost():
    plan = dtm.draw(dtm.RICAP(), 10, SIZE, seed=0)
    assert plan.partner.tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert plan.further.tolist() == [
        [4, 5], [3, 6], [7, 2], [1, 8], [0, 9], [9, 0], [8, 1], [2, 7], [6, 3], [5, 4],
    ]  # fmt: skip


@pytest.mark.parametrize(("n", "ways"), [(4, 3 * 2), (5, 15 * 2), (6, 15 * 3 * 2)])
def test_random_groups_are_all_as_likely(n, ways):
    """Of four: three pairings, and who of the other pair shows lower left."""
    drawn = Counter()
    for seed in range(40 * ways):
        plan = dtm.draw(dtm.RICAP(partner="random"), n, 8, seed=seed)
        drawn[tuple(plan.partner), tuple(plan.further[:, 0])] += 1
    assert len(drawn) == ways
    assert stats.chisquare(list(drawn.values())).pvalue > UNLIKELY


@pytest.mark.parametrize("valid", [0, 1, 2, 5, 8])
def test_padding_shows_nowhere(valid):
    for partner in ("flip", "random"):
        plan = dtm.draw(dtm.RICAP(partner=partner), 9, SIZE, seed=2, valid=valid)
        padding = np.arange(valid, 9)
        assert plan.partner[valid:].tolist() == padding.tolist()
        assert (plan.further[valid:] == padding[:, None]).all()
        assert (plan.further[:valid] < valid).all()
        assert plan.own[valid:].tolist() == [1] * len(padding)


def test_mode_says_who_shares_a_draw():
    for mode, expected in (("batch", [0] * 8), ("pair", [0, 1, 1, 0, 0, 1, 1, 0]), ("elem", list(range(8)))):
        drawn = dtm.draw(dtm.RICAP(mode=mode), 8, 224, seed=3).regions[0].pack()
        _, groups = np.unique(drawn, axis=0, return_inverse=True)
        np.testing.assert_array_equal(
            groups.reshape(-1)[:, None] == groups.reshape(-1), np.equal.outer(expected, expected)
        )


@pytest.mark.parametrize(("mode", "groups"), [("pair", 500), ("elem", 2000)])
def test_prob_is_the_share_of_groups_that_are_mixed(mode, groups):
    plan = dtm.draw(dtm.RICAP(4.0, mode=mode, prob=0.3), 2000, 224, seed=8)
    mixed = plan.regions[0].lower_right.any(1)
    assert stats.binomtest(int(mixed.sum()) * groups // 2000, groups, 0.3).pvalue > UNLIKELY
    np.testing.assert_array_equal(plan.own[~mixed], 1)
    assert not plan.further_weights[~mixed].any()
    if mode == "pair":
        assert all(mixed[list(group)].all() or not mixed[list(group)].any() for group in groups_of(plan))


def test_prob_by_batch_mixes_all_or_none():
    mixed = [dtm.draw(dtm.RICAP(4.0, mode="batch", prob=0.3), 8, 64, seed=seed).own < 1 for seed in range(500)]
    assert all(batch.all() or not batch.any() for batch in mixed)
    assert stats.binomtest(sum(batch.any() for batch in mixed), 500, 0.3).pvalue > UNLIKELY


def test_equal_seeds_draw_equal_plans_and_others_do_not():
    one, again, other = (dtm.draw(dtm.RICAP(partner="random"), 16, 224, seed=seed) for seed in (7, 7, 8))
    assert one.rows().tobytes() == again.rows().tobytes()
    assert one.rows().tobytes() != other.rows().tobytes()


# --- where -----------------------------------------------------------------------------------------------------------


def drawn_as_the_paper_does(rng, beta, size, count):
    """(count, 4, 4): height, width, y, x of each of the four crops, one number after the other."""
    height, width = size
    found = np.zeros((count, 4, 4), int)
    for crops in found:
        h, w = round(rng.beta(beta, beta) * height), round(rng.beta(beta, beta) * width)
        for k, (rows, columns) in enumerate([(h, w), (h, width - w), (height - h, w), (height - h, width - w)]):
            y, x = int(rng.random() * (height - rows + 1)), int(rng.random() * (width - columns + 1))
            crops[k] = rows, columns, y, x
    return found


@pytest.mark.parametrize("beta", [0.3, 1.0, 5.0])
def test_boundaries_and_crops_are_distributed_as_the_paper_s(beta):
    size = (300, 400)
    ours = dtm.draw(dtm.RICAP(beta, mode="elem"), 6000, size, seed=4).regions[0]
    crops = np.concatenate([ours.sizes(size), ours.crops], axis=2)
    by_hand = drawn_as_the_paper_does(np.random.default_rng(6), beta, size, 6000)
    for k in range(4):
        measures = [lambda c, k=k, j=j: c[:, k, j] for j in range(4)] + [lambda c, k=k: c[:, k, 0] * c[:, k, 1]]
        for measure in measures:
            assert stats.ks_2samp(measure(crops), measure(by_hand)).pvalue > UNLIKELY


def test_the_boundary_is_beta_along_rows_and_columns_on_their_own():
    y, x = boundaries(dtm.draw(dtm.RICAP(mode="elem"), 8000, (200, 300), seed=5)).T
    for at, side in ((y, 200), (x, 300)):
        below, above = (stats.beta(0.3, 0.3).cdf((at + step) / side) for step in (-0.5, 0.5))  # what is rounded to it
        within = below + np.random.default_rng(1).random(8000) * (above - below)
        assert stats.kstest(within, "uniform").pvalue > UNLIKELY
    assert abs(stats.pearsonr(y, x).statistic) < 0.04


def test_crops_begin_anywhere_that_leaves_them_inside():
    """Every place is as likely, the last one included; and where one crop lies says nothing of the next."""
    size = (7, 12)
    region = dtm.draw(dtm.RICAP(2.0, mode="elem"), 20_000, size, seed=6).regions[0]
    room = np.array(size) - region.sizes(size)
    for axis in range(2):
        for k in range(4):
            here = region.crops[room[:, k, axis] == 3, k, axis]
            assert stats.chisquare(np.bincount(here, minlength=4)).pvalue > UNLIKELY
    upper = region.crops[room[:, 0, 0] == 3, :2, 0]
    both = np.histogram2d(*upper.T, bins=4, range=[[-0.5, 3.5]] * 2)[0]
    assert stats.chi2_contingency(both).pvalue > UNLIKELY


def test_rows_are_rows_and_columns_are_columns():
    plan = dtm.draw(dtm.RICAP(mode="elem"), 400, (10, 1000), seed=1)
    region = plan.regions[0]
    assert region.lower_right[:, 0].max() == 10
    assert region.crops[..., 0].max() <= 10
    assert region.lower_right[:, 1].max() > 900


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beta": 0}, ValueError, "beta must be > 0, got 0"),
        ({"beta": -0.3}, ValueError, "beta must be > 0, got -0.3"),
        ({"beta": "0.3"}, TypeError, "beta must be a number, got '0.3'"),
        ({"beta": np.inf}, ValueError, "beta must be finite"),
        ({"mode": "quad"}, ValueError, "mode must be one of 'pair', 'batch', 'elem', got 'quad'"),
        ({"partner": "next"}, ValueError, "partner must be one of"),
        ({"prob": 1.5}, ValueError, "prob must be"),
    ],
)
def test_mistakes_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dtm.RICAP(**arguments)


def a_plan(corner=(0, 0), crop=(0, 0), further=((2, 3), (3, 2), (0, 1), (1, 0)), dtype=np.int32):
    region = Quarters(np.tile(np.array(corner, dtype), (4, 1)), np.tile(np.array(crop, np.int32), (4, 4, 1)))
    return Plan([1, 0, 3, 2], (region,), (6, 7), further=further)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"corner": (7, 0)}, ValueError, r"lower_right must be within 6 x 7 pixels"),
        ({"corner": (3, -1)}, ValueError, r"lower_right must be within 6 x 7 pixels"),
        ({"corner": (3, 3), "dtype": np.int64}, TypeError, "lower_right must be a NumPy array of int32, got int64"),
        ({"corner": (3, 3), "crop": (4, 0)}, ValueError, "crops must lie inside the image of 6 x 7 pixels"),
        ({"corner": (3, 3), "crop": (0, -1)}, ValueError, "crops must lie inside the image of 6 x 7 pixels"),
        ({"further": [[2, 3]]}, ValueError, r"further must be \(4, 2\)"),
        ({"further": [[2, 4]] * 4}, ValueError, r"further must be samples in \[0, 4\)"),
        ({"further": [[2, 3]] * 4}, ValueError, "further must close groups"),
        ({"further": [[0, 1], [1, 0], [0, 1], [1, 0]]}, ValueError, "further must close groups"),
    ],
)
def test_plans_that_make_no_sense_are_refused(arguments, error, message):
    a_plan((3, 3), (0, 0))
    with pytest.raises(error, match=message):
        a_plan(**arguments)


# --- Choice ----------------------------------------------------------------------------------------------------------


def test_choice_by_pair_draws_one_mixer_for_each_group_of_four():
    mixer = dtm.Choice([dtm.RICAP(5.0), dtm.CutMix(minmax=(0.3, 0.6)), dtm.MixUp()], [2, 1, 1], mode="pair")
    assert mixer.mixes == 4
    size, images = (24, 30), provenance(2000, 24, 30, dtype="float32")
    plan = dtm.draw(mixer, 2000, size, seed=1)
    which = np.array([region.pack().reshape(2000, -1).any(1) for region in plan.regions]).argmax(0)
    groups = groups_of(dtm.draw(dtm.RICAP(), 2000, size))
    assert all(len({which[member] for member in group}) == 1 for group in groups)
    assert stats.chisquare(np.bincount([which[min(g)] for g in set(groups)]), [250, 125, 125]).pvalue > UNLIKELY
    np.testing.assert_array_equal(dtm.apply(plan, images.copy()), reference.mixed(plan, images))


@pytest.mark.parametrize("mode", ["batch", "pair"])
@pytest.mark.parametrize("n", [1, 2, 5, 11])
def test_choice_among_four_and_two_is_what_its_mixers_draw(n, mode):
    inner = dtm.Choice([dtm.TokenMix(8), dtm.RICAP(1.0, prob=0.7)], mode="pair")
    for seed in range(10):
        plan = dtm.draw(dtm.Choice([dtm.CutMix(), inner], mode=mode), n, (32, 40), seed=seed)
        images = provenance(n, 32, 40)
        mixed = dtm.apply(plan, images.copy())
        np.testing.assert_array_equal(mixed, reference.mixed(plan, images))
        targets = dtm.soft_targets(plan, np.arange(n), n, smoothing=0.0)
        shares = [np.bincount(image[..., 0].ravel(), minlength=n) / image[..., 0].size for image in mixed]
        np.testing.assert_allclose(targets, shares, atol=1e-6)


# --- in the graph ----------------------------------------------------------------------------------------------------


def run(mixer, images, *, batches=1, **options):
    """[(mixed, targets, plan), ...] of fn.token_mix on these images, sample k of class k."""
    pipeline = Pipeline(len(images), 2, None, seed=7)
    with pipeline:
        clean = fn.external_source(lambda: list(images), layout="HWC")
        ids = fn.external_source(lambda: list(np.arange(len(images), dtype=np.int32)))
        mixed, targets, plan = dtm.fn.token_mix(
            clean, ids, num_classes=len(images), mixer=mixer, smoothing=0.0, return_plan=True, **options
        )
        pipeline.set_outputs(mixed, targets, *plan.values())
    pipeline.build()
    found = []
    for _ in range(batches):
        mixed, targets, *arrays = (output.as_array() for output in pipeline.run())
        found.append((mixed, targets, dict(zip(plan, arrays, strict=True))))
    return found


@pytest.mark.parametrize("mode", ["pair", "elem"])
def test_token_mix_tells_who_shows_and_labels_by_it(mode):
    n = 7
    for mixed, targets, plan in run(dtm.RICAP(1.0, mode=mode), provenance(n, *SIZE), batches=3):
        shares = [np.bincount(image[..., 0].ravel(), minlength=n) / image[..., 0].size for image in mixed]
        np.testing.assert_allclose(targets, shares, atol=1e-6)
        assert plan["further"].shape == plan["further_weights"].shape == (n, 2)
        weights = np.zeros((n, n))
        for i in range(n):
            for sample, weight in (
                (i, plan["own"][i]),
                (plan["partner"][i], plan["other"][i]),
                *zip(plan["further"][i], plan["further_weights"][i], strict=True),
            ):
                weights[i, sample] += weight
        np.testing.assert_allclose(weights, shares, atol=1e-6)
        assert plan["mask"].shape == (n, *SIZE)


def test_plans_of_two_have_nobody_further():
    ((_, _, plan),) = run(dtm.CutMix(), provenance(4, *SIZE))
    assert "further" not in plan


def test_real_jpegs_through_token_mix(photo_folder):
    """The same pipeline with and without: every quarter is a crop of a clean image."""
    mixed = run_photographs(photo_folder, dtm.RICAP(2.0, mode="elem"))
    clean = run_photographs(photo_folder, dtm.RICAP(prob=0.0))
    for (images, plan), (before, _) in zip(mixed, clean, strict=True):
        height, width = images.shape[1:3]
        for i, mask in enumerate(plan["mask"]):
            y, x = int((mask[:, 0] == 0).sum()), int((mask[0] == 0).sum())
            who = [i, plan["partner"][i], *plan["further"][i]]
            for k, part in enumerate((images[i, :y, :x], images[i, :y, x:], images[i, y:, :x], images[i, y:, x:])):
                h, w = part.shape[:2]
                if 0 in (h, w) or not mask.any():
                    continue
                places = np.ndindex(height - h + 1, width - w + 1)
                assert any((before[who[k], a : a + h, b : b + w] == part).all() for a, b in places)


def run_photographs(root, mixer, batches=2):
    pipeline = Pipeline(6, 2, None, seed=3)
    with pipeline:
        jpegs, labels = fn.readers.file(file_root=str(root), name="r")
        images = fn.resize(fn.decoders.image(jpegs), size=(24, 30))
        mixed, _, plan = dtm.fn.token_mix(images, labels, num_classes=4, mixer=mixer, seed=1, return_plan=True)
        pipeline.set_outputs(mixed, *plan.values())
    pipeline.build()
    for _ in range(batches):
        mixed, *arrays = (output.as_array().copy() for output in pipeline.run())
        yield mixed, dict(zip(plan, arrays, strict=True))


def test_a_loader_patches_and_resumes(photo_folder):
    def loader(**options):
        return dtm.Loader(
            photo_folder, batch_size=8, image_size=(40, 56), mixer=dtm.RICAP(1.0), device="cpu", **options
        )

    def batches(source):
        return [(images.clone(), targets.clone()) for images, targets in source]

    whole = batches(loader())
    assert any((targets > 0.03).sum(1).max() > 2 for _, targets in whole)  # labels of three images and more
    for _, targets in whole:
        torch.testing.assert_close(targets.sum(1), torch.ones(8))
    source = loader(num_threads=1)
    iterator = iter(source)
    next(iterator), next(iterator)
    resumed = loader(prefetch=3)
    resumed.load_state_dict(json.loads(json.dumps(source.state_dict())))
    rest = batches(resumed)
    assert len(rest) == 3
    assert all(
        torch.equal(a, b) for one, other in zip(whole[2:], rest, strict=True) for a, b in zip(one, other, strict=True)
    )
