"""ResizeMix: how large and where its boxes are, what shows in them, and what the label makes of it."""

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
from dali_tokenmix.reference.bilinear import bilinear
from dali_tokenmix.regions import Resized
from tests.helpers import provenance

UNLIKELY = 1e-3  # what a p-value may fall to; the seeds are fixed
SIZE = (60, 91)


def boxes(mixer, count, size=SIZE, seed=0):
    """(count, 4) top, left, height, width of as many pairs."""
    return dtm.draw(mixer, 2 * count, size, seed=seed).regions[0].boxes[:count].astype(int)


def by_hand(rng, count, size=SIZE, scale=(0.1, 0.8)):
    """As the paper says it, a box at a time."""
    found = []
    for _ in range(count):
        factor = rng.uniform(*scale)
        height, width = (max(1, math.floor(factor * side)) for side in size)
        y, x = math.floor(rng.random() * size[0]), math.floor(rng.random() * size[1])
        found.append([y - height // 2, x - width // 2, height, width])
    return np.array(found)


def visible(found, size=SIZE):
    ends = np.minimum(found[:, :2] + found[:, 2:], size)
    return np.prod(ends - np.maximum(found[:, :2], 0), axis=1)


# --- what is drawn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [(0.1, 0.8), (0.4, 0.5), (0.02, 1.0)])
def test_boxes_are_those_of_the_paper(scale):
    ours, theirs = boxes(dtm.ResizeMix(scale), 6000), by_hand(np.random.default_rng(9), 6000, scale=scale)
    measures = [lambda b, k=k: b[:, k] for k in range(4)]
    for measure in (*measures, visible):
        assert stats.ks_2samp(measure(ours), measure(theirs)).pvalue > UNLIKELY


def test_scale_is_uniform_and_the_same_for_both_sides():
    size = (3000, 5000)
    height, width = boxes(dtm.ResizeMix(), 4000, size)[:, 2:].T
    assert stats.kstest((height / 3000 - 0.1) / 0.7, "uniform").pvalue > UNLIKELY
    assert np.abs(height / 3000 - width / 5000).max() < 1 / 3000
    assert (height.min() / 3000, height.max() / 3000) == pytest.approx((0.1, 0.8), abs=0.01)


def test_centres_are_uniform_over_the_pixels():
    found = boxes(dtm.ResizeMix(), 8000, (12, 7), seed=3)
    centres = found[:, :2] + found[:, 2:] // 2
    for axis, side in enumerate((12, 7)):
        assert stats.chisquare(np.bincount(centres[:, axis], minlength=side)).pvalue > UNLIKELY
    table = np.zeros((12, 7))
    np.add.at(table, tuple(centres.T), 1)
    assert stats.chi2_contingency(table).pvalue > UNLIKELY


def test_fixed_scale_and_one_pixel():
    assert (boxes(dtm.ResizeMix((0.5, 0.5)), 50)[:, 2:] == [30, 45]).all()
    found = boxes(dtm.ResizeMix((0.001, 0.001)), 50)
    assert (found[:, 2:] == 1).all()
    assert (visible(found) == 1).all()


def test_something_shows_of_every_box():
    for size in ((1, 1), (1, 9), (2, 3), SIZE):
        assert (visible(boxes(dtm.ResizeMix((0.01, 1.0)), 500, size), size) > 0).all()


@pytest.mark.parametrize("mode", ["pair", "batch", "elem"])
def test_mode_says_who_shares_a_box(mode):
    found = dtm.draw(dtm.ResizeMix(mode=mode), 6, SIZE, seed=3).regions[0].boxes
    expected = {"batch": [0] * 6, "pair": [0, 1, 2, 2, 1, 0], "elem": list(range(6))}[mode]
    same = (found[:, None] == found[None]).all(-1)
    np.testing.assert_array_equal(same, np.equal.outer(expected, expected))


@pytest.mark.parametrize("partner", ["flip", "random"])
def test_equal_seeds_draw_equal_plans_and_prob_leaves_some_alone(partner):
    one, again, other = (dtm.draw(dtm.ResizeMix(partner=partner), 9, SIZE, seed=seed) for seed in (7, 7, 8))
    assert one.rows().tobytes() == again.rows().tobytes() != other.rows().tobytes()
    plan = dtm.draw(dtm.ResizeMix(partner=partner, prob=0.3), 4000, SIZE, seed=1)
    mixed = plan.other > 0
    np.testing.assert_array_equal(mixed, plan.partner != np.arange(4000))
    assert stats.binomtest(int(mixed.sum()) // 2, 2000, 0.3).pvalue > UNLIKELY
    assert not (dtm.draw(dtm.ResizeMix(partner=partner, prob=0.0), 9, SIZE).other > 0).any()


# --- what shows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["pair", "batch", "elem"])
@pytest.mark.parametrize(("n", "size"), [(8, (13, 22)), (7, (22, 13)), (5, (1, 9)), (3, (9, 1)), (1, (4, 5))])
def test_the_part_of_the_small_partner_that_lies_there_shows(mode, n, size):
    images = np.random.default_rng(n).integers(0, 256, (n, *size, 3), np.uint8)
    for seed, prob in enumerate((1.0, 0.5, 0.0, 1.0)):
        plan = dtm.draw(dtm.ResizeMix(mode=mode, prob=prob), n, size, seed=seed)
        expected = images.copy()
        for i, (top, left, height, width) in enumerate(plan.regions[0].boxes):
            small = bilinear(images[plan.partner[i]], (height, width)) if height else None
            for y, x in np.ndindex(height, width):
                if 0 <= top + y < size[0] and 0 <= left + x < size[1]:
                    expected[i, top + y, left + x] = small[y, x]
        np.testing.assert_array_equal(reference.mixed(plan, images), expected)
        np.testing.assert_array_equal(dtm.apply(plan, images.copy(), layout="NHWC"), expected)
        assert prob or (expected == images).all()


@pytest.mark.parametrize("mode", ["pair", "batch", "elem"])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_weights_are_the_pixels_of_each_sample(mode, n):
    for seed in range(6):
        plan = dtm.draw(dtm.ResizeMix(mode=mode, prob=0.8), n, SIZE, seed=seed)
        shown = dtm.apply(plan, provenance(n, *SIZE))[..., 0]  # resized, a sample's number stays what it is
        np.testing.assert_array_equal(shown, plan.sources())
        targets = dtm.soft_targets(plan, np.arange(n), n, smoothing=0.0)
        counts = [np.bincount(image.ravel(), minlength=n) / image.size for image in shown]
        np.testing.assert_allclose(targets, counts, atol=1e-6)


def test_rows_stay_rows_and_columns_columns():
    """On an image of 20 x 200, a ramp down stays a ramp down, from top to bottom of the box."""
    ramps = np.stack(np.meshgrid(np.arange(20) * 10, np.arange(200), indexing="ij"), -1)[None].astype(np.float32)
    images = np.concatenate([np.zeros_like(ramps), ramps])
    plan = dtm.plan.Plan([1, 0], (Resized(np.array([[5, 20, 10, 100], [0] * 4], np.int32)),), (20, 200))
    box = dtm.apply(plan, images, layout="NHWC")[0, 5:15, 20:120]
    np.testing.assert_allclose(box[:, :, 0], np.tile(np.arange(10)[:, None] * 20 + 5, 100), atol=1e-4)
    np.testing.assert_allclose(box[:, :, 1], np.tile(np.arange(100) * 2 + 0.5, (10, 1)), atol=1e-4)


def test_choice_and_resizing_together():
    mixer = dtm.Choice([dtm.ResizeMix(), dtm.CutMix(), dtm.MixUp()], mode="pair")
    images = provenance(40, 30, 24)
    plan = dtm.draw(mixer, 40, (30, 24), seed=2)
    np.testing.assert_array_equal(dtm.apply(plan, images.copy()), reference.mixed(plan, images))
    assert all(region.pack().any() for region in plan.regions)


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scale": 0.5}, ValueError, r"scale must be two numbers \(least, most\), got 0.5"),
        ({"scale": (0.1, 0.2, 0.3)}, ValueError, "scale must be two numbers"),
        ({"scale": (0, 0.8)}, ValueError, r"scale\[0\] must be > 0 and <= 1, got 0"),
        ({"scale": (0.8, 0.1)}, ValueError, r"scale\[1\] must be >= 0.8 and <= 1, got 0.1"),
        ({"scale": (0.1, 1.5)}, ValueError, r"scale\[1\] must be .*, got 1.5"),
        ({"scale": (0.1, math.nan)}, ValueError, r"scale\[1\] must be finite"),
        ({"scale": ("a", 0.8)}, TypeError, r"scale\[0\] must be a number, got 'a'"),
        ({"mode": "all"}, ValueError, "mode must be one of"),
        ({"partner": "next"}, ValueError, "partner must be one of"),
        ({"prob": -0.1}, ValueError, "prob must be"),
    ],
)
def test_mistakes_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dtm.ResizeMix(**arguments)


# --- in the graph ----------------------------------------------------------------------------------------------------


def test_real_jpegs_through_token_mix(photo_folder):
    """The same pipeline with and without: in the box is the clean partner, made smaller."""
    mixed = photographs(photo_folder, dtm.ResizeMix(mode="elem"))
    clean = photographs(photo_folder, dtm.ResizeMix(prob=0.0))
    for (images, targets, plan), (before, *_) in zip(mixed, clean, strict=True):
        for i, mask in enumerate(plan["mask"]):
            np.testing.assert_array_equal(images[i][mask == 0], before[i][mask == 0])
            assert mask.mean() == pytest.approx(plan["other"][i], abs=1e-6)
        assert targets.sum(1) == pytest.approx(1, abs=1e-5)
        assert (images != before).any(axis=(1, 2, 3)).all()


def photographs(root, mixer, batches=2):
    pipeline = Pipeline(6, 2, None, seed=3)
    with pipeline:
        jpegs, labels = fn.readers.file(file_root=str(root), name="r")
        images = fn.resize(fn.decoders.image(jpegs), size=(48, 60))
        mixed, targets, plan = dtm.fn.token_mix(images, labels, num_classes=4, mixer=mixer, seed=1, return_plan=True)
        pipeline.set_outputs(mixed, targets, *plan.values())
    pipeline.build()
    for _ in range(batches):
        images, targets, *arrays = (output.as_array().copy() for output in pipeline.run())
        yield images, targets, dict(zip(plan, arrays, strict=True))


def test_a_loader_mixes_and_resumes(photo_folder):
    def loader(**options):
        return dtm.Loader(
            photo_folder, batch_size=8, image_size=(40, 56), mixer=dtm.ResizeMix(), device="cpu", **options
        )

    whole = [(images.clone(), targets.clone()) for images, targets in loader()]
    assert all(((targets > 0.03).sum(1) <= 2).all() for _, targets in whole)
    source = loader(num_threads=1)
    iterator = iter(source)
    next(iterator), next(iterator)
    resumed = loader(prefetch=3)
    resumed.load_state_dict(json.loads(json.dumps(source.state_dict())))
    rest = [(images.clone(), targets.clone()) for images, targets in resumed]
    assert len(rest) == len(whole) - 2
    for one, other in zip(whole[2:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("supervision", ["tokenmix", "tokenlabeling"])
@pytest.mark.parametrize("wrap", [lambda mixer: mixer, lambda mixer: dtm.Choice([dtm.CutMix(), mixer])])
def test_a_teachers_maps_do_not_move_with_resized_pixels(supervision, wrap, photo_folder):
    teacher = dtm.Teacher(features=lambda images: images, weight=torch.ones(4, 3), image_size=32)
    with pytest.raises(ValueError, match=f"supervision='{supervision}' looks up a map .* resizes them, got mixer="):
        dtm.Loader(
            photo_folder,
            batch_size=4,
            mixer=wrap(dtm.ResizeMix()),
            supervision=supervision,
            teacher=teacher,
            device="cpu",
        )
    with pytest.raises(ValueError, match="got ResizedShape"):
        dtm.scored(dtm.draw(wrap(dtm.ResizeMix()), 4, 32), np.ones((4, 2, 2), np.float32))
