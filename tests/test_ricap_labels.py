"""RICAP's four-part labels: by area, by the teacher's maps inside each crop, and by ReLabel; in every door."""

from __future__ import annotations

import numpy as np
import nvidia.dali.experimental.dynamic as ndd
import pytest
import torch
from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline

import dali_tokenmix as dtm
from dali_tokenmix import reference
from tests.helpers import provenance, random_plan
from tests.test_relabel import label_maps

SIZE, CLASSES = (48, 36), 9
MIXERS = {
    "pair": dtm.RICAP(1.0),
    "elem": dtm.RICAP(1.0, mode="elem", partner="random", prob=0.7),
    "choice": dtm.Choice([dtm.CutMix(), dtm.RICAP(1.0), dtm.MixUp()], mode="pair"),
}


def scored_by_pixels(plan, maps):
    """(N, 4): own, other and further weights of a plan of crops by their definition.

    Every pixel is cut into as many pieces as the map has cells along it, so that each piece lies in one cell.
    """
    (region,) = plan.regions
    height, width = plan.image_size
    rows, columns = maps.shape[1:]
    weights = np.zeros((len(plan), 4))
    for i in range(len(plan)):
        below, right = region.lower_right[i]
        if not below and not right:
            weights[i, 0] = 1
            continue
        y, x = height - below, width - right
        for k, sample in enumerate((i, plan.partner[i], *plan.further[i])):
            part = maps[sample].astype(float) if maps[sample].any() else np.ones((rows, columns))
            fine = np.kron(part / part.sum(), np.ones((height, width))) / (height * width)
            top, left = region.crops[i, k]
            h, w = ((y, x), (y, right), (below, x), (below, right))[k]
            weights[i, k] = fine[top * rows : (top + h) * rows, left * columns : (left + w) * columns].sum()
    return weights


def weights_of(plan):
    return np.column_stack([plan.own, plan.other, plan.further_weights])


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize("grid", [(3, 3), (7, 5), (1, 1), (48, 36)])
def test_scores_are_the_shares_of_the_maps_inside_the_crops(grid, n):
    rng = np.random.default_rng(0)
    for seed in range(3):
        plan = random_plan("quarters", np.random.default_rng(seed), n, SIZE)
        maps = rng.random((n, *grid)).astype(np.float32) ** 4
        maps[0] *= seed % 2  # an all-zero map counts as uniform
        scored = dtm.scored(plan, maps)
        np.testing.assert_allclose(weights_of(scored), scored_by_pixels(plan, maps), atol=1e-6)
        np.testing.assert_array_equal(scored.regions[0].pack(), plan.regions[0].pack())


def test_uniform_maps_weigh_by_area():
    plan = dtm.draw(dtm.RICAP(mode="elem"), 9, SIZE, seed=1)
    np.testing.assert_allclose(weights_of(dtm.scored(plan, np.ones((9, 7, 7)))), weights_of(plan), atol=1e-6)


def test_an_object_weighs_where_it_shows_and_nowhere_else():
    """All of the object of sample 2 lies in the one cell that the crop of it shows to sample 0."""
    maps = np.ones((4, 4, 4), np.float32)
    maps[2] = 0
    maps[2, 3, 3] = 5
    lower_right, crops = np.tile(np.int32([12, 27]), (4, 1)), np.zeros((4, 4, 2), np.int32)
    crops[0, 2] = 36, 27  # 12 x 9 pixels, a cell
    region = dtm.regions.Quarters(lower_right, crops)
    plan = dtm.Plan([1, 0, 3, 2], (region,), SIZE, further=[[2, 3], [3, 2], [0, 1], [1, 0]])
    scored = dtm.scored(plan, maps)
    assert scored.further_weights[0, 0] == 1
    assert scored.further_weights[1, 1] == 0
    assert plan.further_weights[0, 0] == 1 / 16


def test_official_scores_add_to_the_sums():
    plan = dtm.draw(dtm.RICAP(1.0), 8, SIZE, seed=2)
    maps = np.full((8, 3, 3), 1e-9, np.float32)
    expected = scored_by_pixels(plan, maps) * 9e-9 / (9e-9 + 1e-8)
    np.testing.assert_allclose(weights_of(dtm.scored(plan, maps, compat="official")), expected, rtol=1e-4)


