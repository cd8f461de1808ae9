"""Loader: real JPEGs through the real pipeline."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import dali_tokenmix as dtm
from dali_tokenmix.dataset import scan
from tests.photos import write_folder

MIXER = dtm.TokenMix(patch_size=8)


def loader(root, **options):
    return dtm.Loader(root, **{"batch_size": 8, "image_size": 48, "mixer": MIXER, "device": "cpu", **options})


def epochs(source, count=1):
    return [(images.clone(), targets.clone()) for _ in range(count) for images, targets in source]


def equal(one, two):
    same = [torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, two, strict=True)]
    return len(same) > 0 and all(same)


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory):
    """13 photographs in classes of 2, 5 and 6."""
    return write_folder(tmp_path_factory.mktemp("odd"), {"chelsea": 2, "coffee": 5, "rocket": 6})


def test_batches_are_torch_tensors_of_the_promised_form(photo_folder):
    images, targets = next(iter(loader(photo_folder, image_size=(40, 56))))
    assert images.shape == (8, 3, 40, 56)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert targets.shape == (8, 4)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets.sum(1), torch.ones(8))


@pytest.mark.parametrize(
    ("dtype", "layout"), [("float16", "NCHW"), ("float32", "NHWC"), ("uint8", "NHWC"), ("uint8", "NCHW")]
)
def test_dtype_and_layout_change_nothing_else(photo_folder, dtype, layout):
    images, targets = next(iter(loader(photo_folder, dtype=dtype, layout=layout)))
    expected, same_targets = next(iter(loader(photo_folder)))
    assert images.dtype == getattr(torch, dtype)
    images = (images.permute(0, 3, 1, 2) if layout == "NHWC" else images).float()
    if dtype == "uint8":
        mean, std = (torch.tensor(values)[:, None, None] for values in (dtm.IMAGENET_MEAN, dtm.IMAGENET_STD))
        images = (images / 255 - mean) / std
    torch.testing.assert_close(images, expected, atol=2e-3, rtol=1e-3)
    assert torch.equal(targets, same_targets)


def test_mixing_happens_on_the_crops_as_the_plan_says(photo_folder):
    """Mixed and unmixed runs see the same crops, so every mixed pixel is found in one of the two clean images."""
    mixed, clean = (
        loader(photo_folder, dtype="uint8", layout="NHWC"),
        loader(photo_folder, dtype="uint8", layout="NHWC"),
    )
    clean.mixing = False
    for (images, targets), (own, hard) in zip(mixed, clean, strict=True):
        other = own.flip(0)
        token = lambda batch: batch.unfold(1, 8, 8).unfold(2, 8, 8).flatten(3)  # noqa: E731  (N, 6, 6, 3 * 64)
        from_own = (token(images) == token(own)).all(-1)
        from_other = (token(images) == token(other)).all(-1)
        assert (from_own | from_other).all()
        share = from_other.float().mean((1, 2))  # tokens that are equal in both count for both
        assert ((share >= 0.5) & (share < 0.9)).all()
        torch.testing.assert_close(targets, (hard + hard.flip(0)) / 2)


def test_targets_follow_the_labels_of_what_was_read(photo_folder):
    source = loader(photo_folder, mixer=None, smoothing=0.0)
    data = scan(photo_folder)
    for _, targets in source:
        assert targets.argmax(1).tolist() == data.labels[source.indices].tolist()
        assert [source.files[k].split("/")[0] for k in source.indices] == [source.classes[c] for c in targets.argmax(1)]


def test_every_epoch_has_every_sample_once_in_a_new_order(photo_folder):
    source = loader(photo_folder)
    orders = [np.concatenate([source.indices for _ in source]) for _ in range(3)]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert not any(np.array_equal(a, b) for a, b in zip(orders, [*orders[1:], np.arange(40)], strict=True))


def test_threads_and_prefetch_change_no_bit(photo_folder):
    first = epochs(loader(photo_folder, num_threads=1, prefetch=1), 2)
    assert equal(first, epochs(loader(photo_folder, num_threads=4, prefetch=5), 2))
    assert not equal(first, epochs(loader(photo_folder, seed=1), 2))


@pytest.mark.parametrize("mixer", [MIXER, dtm.Choice([dtm.MixUp(), dtm.CutMix(mode="elem"), MIXER], mode="pair"), None])
@pytest.mark.parametrize("stop", [0, 1, 4, 5, 8])
def test_a_resumed_run_equals_the_uninterrupted_one(photo_folder, mixer, stop):
    whole = epochs(loader(photo_folder, mixer=mixer), 3)
    source = loader(photo_folder, mixer=mixer, num_threads=1)
    batches = (batch for _ in range(3) for batch in source)
    for _ in range(stop):
        next(batches)
    state = json.loads(json.dumps(source.state_dict()))
    resumed = loader(photo_folder, mixer=mixer, prefetch=3)
    resumed.load_state_dict(state)
    assert (resumed.epoch, resumed.batch) == divmod(stop, 5)
    rest = epochs(resumed, 3 - resumed.epoch)
    assert equal(whole[stop:], rest)


def test_state_survives_torch_save(photo_folder, tmp_path):
    source = loader(photo_folder)
    next(iter(source))
    torch.save(source.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == source.state_dict()


def test_augment_resumes_too(photo_folder):
    from nvidia.dali import fn

    def augment(images):
        return fn.cast_like(fn.brightness_contrast(images, brightness=fn.random.uniform(range=[0.5, 1.5])), images)

    whole = epochs(loader(photo_folder, augment=augment))
    assert not equal(whole, epochs(loader(photo_folder)))
    source = loader(photo_folder, augment=augment)
    next(iter(source))
    resumed = loader(photo_folder, augment=augment)
    resumed.load_state_dict(source.state_dict())
    assert equal(whole[1:], epochs(resumed))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 4}, "batch_size"),
        ({"seed": 3}, "seed"),
        ({"mixer": dtm.MixUp()}, "mixer"),
        ({"num_shards": 2}, "num_shards"),
        ({"image_size": 32}, "image_size"),
        ({"last_batch": "fill"}, "last_batch"),
        ({"num_classes": 5}, "num_classes"),
    ],
)
def test_the_state_of_another_run_is_refused(photo_folder, change, named):
    with pytest.raises(ValueError, match=f"state is of a run with {named}="):
        loader(photo_folder, **change).load_state_dict(loader(photo_folder).state_dict())


def test_the_state_of_other_files_is_refused(photo_folder, odd_folder):
    with pytest.raises(ValueError, match=r"state is of a run with (files|num_classes)="):
        loader(photo_folder).load_state_dict(loader(odd_folder).state_dict())
    with pytest.raises(ValueError, match=r"state must be of Loader.state_dict\(\), version 2, got \{\}"):
        loader(photo_folder).load_state_dict({})


def test_mixing_stops_and_starts_with_the_next_batch(photo_folder):
    plain, mixed = epochs(loader(photo_folder, mixer=None), 2), epochs(loader(photo_folder), 2)
    source = loader(photo_folder, prefetch=3)
    seen = []
    for number, batch in enumerate(batch for _ in range(2) for batch in source):
        seen.append(batch)
        if number in (1, 6):
            source.mixing = not source.mixing
    assert equal(seen[:2], mixed[:2])
    assert equal(seen[2:7], plain[2:7])
    assert equal(seen[7:], mixed[7:])


def test_the_switch_is_part_of_the_state(photo_folder):
    source = loader(photo_folder)
    source.mixing = False
    next(iter(source))
    resumed = loader(photo_folder)
    resumed.load_state_dict(source.state_dict())
    assert not resumed.mixing
    assert equal(epochs(resumed), epochs(loader(photo_folder, mixer=None))[1:])


@pytest.mark.parametrize("samples", [7, 8, 9, 16, 17])
@pytest.mark.parametrize("num_shards", [1, 2, 3])
@pytest.mark.parametrize("last_batch", ["drop", "partial", "fill"])
def test_len_is_what_is_yielded(tmp_path, samples, num_shards, last_batch):
    root = write_folder(tmp_path, {"coffee": samples - 2, "rocket": 2})
    counts, lengths = np.zeros((3, samples), int), []
    for shard_id in range(num_shards):
        options = {"batch_size": 4, "image_size": 16, "num_shards": num_shards, "shard_id": shard_id}
        if last_batch == "drop" and samples // num_shards < 4:
            with pytest.raises(ValueError, match="batch_size must be at most a shard's"):
                loader(root, last_batch=last_batch, **options)
            return
        source = loader(root, last_batch=last_batch, **options)
        lengths.append(len(source))
        for epoch in range(3):
            sizes = []
            for images, targets in source:
                assert len(images) == len(targets) == len(source.indices)
                sizes.append(len(images))
                np.add.at(counts[epoch], source.indices, 1)
            assert len(sizes) == len(source)
            assert set(sizes[:-1]) <= {4}
            assert last_batch == "partial" or sizes[-1] == 4
    if last_batch == "partial":
        assert (counts == 1).all()
    elif last_batch == "fill":
        assert (counts >= 1).all()
        assert len(set(lengths)) == 1
    else:
        assert (counts <= 1).all()
        assert len(set(lengths)) == 1


def test_shards_draw_different_masks(photo_folder):
    shards = [loader(photo_folder, num_shards=2, shard_id=k, mixer=dtm.CutMix()) for k in range(2)]
    one, two = (torch.cat([targets.max(1).values for _, targets in shard]) for shard in shards)
    assert not torch.equal(one, two)


@pytest.mark.parametrize("partner", ["flip", "random"])
def test_padding_is_nobodys_partner(odd_folder, partner):
    """13 samples in batches of 8: the last has 5 and three copies of its last. With labels kept apart by weight 1/2,
    the last batch's partners can be told from its targets: the clean labels of its own five samples, in pairs."""
    mixer = dtm.TokenMix(patch_size=8, partner=partner)
    source = loader(odd_folder, mixer=mixer, last_batch="partial", smoothing=0.0, dtype="uint8", layout="NHWC")
    clean = loader(odd_folder, mixer=mixer, last_batch="partial", smoothing=0.0, dtype="uint8", layout="NHWC")
    clean.mixing = False
    for _ in range(4):
        *_, (images, targets) = list(source)
        *_, (own, hard) = list(clean)
        assert len(images) == 5
        untouched = [n for n in range(5) if torch.equal(images[n], own[n])]
        assert len(untouched) == 1  # five samples make two pairs
        if partner == "flip":
            torch.testing.assert_close(targets, (hard + hard.flip(0)) / 2)
        for n in set(range(5)) - set(untouched):
            token = lambda image: image.unfold(0, 8, 8).unfold(1, 8, 8).flatten(2)  # noqa: E731
            same = [(token(images[n]) == token(own[m])).all(-1) for m in range(5)]
            assert any((same[n] | same[m]).all() for m in range(5) if m != n)


