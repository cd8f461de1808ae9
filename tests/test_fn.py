"""fn.token_mix in somebody else's pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

import dali_tokenmix as dtm
from dali_tokenmix import op

MIXERS = {
    "block": dtm.TokenMix(),
    "patch 7, random, elem": dtm.TokenMix(patch_size=7, mask="random", mode="elem", partner="random", prob=0.6),
    "region, batch": dtm.TokenMix(patch_size=5, mask="region", mode="batch"),
    "cutmix": dtm.CutMix(mode="elem"),
    "mixup": dtm.MixUp(partner="random"),
    "choice": dtm.Choice([dtm.MixUp(), dtm.TokenMix(patch_size=8), dtm.CutMix()], mode="pair"),
}
DTYPES = {"uint8": types.UINT8, "float16": types.FLOAT16, "float32": types.FLOAT}


def provenance(samples, height, width, dtype):
    """(N, H, W, 3) images whose values say sample, row and column."""
    n, y, x = np.meshgrid(np.arange(samples), np.arange(height), np.arange(width), indexing="ij")
    return np.stack([n, y, x], axis=-1).astype(dtype)


def run(images, mixer, *, labels=None, layout="HWC", classes=10, batches=1, pipeline_seed=7, **options):
    """[(clean, mixed, targets, labels, plan), ...] of arrays, through a pipeline fed with `images`."""
    labels = np.arange(len(images), dtype=np.int32) % classes if labels is None else labels
    pipeline = Pipeline(len(images), 2, None, seed=pipeline_seed)
    with pipeline:
        clean = fn.external_source(lambda: list(images), layout=layout)
        ids = fn.external_source(lambda: list(labels))
        mixed, targets, plan = dtm.fn.token_mix(
            clean, ids, num_classes=classes, mixer=mixer, return_plan=True, **options
        )
        pipeline.set_outputs(clean, mixed, targets, ids, *plan.values())
    pipeline.build()
    results = []
    for _ in range(batches):
        clean, mixed, targets, ids, *arrays = (output.as_array() for output in pipeline.run())
        results.append((clean, mixed, targets, ids, dict(zip(plan, arrays, strict=True))))
    return results


def pixels_of(plan, patch, height, width):
    """The definition of a mask, once more: token (y // P, x // P)."""
    grid = plan["mask"]
    shown = np.zeros((len(grid), height, width), bool)
    for n in range(len(grid)):
        for y in range(height):
            for x in range(width):
                shown[n, y, x] = grid[n, y // patch, x // patch]
    return shown


@pytest.mark.parametrize("fallback", ["0", "1"])
@pytest.mark.parametrize("layout", ["HWC", "CHW", ""])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(64, 48), (50, 37)])
def test_every_pixel_is_its_own_or_its_partners(size, dtype, layout, fallback, monkeypatch):
    monkeypatch.setenv(op.FALLBACK, fallback)
    images = provenance(7, *size, dtype)
    fed = images.transpose(0, 3, 1, 2) if layout == "CHW" else images
    for clean, mixed, *_, plan in run(np.ascontiguousarray(fed), dtm.TokenMix(), layout=layout, batches=3):
        if layout == "CHW":
            clean, mixed = clean.transpose(0, 2, 3, 1), mixed.transpose(0, 2, 3, 1)
        shown = pixels_of(plan, 16, *size)
        source = np.where(shown, plan["partner"][:, None, None], np.arange(7)[:, None, None])
        np.testing.assert_array_equal(clean, images)  # no other consumer sees a changed byte
        np.testing.assert_array_equal(mixed[..., 0], source)
        np.testing.assert_array_equal(mixed[..., 1:], images[..., 1:])
        assert 0 < shown.mean() < 1


@pytest.mark.parametrize("name", MIXERS)
def test_targets_and_pixels_tell_the_same_story(name):
    """Labels are the sample numbers, so the targets must hold the share of pixels of each sample."""
    samples, size = 6, (40, 56)
    images = provenance(samples, *size, "float32")
    for _, mixed, targets, _, plan in run(images, MIXERS[name], smoothing=0.0, batches=4):
        expected = np.zeros((samples, 10))
        for n in range(samples):
            if plan["blend"][n]:  # channel 0 is (1 - w) * n + w * partner
                other = (mixed[n, 0, 0, 0] - n) / (plan["partner"][n] - n)
                expected[n, n], expected[n, plan["partner"][n]] = 1 - other, other
            else:
                for source in range(samples):
                    expected[n, source] = (mixed[n, ..., 0] == source).mean()
        np.testing.assert_allclose(targets, expected, atol=1e-5)
        assert targets.dtype == np.float32


def test_smoothing_and_one_class():
    images = provenance(2, 32, 32, "uint8")
    labels = np.array([4, 4], np.int64)
    ((_, _, targets, _, _),) = run(images, dtm.TokenMix(patch_size=8), labels=labels, smoothing=0.2)
    expected = np.full((2, 10), 0.02, np.float32)
    expected[:, 4] += 0.8
    np.testing.assert_allclose(targets, expected, atol=1e-7)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_small_batches(samples):
    for clean, mixed, _, _, plan in run(provenance(samples, 32, 32, "uint8"), dtm.TokenMix(patch_size=8)):
        own = plan["partner"] == np.arange(samples)
        np.testing.assert_array_equal(mixed[own], clean[own])
        assert own.sum() == samples % 2
        assert (plan["own"][own] == 1).all()
        assert not plan["mask"][own].any()