def test_a_choice_scores_each_sample_by_what_was_drawn_for_it():
    maps = np.random.default_rng(3).random((64, 6, 6)).astype(np.float32)
    plan = dtm.draw(MIXERS["choice"], 64, SIZE, seed=4)
    scored = dtm.scored(plan, maps)
    patched = plan.regions[1].lower_right.any(1)
    alone = dtm.Plan(plan.partner, plan.regions[1:2], SIZE, further=plan.further)
    np.testing.assert_allclose(weights_of(scored)[patched], scored_by_pixels(alone, maps)[patched], atol=1e-6)
    two = dtm.Plan(plan.partner, (plan.regions[0], plan.regions[2]), SIZE)
    by_two = dtm.scored(two, maps)
    np.testing.assert_array_equal(scored.own[~patched], by_two.own[~patched])
    np.testing.assert_array_equal(scored.other[~patched], by_two.other[~patched])
    assert 10 < patched.sum() < 54


@pytest.mark.parametrize("name", MIXERS)
def test_soft_labels_are_mixed_in_four_parts(name):
    """Rows of labels: every sample's, times its weight."""
    plan = dtm.draw(MIXERS[name], 11, SIZE, seed=5)
    labels = np.random.default_rng(1).random((11, CLASSES)).astype(np.float32)
    shown = np.column_stack([np.arange(11), plan.partner, plan.further])
    expected = 0.9 * (weights_of(plan)[..., None] * labels[shown]).sum(1) + 0.1 / CLASSES
    np.testing.assert_allclose(dtm.soft_targets(plan, labels, CLASSES, 0.1), expected, atol=1e-6)


def test_four_samples_of_one_class_add_up():
    plan = dtm.draw(dtm.RICAP(), 4, SIZE, seed=5)
    targets = dtm.soft_targets(plan, np.full(4, 3), CLASSES, smoothing=0.0)
    np.testing.assert_allclose(targets, np.eye(CLASSES)[[3] * 4], atol=1e-6)


@pytest.mark.parametrize("loss", [dtm.losses.soft_target_cross_entropy, dtm.losses.soft_target_bce])
def test_losses_are_linear_in_the_four_parts(loss):
    plan = dtm.draw(dtm.RICAP(1.0), 8, SIZE, seed=6)
    targets, logits = torch.from_numpy(dtm.soft_targets(plan, np.arange(8), 8, 0.0)), torch.randn(8, 8)
    shown = np.column_stack([np.arange(8), plan.partner, plan.further])
    parts = [
        sum(
            weight * loss(logits[i : i + 1], torch.eye(8)[[sample]])
            for weight, sample in zip(weights_of(plan)[i], shown[i], strict=True)
        )
        for i in range(8)
    ]
    torch.testing.assert_close(loss(logits, targets), torch.stack(parts).mean(), rtol=1e-4, atol=1e-5)


# --- in the graph ----------------------------------------------------------------------------------------------------


def fed(array):
    """What fn.external_source takes: a function without arguments."""
    return lambda: list(np.ascontiguousarray(array))


def pipeline_of(build, n, *arrays):
    """Outputs, as arrays, of a pipeline on external sources."""
    pipeline = Pipeline(n, 2, None, seed=2)
    with pipeline:
        nodes = [
            fn.external_source(fed(array), layout="HWC" if array.ndim == 4 and k == 0 else None)
            for k, array in enumerate(arrays)
        ]
        pipeline.set_outputs(*build(*nodes))
    pipeline.build()
    return [output.as_array() for output in pipeline.run()]


@pytest.mark.parametrize("name", MIXERS)
def test_token_mix_scores_by_maps(name):
    n, mixer = 8, MIXERS[name]
    maps = np.random.default_rng(0).random((n, 3, 3)).astype(np.float32)
    options = {"num_classes": n, "mixer": mixer, "smoothing": 0.0, "return_plan": True, "seed": 3}

    def build(images, labels, cells):
        _, targets, plan = dtm.fn.token_mix(images, labels, supervision="tokenmix", label_maps=cells, **options)
        names = ("own", "other", "further_weights", "partner", "further")
        return targets, *(plan[name] for name in names), dtm.fn.token_mix(images, labels, **options)[1]

    found = pipeline_of(build, n, provenance(n, *SIZE), np.arange(n, dtype=np.int32), maps)
    targets, own, other, further_weights, partner, further, by_area = found
    expected = np.zeros((n, n))
    for i in range(n):
        for sample, weight in ((i, own[i]), (partner[i], other[i]), *zip(further[i], further_weights[i], strict=True)):
            expected[i, sample] += weight
    np.testing.assert_allclose(targets, expected, atol=1e-6)
    assert not np.allclose(targets, by_area, atol=1e-3)


