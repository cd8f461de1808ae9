"""dynamic.token_mix, in DALI's dynamic mode."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import nvidia.dali.experimental.dynamic as ndd
import pytest
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

import dali_tokenmix as dtm
from tests.helpers import provenance

ROOT = Path(__file__).parent.parent
MIXERS = {
    "tokens": dtm.TokenMix(patch_size=8),
    "cutmix": dtm.CutMix(mode="elem"),
    "mixup": dtm.MixUp(partner="random"),
    "choice": dtm.Choice([dtm.MixUp(), dtm.TokenMix(patch_size=7)], mode="pair"),
}
LABELS = np.array([3, 1, 0, 2, 1], np.int32)
GOOD = provenance(5, 40, 56)


def mix(images, labels=LABELS, *, layout="HWC", **options):
    """token_mix of an array, as a Batch."""
    batch = ndd.as_batch(images, layout=layout)
    return dtm.dynamic.token_mix(batch, labels, **{"num_classes": 4, "mixer": MIXERS["tokens"], **options})


def array(batch):
    return batch.torch(copy=False).numpy()


def address(batch):
    return batch.torch(copy=False).data_ptr()


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("name", MIXERS)
def test_a_seed_gives_what_draw_apply_and_soft_targets_give(name, dtype, layout):
    images = provenance(5, 40, 56, dtype=dtype)
    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if layout == "CHW" else images
    seed = 2**63 + 5
    mixed, targets, plan = mix(images, layout=layout, mixer=MIXERS[name], seed=seed, return_plan=True, smoothing=0.2)

    expected = dtm.draw(MIXERS[name], 5, (40, 56), seed)
    np.testing.assert_array_equal(array(mixed), dtm.apply(expected, images.copy()))
    np.testing.assert_array_equal(array(targets), dtm.soft_targets(expected, LABELS, 4, smoothing=0.2))
    np.testing.assert_array_equal(plan.packed, expected.packed)
    assert mixed.layout == layout
    assert (mixed.device.device_type, targets.device.device_type) == ("cpu", "cpu")
    assert plan.other.any()


@pytest.mark.parametrize("name", MIXERS)
def test_it_is_what_fn_token_mix_does_with_the_same_words(name):
    images = provenance(5, 40, 56)
    pipeline = Pipeline(5, 1, None)
    with pipeline:
        clean = fn.external_source(lambda: list(images), layout="HWC")
        ids = fn.external_source(lambda: list(LABELS))
        words = fn.random.uniform(range=[0, 65536], shape=[4], dtype=types.INT32, seed=11)
        pipeline.set_outputs(*dtm.fn.token_mix(clean, ids, num_classes=4, mixer=MIXERS[name], seed=11), words)
    pipeline.build()
    for _ in range(3):
        mixed, targets, words = (output.as_array() for output in pipeline.run())
        seed = sum(int(word) << 16 * k for k, word in enumerate(words[0]))
        own_mixed, own_targets = mix(images, mixer=MIXERS[name], seed=seed)
        np.testing.assert_array_equal(array(own_mixed), mixed)
        np.testing.assert_array_equal(array(own_targets), targets)


def test_by_default_the_batch_that_went_in_stays_as_it_is():
    images = provenance(5, 40, 56)
    batch = ndd.as_batch(images, layout="HWC")
    mixed, _ = dtm.dynamic.token_mix(batch, LABELS, num_classes=4, mixer=MIXERS["tokens"])
    assert address(batch) == images.ctypes.data != address(mixed)
    np.testing.assert_array_equal(images, provenance(5, 40, 56))
    assert not np.array_equal(array(mixed), images)


def test_in_place_is_the_same_memory_all_the_way():
    images = provenance(5, 40, 56)
    mixed, _, plan = mix(images, inplace=True, return_plan=True)
    assert address(mixed) == images.ctypes.data
    np.testing.assert_array_equal(images, dtm.apply(plan, provenance(5, 40, 56)))

    batch = ndd.flip(ndd.as_batch(images, layout="HWC"), horizontal=1)  # memory of DALI's own
    mixed, _ = dtm.dynamic.token_mix(batch, LABELS, num_classes=4, mixer=MIXERS["tokens"], inplace=True)
    assert address(mixed) == address(batch)


def test_results_live_on_when_what_they_came_from_is_gone():
    held = []
    for seed in range(20):
        batch = ndd.flip(ndd.as_batch(provenance(5, 40, 56), layout="HWC"), horizontal=0)
        held.append(
            dtm.dynamic.token_mix(batch, LABELS, num_classes=4, mixer=MIXERS["tokens"], seed=seed, inplace=True)
        )
        del batch
    gc.collect()
    for seed, (mixed, targets) in enumerate(held):
        plan = dtm.draw(MIXERS["tokens"], 5, (40, 56), seed)
        np.testing.assert_array_equal(array(mixed), dtm.apply(plan, provenance(5, 40, 56)))
        np.testing.assert_array_equal(array(targets), dtm.soft_targets(plan, LABELS, 4))


def test_generators_go_on_from_call_to_call_and_repeat_from_their_seed():
    images = provenance(5, 40, 56)

    def run(**options):
        return [array(mix(images, **options)[0]) for _ in range(3)]

    first = run(rng=ndd.random.RNG(seed=7))
    again = run(rng=ndd.random.RNG(seed=7))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, run(rng=ndd.random.RNG(seed=8)))
    assert not np.array_equal(run(), run())
    ndd.random.set_seed(7)
    np.testing.assert_array_equal(first, run())
    words = ndd.random.RNG(seed=7)
    low, high = words(), words()
    np.testing.assert_array_equal(first[0], array(mix(images, seed=low + (high << 32))[0]))


def test_a_generator_resumes_from_its_state():
    rng = ndd.random.RNG(seed=7)
    mix(GOOD, rng=rng)
    state = str(rng.state)
    expected = array(mix(GOOD, rng=rng)[0])
    np.testing.assert_array_equal(array(mix(GOOD, rng=ndd.random.RNG(state=state))[0]), expected)


MODES = [ndd.EvalMode.deferred, ndd.EvalMode.eager, ndd.EvalMode.sync_cpu, ndd.EvalMode.sync_full]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("inplace", [False, True])
def test_who_sees_mixed_pixels(inplace, mode):
    """Whatever was called before sees clean ones, unless it is only promised yet; what is called after, depends."""
    clean = provenance(6, 64, 64)
    for _ in range(10):
        with mode:
            source = ndd.copy(ndd.flip(ndd.as_batch(clean, layout="HWC"), horizontal=0))
            before = ndd.flip(source, horizontal=0)
            mixed, _ = dtm.dynamic.token_mix(
                source, np.zeros(6, int), num_classes=1, mixer=MIXERS["tokens"], inplace=inplace
            )
            after, of_mixed = ndd.flip(source, horizontal=0), ndd.flip(mixed, horizontal=0)
            np.testing.assert_array_equal(array(of_mixed), array(mixed))
            assert not np.array_equal(array(mixed), clean)
            assert np.array_equal(array(after), clean) == (not inplace)
            assert np.array_equal(array(before), clean) == (not inplace or mode is not ndd.EvalMode.deferred)


def captured_loop(root, capture, inplace, use_returned=True):
    """Two epochs of what training sees, what was made of clean images, and what type of Batch that was."""
    ndd.random.set_seed(5)
    reader = ndd.readers.File(file_root=str(root), random_shuffle=True, seed=3)
    for _ in range(2):
        for jpegs, labels in reader.next_epoch(batch_size=8, capture=capture):
            images = ndd.decoders.image_random_crop(jpegs)
            images = ndd.resize(images, size=[64, 64])
            clean = ndd.flip(images, horizontal=1)
            options = {"num_classes": 4, "mixer": dtm.TokenMix(), "inplace": inplace}
            mixed, targets = dtm.dynamic.token_mix(images, labels, **options)
            other, _ = dtm.dynamic.token_mix(clean, labels, **options)  # a second view of the batch
            normal = ndd.crop_mirror_normalize(mixed if use_returned else images, dtype=ndd.float32, std=[255.0])
            results = [normal, targets, other, mixed]
            yield [array(result).copy() for result in results], type(clean).__name__


@pytest.mark.parametrize(("inplace", "use_returned"), [(False, True), (True, True), (True, False)])
def test_a_captured_loop_gives_what_an_eager_one_gives(photo_folder, inplace, use_returned):
    eager = list(captured_loop(photo_folder, False, inplace, use_returned))
    captured = list(captured_loop(photo_folder, True, inplace, use_returned))
    assert len(eager) == len(captured) == 10
    for (expected, _), (given, _) in zip(eager, captured, strict=True):
        for one, two in zip(expected, given, strict=True):
            np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(given[0] * 255, given[3].transpose(0, 3, 1, 2), rtol=1e-5)
    assert {kind for _, kind in captured[1:]} == ({"Batch"} if inplace else {"CapturedBatch"})
    assert not np.array_equal(eager[0][0][0], eager[5][0][0])


@pytest.mark.parametrize("capture", [False, True])
def test_with_its_own_generator_it_may_be_left_out_now_and_then(photo_folder, capture):
    ndd.random.set_seed(5)
    rng, again = ndd.random.RNG(seed=7), ndd.random.RNG(seed=7)
    reader = ndd.readers.File(file_root=str(photo_folder))
    for number, (jpegs, labels) in enumerate(reader.next_epoch(batch_size=8, capture=capture)):
        images = ndd.resize(ndd.decoders.image_random_crop(jpegs), size=[64, 64])
        clean = array(images).copy()
        if number % 2 == 0:
            options = {"num_classes": 4, "mixer": dtm.TokenMix()}
            mixed, _ = dtm.dynamic.token_mix(images, labels, rng=rng, inplace=True, **options)
            expected, _ = mix(clean, array(labels), rng=again, **options)
            np.testing.assert_array_equal(array(mixed), array(expected))
        else:
            np.testing.assert_array_equal(array(images), clean)


def teacher():
    import torchvision

    torch.manual_seed(0)
    return dtm.Teacher(torchvision.models.resnet18(num_classes=4), image_size=64)


@pytest.fixture(scope="module")
def photographs(photo_folder):
    reader = ndd.readers.File(file_root=str(photo_folder), random_shuffle=True, seed=2)
    jpegs, labels = next(iter(reader.next_epoch(batch_size=6)))
    return array(ndd.resize(ndd.decoders.image(jpegs), size=[64, 96])), array(labels)


@pytest.mark.parametrize("supervision", ["tokenmix", "relabel", "tokenlabeling"])
def test_a_teacher_makes_the_targets_that_it_makes_in_a_pipeline(photographs, supervision):
    images, labels = photographs
    options = {"num_classes": 4, "mixer": dtm.TokenMix(), "supervision": supervision, "teacher": teacher()}
    pipeline = Pipeline(len(images), 1, None)
    with pipeline:
        clean = fn.external_source(lambda: list(images), layout="HWC")
        words = fn.random.uniform(range=[0, 65536], shape=[4], dtype=types.INT32, seed=11)
        ids = fn.external_source(lambda: list(labels))
        mixed, targets = dtm.fn.token_mix(clean, ids, seed=11, **options)
        pipeline.set_outputs(words, mixed, *(targets if supervision == "tokenlabeling" else (targets,)))
    pipeline.build()
    words, *expected = (output.as_array() for output in pipeline.run())
    seed = sum(int(word) << 16 * k for k, word in enumerate(words[0]))
    mixed, targets = mix(images, labels, seed=seed, **options)
    given = [mixed, *(targets if supervision == "tokenlabeling" else (targets,))]
    for one, two in zip(given, expected, strict=True):
        np.testing.assert_allclose(array(one), two, atol=1e-6)
    by_area = dtm.soft_targets(dtm.draw(dtm.TokenMix(), 6, (64, 96), seed), labels, 4)
    assert not np.allclose(array(given[1]), by_area, atol=1e-3)


def test_stored_labels(photographs):
    images, labels = photographs
    seen = teacher()
    maps = seen(images, torch.from_numpy(labels.reshape(-1))).numpy()
    boxes, flips = np.tile(np.float32([0.1, 0.2, 0.9, 0.8]), (6, 1)), np.arange(6) % 2 == 1
    maps = dtm.crop_maps(maps, boxes, flips, (4, 6))
    top = [part.numpy() for part in seen.topk(images)]
    plan = dtm.draw(dtm.TokenMix(), 6, (64, 96), 3)
    soft = dtm.crop_labels(*top, boxes, num_classes=4)
    tokens = dtm.token_labels(plan, *top, boxes, flips, num_classes=4)

    def targets(supervision, label_maps):
        options = {"mixer": dtm.TokenMix(), "seed": 3, "supervision": supervision, "label_maps": label_maps}
        return mix(images, labels, **options)[1]

    np.testing.assert_array_equal(
        array(targets("tokenmix", ndd.as_batch(maps))), dtm.soft_targets(plan, labels[:, 0], 4, maps=maps)
    )
    np.testing.assert_array_equal(array(targets("relabel", (*top, boxes, flips))), dtm.soft_targets(plan, soft, 4))
    given = targets("tokenlabeling", (*top, boxes, flips))
    for one, two in zip(given, (dtm.soft_targets(plan, soft, 4), *tokens), strict=True):
        np.testing.assert_array_equal(array(one), two)


MISTAKES = {
    "an array": ({"images": GOOD}, TypeError, "images must be a Batch of dynamic mode, got ndarray"),
    "ragged": (
        {"images": ndd.as_batch([GOOD[0], GOOD[1], GOOD[2, 1:], GOOD[3], GOOD[4]], layout="HWC")},
        ValueError,
        r"images must all have one shape within a batch, got \(40, 56, 3\) for sample 0 and \(39, 56, 3\) for sample 2",
    ),
    "int32": ({"images": ndd.as_batch(GOOD.astype(np.int32))}, TypeError, "images must be uint8, float16, float32"),
    "gray": (
        {"images": ndd.as_batch(GOOD[..., 0].copy())},
        ValueError,
        r"images must be \(H, W, C\).*got 2 dimensions: a gray image is \(H, W, 1\)",
    ),
    "empty": ({"images": ndd.as_batch([], dtype=ndd.uint8)}, ValueError, "images must be at least one"),
    "layout": ({"layout": "NCHW"}, ValueError, r"are NHWC to DALI: pass layout='NHWC'"),
    "two dozen channels": (
        {"images": ndd.as_batch(np.zeros((5, 24, 24, 24), np.uint8))},
        ValueError,
        "may be NHWC or NCHW: say layout=",
    ),
    "label out of range": ({"labels": LABELS + 1}, ValueError, r"labels must be in \[0, num_classes=4\), got 4"),
    "label floating": ({"labels": LABELS / 2}, TypeError, "labels must be whole numbers, got float64"),
    "labels in rows of others": ({"labels": np.ones((5, 3))}, ValueError, r"rows \(N, num_classes=4\), got shape"),
    "rows for a teacher's maps": (
        {"labels": np.ones((5, 4)), "supervision": "tokenmix", "label_maps": np.ones((5, 5, 7))},
        ValueError,
        "class ids",
    ),
    "labels too few": ({"labels": LABELS[:4]}, ValueError, r"labels must be \(5,\), one for each of images, got 4"),
    "labels ragged": (
        {"labels": ndd.as_batch([[1], [1, 2], [1], [1], [1]], dtype=ndd.int32)},
        ValueError,
        r"labels must all have one shape, got \[\(1,\), \(2,\)\]",
    ),
    "mixer": ({"mixer": dtm.TokenMix}, TypeError, "mixer must be a mixer"),
    "smoothing": ({"smoothing": 2}, ValueError, "smoothing must be"),
    "inplace": ({"inplace": 1}, ValueError, "inplace must be one of False, True, got 1"),
    "rng": ({"rng": 7}, TypeError, r"rng must be an ndd.random.RNG, got 7: rng=ndd.random.RNG\(seed=...\), or seed="),
    "rng and seed": ({"rng": ndd.random.RNG(1), "seed": 1}, ValueError, "rng and seed are two sources of one draw"),
    "seed": ({"seed": -1}, ValueError, "seed must be in 0.."),
    "supervision": ({"supervision": "tokenmix"}, ValueError, "needs teacher= .* or label_maps="),
    "maps": (
        {"supervision": "tokenmix", "label_maps": np.ones((4, 5, 7))},
        ValueError,
        r"label_maps must be \(5, gh, gw\), one for each sample",
    ),
    "a store's path for maps": (
        {"supervision": "tokenmix", "label_maps": "labels.safetensors"},
        TypeError,
        r"label_maps must be an array \(5, gh, gw\).*got .*labels.safetensors.*store.maps\(index\)",
    ),
    "a store for maps": (
        {"supervision": "tokenmix", "label_maps": Path("labels")},
        TypeError,
        r"label_maps must be an array \(5, gh, gw\).*got .*labels.*store.maps\(index\)",
    ),
    "a single array of labels": (
        {"supervision": "relabel", "label_maps": np.ones((5, 2, 3, 3))},
        TypeError,
        r"label_maps must be \(ids, scores\) or \(ids, scores, boxes, flips\)",
    ),
    "labels of others": (
        {"supervision": "relabel", "label_maps": (np.ones((4, 2, 3, 3), int), np.ones((4, 2, 3, 3)))},
        ValueError,
        "label_maps must be of 5 samples, as images are, got 4",
    ),
    "scattered": (
        {"images": ndd.as_batch([image.copy() for image in GOOD], layout="HWC"), "inplace": True},
        ValueError,
        "images must lie side by side in memory to be mixed with inplace=True",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name):
    given, error, message = MISTAKES[name]
    arguments = {"images": ndd.as_batch(GOOD.copy(), layout="HWC"), "labels": LABELS, **given}
    images, labels = arguments.pop("images"), arguments.pop("labels")
    with pytest.raises(error, match=message):
        dtm.dynamic.token_mix(images, labels, **{"num_classes": 4, "mixer": MIXERS["tokens"], **arguments})


def test_scattered_samples_are_mixed_in_their_copy():
    batch = ndd.as_batch([image.copy() for image in GOOD], layout="HWC")
    mixed, _, plan = dtm.dynamic.token_mix(batch, LABELS, num_classes=4, mixer=MIXERS["tokens"], return_plan=True)
    np.testing.assert_array_equal(array(mixed), dtm.apply(plan, GOOD.copy()))
    np.testing.assert_array_equal([np.asarray(sample) for sample in batch.tensors], GOOD)


def test_labels_as_a_reader_gives_them():
    expected = array(mix(GOOD, seed=1)[1])
    for labels in (list(LABELS), LABELS[:, None], torch.from_numpy(LABELS), ndd.as_batch(LABELS[:, None])):
        np.testing.assert_array_equal(array(mix(GOOD, labels, seed=1)[1]), expected)


def test_rows_of_labels_are_mixed_as_they_are():
    rows = np.float32([[1, 0, 0, 1], [0.5, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0.1, 0.2, 0.3, 0.4]])
    plan = dtm.draw(MIXERS["tokens"], 5, (40, 56), 1)
    for labels in (rows, ndd.as_batch(rows)):
        np.testing.assert_array_equal(array(mix(GOOD, labels, seed=1)[1]), dtm.soft_targets(plan, rows, 4))


@pytest.mark.gpu
@pytest.mark.parametrize("inplace", [False, True])
def test_on_a_gpu_it_is_what_it_is_on_the_cpu(inplace):
    for seed in range(20):
        batch = ndd.as_batch(GOOD, layout="HWC").gpu()
        mixed, targets = dtm.dynamic.token_mix(
            batch, LABELS, num_classes=4, mixer=MIXERS["tokens"], seed=seed, inplace=inplace
        )
        normal = ndd.crop_mirror_normalize(mixed, dtype=ndd.float32)
        expected, expected_targets = mix(GOOD, seed=seed)
        np.testing.assert_array_equal(mixed.torch().cpu().numpy(), array(expected))
        np.testing.assert_array_equal(normal.torch().cpu().numpy(), array(expected).transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(targets.torch().cpu().numpy(), array(expected_targets))
        assert (mixed.torch().data_ptr() == batch.torch().data_ptr()) == inplace


@pytest.mark.gpu
def test_labels_on_a_gpu_are_refused():
    with pytest.raises(ValueError, match="labels must be on the CPU, where they are checked, got a Batch on the GPU"):
        mix(GOOD, ndd.as_batch(LABELS).gpu())


def test_the_example_learns_the_same_with_capture_and_without(photo_folder):
    script = ROOT / "examples" / "dynamic_mode.py"
    options = ["--root", photo_folder, "--epochs", "2", "--batch-size", "8", "--device", "cpu"]
    losses = {}
    for capture in ([], ["--capture"]):
        command = [sys.executable, script, *options, *capture]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        losses[bool(capture)] = [float(loss) for loss in re.findall(r"loss (\d\.\d+)", done.stdout)]
    assert losses[True] == losses[False]
    assert len(losses[True]) == 2
    assert losses[True][1] < losses[True][0]