def test_seed_repeats_and_differs():
    images, mixer = provenance(8, 64, 64, "uint8"), dtm.TokenMix(patch_size=8)
    masks = [
        run(images, mixer, seed=seed, pipeline_seed=pipeline, batches=2)
        for seed, pipeline in ((1, 1), (1, 2), (2, 1), (None, 1), (None, 1), (None, 2))
    ]
    first, *others = [[batch[4]["mask"] for batch in batches] for batches in masks]
    same = [np.array_equal(first, other) for other in others]
    assert same == [True, False, False, False, False]  # seed= alone decides where it is given
    assert np.array_equal(others[2], others[3])  # else the pipeline's seed
    assert not np.array_equal(others[3], others[4])
    assert not np.array_equal(first[0], first[1])  # and batches differ


@pytest.mark.parametrize("inplace", [False, True])
def test_in_place_spares_the_copy(inplace):
    seen = []

    def remember(images):
        seen.append(images.address)

    pipeline = Pipeline(4, 2, None, seed=1)
    with pipeline:
        images = op.in_place(remember, fn.random.uniform(range=[0, 255], shape=[32, 32, 3], dtype=types.UINT8))
        labels = fn.random.uniform(range=[0, 1], dtype=types.INT32)
        mixed, _ = dtm.fn.token_mix(images, labels, num_classes=2, mixer=dtm.TokenMix(patch_size=8), inplace=inplace)
        pipeline.set_outputs(mixed)
    pipeline.build()
    left = [pipeline.run()[0].as_tensor().data_ptr() for _ in range(3)]
    assert (left == seen[:3]) is inplace


def test_several_mixes_of_one_node_keep_to_themselves():
    """DALI merges equal nodes; a copy that is written to must not be merged with another."""
    pipeline = Pipeline(6, 2, None, seed=1)
    data, labels = provenance(6, 32, 32, "uint8"), np.arange(6, dtype=np.int32)
    with pipeline:
        images, ids = fn.external_source(lambda: list(data), layout="HWC"), fn.external_source(lambda: list(labels))
        copied = fn.copy(images)
        mixes = [
            dtm.fn.token_mix(images, ids, num_classes=6, mixer=mixer, return_plan=True)
            for mixer in (dtm.TokenMix(patch_size=8), dtm.TokenMix(patch_size=8), dtm.CutMix(minmax=(0.5, 0.6)))
        ]
        pipeline.set_outputs(images, copied, *(node for mixed, _, plan in mixes for node in (mixed, plan["mask"])))
    pipeline.build()
    for _ in range(3):
        clean, copied, one, one_mask, two, two_mask, cut, cut_mask = (out.as_array() for out in pipeline.run())
        np.testing.assert_array_equal(clean, data)
        np.testing.assert_array_equal(copied, data)
        assert not np.array_equal(one_mask, two_mask)
        for mixed, mask, patch in ((one, one_mask, 8), (two, two_mask, 8), (cut, cut_mask, 1)):
            shown = np.kron(mask, np.ones((patch, patch), np.uint8)).astype(bool)[..., None]
            np.testing.assert_array_equal(mixed, np.where(shown, data[::-1], data))