def test_leaving_a_loop_early_begins_the_next_epoch(photo_folder):
    source = loader(photo_folder)
    first = next(iter(source))[0].clone()
    again = [source.indices for _ in source]
    assert len(again) == 5
    assert source.epoch == 2
    assert sorted(np.concatenate(again)) == list(range(40))
    repeated = loader(photo_folder)
    assert torch.equal(first, next(iter(repeated))[0])
    assert [k.tolist() for k in again] == [repeated.indices.tolist() for _ in repeated]


def test_a_second_loop_ends_the_first(photo_folder):
    source = loader(photo_folder)
    one = iter(source)
    next(one)
    next(iter(source))
    with pytest.raises(RuntimeError, match="another loop over this loader has begun"):
        next(one)


def test_held_batches_stay_as_they_were(photo_folder):
    source = loader(photo_folder)
    held = [batch for _ in range(2) for batch in source]
    assert equal(held, epochs(loader(photo_folder), 2))


def test_class_ids_beyond_the_folders_are_columns_of_smoothing(photo_folder):
    _, targets = next(iter(loader(photo_folder, num_classes=1000)))
    assert targets.shape == (8, 1000)
    torch.testing.assert_close(targets[:, 4:], torch.full((8, 996), 0.1 / 1000))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_classes": 3}, ValueError, "num_classes must be at least the 4 classes of .*, got 3"),
        ({"batch_size": 0}, ValueError, "batch_size must be in 1"),
        ({"batch_size": 41}, ValueError, "batch_size must be at most a shard's 40 samples"),
        ({"batch_size": 8.0}, TypeError, "batch_size must be a whole number, got 8.0"),
        ({"image_size": (1, 2, 3)}, ValueError, r"image_size must be one number or \(height, width\)"),
        ({"image_size": 0}, ValueError, "image_size must be in 1"),
        ({"image_size": 8}, ValueError, "must leave tokens on both sides, got 0 of the 1 x 1 grid"),
        ({"mixer": "tokenmix"}, TypeError, "mixer must be a mixer such as TokenMix"),
        ({"train": False}, ValueError, "mixer must be None with train=False"),
        ({"smoothing": -0.1}, ValueError, "smoothing must be >= 0 and <= 1, got -0.1"),
        ({"device": "cuda"}, ValueError, "device must be one of None, 'cpu', 'gpu', got 'cuda'"),
        ({"last_batch": "keep"}, ValueError, "last_batch must be one of 'drop', 'partial', 'fill', got 'keep'"),
        ({"dtype": "float64"}, ValueError, "dtype must be one of"),
        ({"layout": "HWC"}, ValueError, "layout must be one of"),
        ({"shard_id": 1}, ValueError, r"shard_id must be in 0\.\.0, got 1"),
        ({"num_threads": 0}, ValueError, "num_threads must be in 1"),
        ({"mean": (0.5,)}, ValueError, "mean must be 3 numbers"),
        ({"std": (1.0, 0.0, 1.0)}, ValueError, "std must be > 0, got 0.0"),
        ({"dtype": "uint8", "mean": (0.5, 0.5, 0.5)}, ValueError, "mean and std must be None"),
        ({"augment": 3}, TypeError, "augment must be a function"),
        ({"seed": -1}, ValueError, "seed must be in 0"),
        ({"on_error": "ignore"}, ValueError, "on_error must be one of"),
    ],
)
def test_mistakes_are_refused_by_name(photo_folder, options, error, message):
    with pytest.raises(error, match=message):
        loader(photo_folder, **options)