def test_relabel_mixes_what_a_teacher_sees_by_area():
    n, k = 8, 3
    ids, scores = label_maps(np.random.default_rng(0), n, k, 5, 4, CLASSES)

    def build(images, labels, ids, scores):
        _, targets, plan = dtm.fn.token_mix(
            images,
            labels,
            num_classes=CLASSES,
            mixer=MIXERS["pair"],
            smoothing=0.0,
            supervision="relabel",
            label_maps=dtm.fn.TopLabels(ids, scores),
            return_plan=True,
        )
        return targets, *(plan[name] for name in ("own", "other", "further_weights", "partner", "further"))

    found = pipeline_of(build, n, provenance(n, *SIZE), np.zeros(n, np.int32), ids, scores.astype(np.float16))
    targets, own, other, further_weights, partner, further = found
    powers = np.exp(reference.dense_maps(ids, scores, CLASSES).mean((2, 3)))
    soft = powers / powers.sum(1, keepdims=True)
    shown = np.column_stack([np.arange(n), partner, further])
    weights = np.column_stack([own, other, further_weights])
    np.testing.assert_allclose(targets, (weights[..., None] * soft[shown]).sum(1), atol=1e-5)


class Brightness:
    """A teacher of sorts: the map is the mean of each cell, whatever the class."""

    def __call__(self, images, labels):
        return torch.nn.functional.adaptive_avg_pool2d(images.float().mean(-1)[:, None], 4)[:, 0]


def test_a_loader_scores_by_a_teacher(photo_folder):
    options = {"batch_size": 8, "image_size": 64, "mixer": dtm.RICAP(1.0), "smoothing": 0.0, "device": "cpu"}
    scored = dtm.Loader(photo_folder, supervision="tokenmix", teacher=Brightness(), **options)
    for (images, targets), (same, by_area) in zip(scored, dtm.Loader(photo_folder, **options), strict=True):
        assert torch.equal(images, same)
        assert ((targets >= 0) & (targets <= 4)).all()
        assert (targets > 0).sum() == (by_area > 0).sum()
        assert not torch.allclose(targets, by_area, atol=1e-4)


@pytest.mark.parametrize("name", MIXERS)
def test_dynamic_mode(name):
    n, images = 8, provenance(8, *SIZE)
    batch = ndd.as_batch(list(images), layout="HWC")
    mixed, targets, plan = dtm.dynamic.token_mix(
        batch, np.arange(n), num_classes=n, mixer=MIXERS[name], smoothing=0.0, seed=5, return_plan=True
    )
    expected = dtm.draw(MIXERS[name], n, SIZE, seed=5)
    assert plan.rows().tobytes() == expected.rows().tobytes()
    np.testing.assert_array_equal(np.asarray(ndd.as_tensor(mixed)), dtm.apply(plan, images.copy()))
    np.testing.assert_array_equal(np.asarray(ndd.as_tensor(targets)), dtm.soft_targets(plan, np.arange(n), n, 0.0))


# --- labels of tokens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", [dtm.RICAP(), dtm.Choice([dtm.CutMix(), dtm.RICAP()])], ids=["RICAP", "Choice"])
def test_labels_of_tokens_are_refused(mixer, photo_folder):
    message = "supervision='tokenlabeling' labels tokens that two samples share at most, and this mixer mixes 4"
    ids, scores = label_maps(np.random.default_rng(0), 4, 2, 3, 3, CLASSES)
    teacher = dtm.Teacher(features=lambda images: images, weight=torch.ones(4, 3), image_size=32)
    options = {"mixer": mixer, "supervision": "tokenlabeling"}
    with pytest.raises(ValueError, match=message):
        dtm.Loader(photo_folder, batch_size=4, teacher=teacher, device="cpu", **options)
    batch = ndd.as_batch(list(provenance(4, *SIZE)), layout="HWC")
    with pytest.raises(ValueError, match=message):
        dtm.dynamic.token_mix(batch, np.arange(4), num_classes=4, label_maps=(ids, scores), **options)
    with Pipeline(4, 1, None):
        images, labels = fn.external_source(lambda: [], layout="HWC"), fn.external_source(lambda: [])
        with pytest.raises(ValueError, match=message):
            dtm.fn.token_mix(images, labels, num_classes=4, teacher=teacher, **options)
    with pytest.raises(ValueError, match="plan must be of regions that mix two samples"):
        dtm.token_labels(dtm.draw(mixer, 4, SIZE), ids, scores, num_classes=CLASSES)