def batch(shape=(32, 32, 3), dtype=np.uint8, samples=4):
    return np.zeros((samples, *shape), dtype)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (batch(dtype=np.float64), {}, "images must be uint8, float16, float32, got float64"),
        (batch(dtype=np.int32), {}, "images must be uint8, float16, float32, got int32"),
        (batch(), {"labels": np.array([0, 1, 10, 2], np.int32)}, r"labels must be in \[0, num_classes=10\), got 10"),
        (batch(), {"labels": np.array([0, -1, 1, 2], np.int32)}, r"labels must be in \[0, num_classes=10\), got -1"),
        (batch(), {"labels": np.zeros(4, np.float32)}, "labels must be whole numbers, got float32"),
        (batch(), {"labels": np.zeros((4, 3), np.int32)}, r"labels must be class ids, \(N,\) or \(N, 1\), or rows"),
        (
            batch((32, 32)),
            {"layout": "HW"},
            r"images must be \(H, W, C\).*, got 2 dimensions: a gray image is \(H, W, 1\)",
        ),
        (batch()[:2], {"labels": [np.zeros(1, np.int32), np.zeros(2, np.int32)]}, "must be batches of uniform shape"),
        (batch((5, 32, 32)), {"layout": ""}, "say layout='NHWC' or layout='NCHW'"),
        (batch((3, 32, 3)), {"layout": ""}, "say layout='NHWC' or layout='NCHW'"),
        (batch((32, 5, 3)), {"layout": "CHW"}, "are NCHW to DALI: pass layout='NCHW'"),
        (batch((8, 8, 3)), {}, "must leave tokens on both sides, got 0 of the 1 x 1 grid"),
        ([np.zeros((32, 32, 3), np.uint8), np.zeros((32, 40, 3), np.uint8)], {}, r"one shape within a batch, got .*40"),
    ],
)
def test_what_only_a_batch_shows_stops_the_pipeline_and_says_why(images, options, message):
    with pytest.raises(RuntimeError, match=message):
        run(images, dtm.TokenMix(), **options)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.ones((4, 5), np.float32), r"label_maps must be \(4, gh, gw\).*got shape \(4, 5\)"),
        (-np.ones((4, 2, 2), np.float32), "label_maps must be finite and >= 0, got -1.0"),
    ],
)
def test_maps_that_fit_no_plan_stop_the_pipeline_by_the_arguments_name(maps, message):
    pipeline = Pipeline(4, 2, None, seed=1)
    with pipeline:
        images = fn.external_source(lambda: batch(), batch=True, layout="HWC")
        labels = fn.external_source(lambda: np.arange(4, dtype=np.int32), batch=True)
        options = {"num_classes": 4, "mixer": dtm.TokenMix(patch_size=8), "supervision": "tokenmix"}
        node = fn.external_source(lambda: maps, batch=True)
        pipeline.set_outputs(*dtm.fn.token_mix(images, labels, label_maps=node, **options))
    with pytest.raises(RuntimeError, match=message):
        pipeline.run()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_classes": 0}, ValueError, "num_classes must be in 1"),
        ({"num_classes": 2.5}, TypeError, "num_classes must be a whole number, got 2.5"),
        ({"smoothing": 1.5}, ValueError, "smoothing must be >= 0 and <= 1, got 1.5"),
        ({"mixer": "cutmix"}, TypeError, "mixer must be a mixer such as TokenMix"),
        ({"seed": -1}, ValueError, "seed must be in 0"),
        ({"layout": "HWC"}, ValueError, "layout must be one of None, 'NHWC', 'NCHW', got 'HWC'"),
        ({"return_plan": "yes"}, ValueError, "return_plan must be one of False, True, got 'yes'"),
        ({"images": np.zeros(3)}, TypeError, "images must be a DALI node, got ndarray"),
        ({"labels": [1, 2]}, TypeError, "labels must be a DALI node, got list"),
    ],
)
def test_mistakes_are_refused_where_the_graph_is_written(options, error, message):
    nodes = {"images": fn.constant(idata=[1]), "labels": fn.constant(idata=[1])}
    with Pipeline(2, 1, None), pytest.raises(error, match=message):
        dtm.fn.token_mix(**{**nodes, "num_classes": 3, "mixer": dtm.TokenMix(), **options})


def test_embedded_in_a_stock_pipeline(photo_folder):
    """Reader, decoder, float16 NCHW after normalisation, and the op behind it: other people's graphs."""
    pipeline = Pipeline(8, 2, None, seed=3)
    with pipeline:
        jpegs, labels = fn.readers.file(file_root=str(photo_folder), random_shuffle=True)
        images = fn.decoders.image_random_crop(jpegs)
        images = fn.resize(images, size=(96, 80))
        images = fn.crop_mirror_normalize(images, dtype=types.FLOAT16, output_layout="CHW", mean=[120.0] * 3)
        mixed, targets, plan = dtm.fn.token_mix(
            images, labels, num_classes=4, mixer=dtm.TokenMix(patch_size=16), return_plan=True
        )
        pipeline.set_outputs(images, mixed, targets, labels, plan["partner"], plan["mask"])
    pipeline.build()
    for _ in range(3):
        images, mixed, targets, labels, partner, mask = (output.as_array() for output in pipeline.run())
        shown = np.kron(mask, np.ones((16, 16), np.uint8)).astype(bool)[:, None]
        np.testing.assert_array_equal(mixed, np.where(shown, images[partner], images))
        rows = np.full((8, 4), 0.025)
        for n in range(8):
            rows[n, labels[n, 0]] += 0.45
            rows[n, labels[partner[n], 0]] += 0.45
        np.testing.assert_allclose(targets, rows, atol=1e-6)


def test_token_mix_in_a_pipeline_with_conditionals():
    from nvidia.dali import pipeline_def

    data = provenance(6, 32, 32, "uint8")

    @pipeline_def(batch_size=6, num_threads=2, device_id=None, enable_conditionals=True)
    def conditional():
        images = fn.external_source(lambda: list(data), layout="HWC")
        labels = fn.external_source(lambda: list(np.arange(6, dtype=np.int32)))
        if fn.random.coin_flip(seed=1, dtype=types.BOOL):
            images = fn.copy(images)
        mixed, _, plan = dtm.fn.token_mix(images, labels, num_classes=6, mixer=dtm.TokenMix(8), return_plan=True)
        return mixed, plan["mask"]

    pipeline = conditional()
    pipeline.build()
    mixed, mask = (output.as_array() for output in pipeline.run())
    shown = np.kron(mask, np.ones((8, 8), np.uint8)).astype(bool)[..., None]
    np.testing.assert_array_equal(mixed, np.where(shown, data[::-1], data))