def test_an_augment_of_another_size_is_refused(photo_folder):
    from nvidia.dali import fn

    with pytest.raises(RuntimeError, match=r"augment must return images of shape \(48, 48, 3\), got \(24, 24, 3\)"):
        next(iter(loader(photo_folder, augment=lambda images: fn.resize(images, size=(24, 24)))))


def test_gpu_without_a_driver_is_one_clear_line(photo_folder):
    from dali_tokenmix import devices

    if devices.gpu_problem() is None:
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match=r"^device='gpu': no NVIDIA driver.*; or use device='cpu'$"):
        loader(photo_folder, device="gpu")
    assert dtm.Loader(photo_folder, batch_size=8, image_size=32).device == "cpu"


@pytest.mark.parametrize("suite", ["rand_augment", "trivial_augment_wide", "auto_augment"])
def test_dalis_auto_aug_fits_in(photo_folder, suite):
    from nvidia.dali.auto_aug import auto_augment, rand_augment, trivial_augment

    chosen = {
        "rand_augment": lambda images: rand_augment.rand_augment(images, n=2, m=9),
        "trivial_augment_wide": trivial_augment.trivial_augment_wide,
        "auto_augment": auto_augment.auto_augment,
    }[suite]
    whole = epochs(loader(photo_folder, augment=chosen))
    assert not equal(whole, epochs(loader(photo_folder)))
    source = loader(photo_folder, augment=chosen)
    next(iter(source))
    resumed = loader(photo_folder, augment=chosen)
    resumed.load_state_dict(source.state_dict())
    assert equal(whole[1:], epochs(resumed))


