"""Label weights from a teacher's maps inside a pipeline, online and stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

import dali_tokenmix as dtm
from tests.test_scoring import torchvision_crop


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
