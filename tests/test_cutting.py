"""Mixers that only cut: who is cut, with whom a draw is shared, labels that stay, in graphs and in a Choice."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline
from scipy import stats

import dali_tokenmix as dtm
from dali_tokenmix import reference
from tests.helpers import provenance

UNLIKELY = 1e-3  # what a p-value may fall to; the seeds are fixed
SIZE = (60, 90)
CUTTERS = {
    "cutout": lambda **options: dtm.Cutout(20, **options),
    "two holes": lambda **options: dtm.Cutout(21, n_holes=2, **options),
    "erasing": lambda **options: dtm.RandomErasing(**{"prob": 1.0} | options),
    "original": lambda **options: dtm.RandomErasing(dialect="original", **{"prob": 1.0} | options),
    "hide": lambda **options: dtm.HideAndSeek(sizes=(7, 16, 32), **options),
}
cutters = pytest.mark.parametrize("build", CUTTERS.values(), ids=CUTTERS)


def what_is_drawn(plan):
    """(N, ...) one row a sample: seed, boxes or cells."""
    return plan.regions[0].pack().reshape(len(plan), -1)


@cutters
@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("prob", [0.0, 0.5, 1.0])
def test_cut_pixels_are_filled_and_all_else_stays(build, n, prob):
    for seed, mode in enumerate(("elem", "pair", "batch")):
        plan = dtm.draw(build(mode=mode, prob=prob, fill="constant", value=255), n, SIZE, seed=seed)
        images = provenance(n, *SIZE)
        mixed = dtm.apply(plan, images.copy(), layout="NHWC")
        cut = plan.sources() < 0
        np.testing.assert_array_equal(mixed[~cut], images[~cut])
        assert (mixed[cut] == 255).all()
        assert cut.any() or prob < 1
        assert not cut.any() or prob > 0
        assert set(np.unique(plan.sources()[~cut]).tolist()) <= set(range(n))


@cutters
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("fill", ["constant", "mean", "noise"])
def test_any_fill_is_applied_as_defined(build, fill, dtype, device):
    plan = dtm.draw(build(fill=fill), 5, SIZE, seed=3)
    images = provenance(5, *SIZE, dtype=dtype)
    expected = reference.mixed(plan, images)
    for layout in ("NHWC", "NCHW"):
        given = images if layout == "NHWC" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        mixed = dtm.apply(plan, given.copy(), layout=layout)
        np.testing.assert_array_equal(mixed if layout == "NHWC" else mixed.transpose(0, 2, 3, 1), expected)


@cutters
def test_labels_stay(build):
    plan = dtm.draw(build(), 6, SIZE, seed=1)
    assert plan.own.tolist() == [1] * 6
    assert plan.other.tolist() == [0] * 6
    assert plan.partner.tolist() == list(range(6))
    np.testing.assert_array_equal(dtm.soft_targets(plan, np.arange(6), 6, smoothing=0.0), np.eye(6))
    maps = np.random.default_rng(0).random((6, 7, 7))
    np.testing.assert_allclose(dtm.scored(plan, maps).own, 1, rtol=1e-6)


@cutters
@pytest.mark.parametrize("fill", ["mean", "noise"])
def test_mode_says_who_shares_a_draw(build, fill):
    """Seven samples: elem has seven draws, pair four, batch one; noise is shared too."""
    for mode, expected in (("elem", range(7)), ("pair", [0, 1, 2, 3, 2, 1, 0]), ("batch", [0] * 7)):
        plan = dtm.draw(build(mode=mode, fill=fill), 7, SIZE, seed=3)
        _, groups = np.unique(what_is_drawn(plan), axis=0, return_inverse=True)
        same = groups.reshape(-1)[:, None] == groups.reshape(-1)
        np.testing.assert_array_equal(same, np.equal.outer(expected, expected))


@cutters
@pytest.mark.parametrize(("mode", "groups"), [("elem", 2000), ("pair", 1000)])
def test_prob_is_the_share_of_groups_that_are_cut(build, mode, groups):
    plan = dtm.draw(build(mode=mode, prob=0.3, fill="noise"), 2000, 40, seed=8)
    cut = plan.regions[0].seeds > 0
    if mode == "pair":
        np.testing.assert_array_equal(cut, cut[::-1])
    assert stats.binomtest(int(cut.sum()) * groups // 2000, groups, 0.3).pvalue > UNLIKELY
    assert not what_is_drawn(plan)[~cut].any()


@cutters
@pytest.mark.parametrize("valid", [0, 1, 4])
def test_padding_is_not_cut(build, valid):
    for mode in ("elem", "pair", "batch"):
        plan = dtm.draw(build(mode=mode, fill="noise"), 7, SIZE, seed=2, valid=valid)
        assert (plan.regions[0].seeds > 0).tolist() == [True] * valid + [False] * (7 - valid)


@cutters
def test_equal_seeds_draw_equal_plans_and_others_do_not(build):
    one, again, other = (dtm.draw(build(fill="noise"), 9, SIZE, seed=seed) for seed in (7, 7, 8))
    assert one.rows().tobytes() == again.rows().tobytes()
    assert one.rows().tobytes() != other.rows().tobytes()


@cutters
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (17, 223)])
def test_any_image_can_be_cut(build, size):
    for seed in range(5):
        plan = dtm.draw(build(fill="constant", value=9), 3, size, seed=seed)
        images = np.zeros((3, *size, 3), np.uint8)
        np.testing.assert_array_equal(dtm.apply(plan, images, layout="NHWC")[..., 0] == 9, plan.sources() < 0)


@cutters
@pytest.mark.parametrize("mode", ["batch", "pair"])
def test_a_choice_may_cut(build, mode):
    """Samples are mixed or cut, never both; who is cut keeps its label."""
    choice = dtm.Choice([dtm.CutMix(minmax=(0.3, 0.6)), build(fill="noise")], mode=mode)
    seen = set()
    for seed in range(12):
        plan = dtm.draw(choice, 9, SIZE, seed=seed)
        mixed, cut = plan.other > 0, plan.regions[1].seeds > 0
        assert not (mixed & cut).any()
        np.testing.assert_array_equal(mixed | cut | (np.arange(9) == 4), True)
        assert (plan.own[cut] == 1).all()
        images = provenance(9, *SIZE)
        np.testing.assert_array_equal(dtm.apply(plan, images.copy()), reference.mixed(plan, images))
        seen |= {(bool(mixed.any()), bool(cut.any()))}
    assert seen == ({(True, False), (False, True)} if mode == "batch" else seen | {(True, True)})


@cutters
def test_a_resumed_loader_cuts_as_the_uninterrupted_one(build, photo_folder):
    def loader(**options):
        mixer = build(fill="noise", prob=0.7)
        return dtm.Loader(photo_folder, batch_size=8, image_size=(40, 56), mixer=mixer, device="cpu", **options)

    def batches(source):
        return [(images.clone(), targets.clone()) for images, targets in source]

    whole = batches(loader())
    plain = batches(dtm.Loader(photo_folder, batch_size=8, image_size=(40, 56), device="cpu"))
    for (images, targets), (clean, same) in zip(whole, plain, strict=True):
        assert torch.equal(targets, same)
        assert not torch.equal(images, clean)
    source = loader(num_threads=1)
    iterator = iter(source)
    next(iterator), next(iterator)
    resumed = loader(prefetch=3)
    resumed.load_state_dict(json.loads(json.dumps(source.state_dict())))
    for one, other in zip(whole[2:], batches(resumed), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@cutters
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_photographs_are_cut_in_somebody_s_pipeline(build, layout, photo_folder):
    pipeline = Pipeline(6, 2, None, seed=3)
    with pipeline:
        jpegs, labels = fn.readers.file(file_root=str(photo_folder))
        clean = fn.resize(fn.decoders.image(jpegs), size=list(SIZE))
        clean = clean if layout == "NHWC" else fn.transpose(clean, perm=[2, 0, 1])
        mixer = build(fill="constant", value=(1, 2, 3))
        mixed, targets = dtm.fn.token_mix(clean, labels, num_classes=4, mixer=mixer, smoothing=0.0)
        pipeline.set_outputs(clean, mixed, targets, labels)
    pipeline.build()
    for _ in range(3):
        clean, mixed, targets, labels = (output.as_array() for output in pipeline.run())
        if layout == "NCHW":
            clean, mixed = clean.transpose(0, 2, 3, 1), mixed.transpose(0, 2, 3, 1)
        cut = (mixed == (1, 2, 3)).all(axis=-1)
        np.testing.assert_array_equal(mixed, np.where(cut[..., None], (1, 2, 3), clean))
        assert 0.01 < cut.mean() < 0.9
        np.testing.assert_array_equal(targets, np.eye(4)[labels.reshape(-1)])


BAD = [
    ({"mode": "pairs"}, ValueError, "mode must be one of 'pair', 'batch', 'elem', got 'pairs'"),
    ({"prob": 1.5}, ValueError, "prob must be >= 0 and <= 1, got 1.5"),
    ({"prob": math.nan}, ValueError, "prob must be finite, got nan"),
    ({"prob": "1"}, TypeError, "prob must be a number, got '1'"),
    ({"fill": "black"}, ValueError, "fill must be one of 'constant', 'mean', 'noise', got 'black'"),
    ({"fill": 0}, ValueError, "fill must be one of .* got 0"),
    ({"fill": "noise", "value": 3}, ValueError, "value must be None with fill='noise', got 3"),
    ({"fill": "mean", "value": [1, "2", 3]}, TypeError, r"value\[1\] must be a number, got '2'"),
    ({"fill": "constant", "value": math.inf}, ValueError, "value must be finite, got inf"),
    ({"fill": "constant", "value": []}, ValueError, "value must be a number, or one for each channel"),
]


@cutters
@pytest.mark.parametrize(("arguments", "error", "message"), BAD, ids=str)
def test_mistakes_are_refused_when_the_mixer_is_made(build, arguments, error, message):
    with pytest.raises(error, match=message):
        build(**arguments)


@cutters
def test_a_colour_that_fits_no_image_is_refused_where_the_image_is_seen(build):
    for value, images, message in (
        ([1, 2], np.zeros((2, *SIZE, 3), np.uint8), "value must be one number or one for each of 3 channels, got 2"),
        (-0.5, np.zeros((2, *SIZE, 3), np.uint8), "value must be in 0..255 for uint8 images, got -0.5"),
        (None, np.zeros((2, *SIZE, 1), np.uint8), "3 of ImageNet: pass value="),
    ):
        plan = dtm.draw(build(fill="mean", value=value), 2, SIZE, seed=1)
        with pytest.raises(ValueError, match=message):
            dtm.apply(plan, images)


@cutters
def test_every_common_argument_changes_what_is_drawn(build):
    usual = [dtm.draw(build(), 8, SIZE, seed=s).rows().tobytes() for s in range(4)]
    for changed in ({"mode": "batch"}, {"mode": "pair"}, {"prob": 0.2}, {"fill": "noise"}):
        if build(**changed) == build():
            continue
        assert [dtm.draw(build(**changed), 8, SIZE, seed=s).rows().tobytes() for s in range(4)] != usual