def test_an_augment_must_return_uint8_images(photo_folder):
    from nvidia.dali import fn, types

    for mixer in (None, MIXER):
        source = loader(photo_folder, mixer=mixer, augment=lambda images: fn.cast(images, dtype=types.FLOAT))
        with pytest.raises(RuntimeError, match="augment must return uint8 images, got float32"):
            next(iter(source))
    with pytest.raises(TypeError, match="augment must return one DALI node, got NoneType"):
        next(iter(loader(photo_folder, augment=lambda images: None)))


@pytest.mark.parametrize("after", [0, 2, 5, 7])
def test_closing_changes_nothing(photo_folder, after):
    whole = epochs(loader(photo_folder), 2)
    source = loader(photo_folder)
    seen = []
    for number, batch in enumerate(batch for _ in range(2) for batch in source):
        seen.append(batch)
        if number + 1 == after:
            source.close()
            assert source.state_dict()["pipeline"] is not None
    assert equal(seen, whole)


def test_after_an_error_the_next_loop_is_a_new_epoch(photo_folder):
    """Not a second helping of the first."""
    whole = epochs(loader(photo_folder), 2)
    fail = {"now": False}

    def teacher(images, labels):
        if fail["now"]:
            raise ArithmeticError("once")
        return images.float().mean((1, 2, 3))[:, None, None]

    source = loader(photo_folder, supervision="tokenmix", teacher=teacher)
    first = [images.clone() for images, _ in source]
    assert all(torch.equal(a, b[0]) for a, b in zip(first, whole[:5], strict=True))
    fail["now"] = True
    with pytest.raises(RuntimeError, match="once"):
        epochs(source, 2)
    fail["now"] = False
    again = [(images.clone(), source.indices) for images, _ in source]
    assert source.epoch >= 2
    assert sorted(np.concatenate([index for _, index in again])) == list(range(40))
    assert not torch.equal(again[0][0], first[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 99}, r"state\['batch'\] must be in 0..4, got 99"),
        ({"epoch": -1}, r"state\['epoch'\] must be in 0"),
        ({"run": None}, "state is of a run with batch_size=None|state must"),
        ({"pipeline": "abc"}, r"state\['pipeline'\] must be the text that Loader.state_dict\(\) has there, got 'abc'"),
    ],
)
def test_a_malformed_state_is_refused(photo_folder, change, message):
    source = loader(photo_folder)
    state = {**source.state_dict(), **change}
    if change.get("run", 0) is None:
        state["run"] = {}
    with pytest.raises(ValueError, match=message):
        source.load_state_dict(state)
    with pytest.raises(ValueError, match="state must have batch, epoch"):
        source.load_state_dict({"version": 2})


def test_more_shards_than_images_are_refused(photo_folder):
    for last_batch in ("drop", "partial", "fill"):
        with pytest.raises(ValueError, match=r"num_shards must be at most the 40 images of .*, got 41"):
            loader(photo_folder, num_shards=41, last_batch=last_batch)


def test_a_fork_is_told_to_make_its_own(photo_folder):
    import multiprocessing

    source = loader(photo_folder)
    next(iter(source))

    def child(answers):
        try:
            next(iter(source))
        except RuntimeError as error:
            answers.put(str(error))

    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=child, args=(answers,))
    process.start()
    process.join(20)
    alive = process.is_alive()
    process.kill()
    assert not alive
    assert "close() it before the fork, or start the child with" in answers.get()


def test_a_mixer_whose_plans_are_not_what_it_tells_is_refused(photo_folder):
    class Liar:
        partner = "flip"

        def shapes(self, image_size):
            return dtm.TokenMix(patch_size=4).shapes(image_size)

        def draw(self, rng, batch):
            return MIXER.draw(rng, batch)

    with pytest.raises(RuntimeError, match="mixer must draw plans of the layout that its shapes"):
        next(iter(loader(photo_folder, mixer=Liar())))
