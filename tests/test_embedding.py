"""fn.token_mix in other people's pipelines: executors, threads, `if`, iterators, checkpoints, labels."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.pipeline import Pipeline
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIClassificationIterator, DALIGenericIterator

import dali_tokenmix as dtm
from dali_tokenmix import op
from tests.helpers import provenance

MIXER, PATCH = dtm.TokenMix(patch_size=8), 8
NAMES = ["mixed", "targets", "clean", "labels", "partner", "mask"]
EXECUTORS = {
    "dynamic, one ahead": {"prefetch_queue_depth": 1},
    "dynamic, four ahead": {"prefetch_queue_depth": 4},
    "pipelined": {"exec_dynamic": False, "prefetch_queue_depth": 3},
    # exec_pipelined without exec_async hangs in DALI 2.4, without token_mix too
    "simple": {"exec_dynamic": False, "exec_async": False, "exec_pipelined": False},
}


def photos(root, *, batch_size=12, seed=3, pad=True, **options):
    """A built pipeline over class folders; its outputs are NAMES."""
    pipeline = Pipeline(batch_size, 2, None, seed=seed, **options)
    with pipeline:
        jpegs, labels = fn.readers.file(file_root=str(root), random_shuffle=True, pad_last_batch=pad, name="Reader")
        clean = fn.resize(fn.decoders.image_random_crop(jpegs), size=(48, 40))
        mixed, targets, plan = dtm.fn.token_mix(
            clean, labels, num_classes=4, mixer=MIXER, smoothing=0.0, return_plan=True
        )
        pipeline.set_outputs(mixed, targets, clean, labels, plan["partner"], plan["mask"])
    pipeline.build()
    return pipeline


def batches(pipeline, number):
    """Dicts by NAMES of arrays that stay what they are."""
    return [dict(zip(NAMES, (o.as_array().copy() for o in pipeline.run()), strict=True)) for _ in range(number)]


def check(batch):
    """Each pixel is the image's own or its partner's, as the mask says, and the targets hold the masks' shares."""
    mixed, targets, clean, labels, partner, mask = (batch[name] for name in NAMES)
    height, width = clean.shape[1:3]
    shown = np.kron(mask, np.ones((PATCH, PATCH), np.uint8))[:, :height, :width].astype(bool)
    np.testing.assert_array_equal(mixed, np.where(shown[..., None], clean[partner], clean))
    assert (mixed != clean).any()
    ids, expected, everyone = labels.reshape(-1), np.zeros(targets.shape), np.arange(len(targets))
    share = shown.mean((1, 2))
    np.add.at(expected, (everyone, ids), 1 - share)
    np.add.at(expected, (everyone, ids[partner]), share)
    np.testing.assert_allclose(targets, expected, atol=1e-6)


def same(one, other):
    return all(np.array_equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in NAMES)


@pytest.fixture(scope="module")
def usual(photo_folder):
    """Three batches of a pipeline as people write it."""
    return batches(photos(photo_folder), 3)


@pytest.mark.parametrize("name", EXECUTORS)
def test_executors_and_depths_change_nothing(name, usual, photo_folder):
    found = batches(photos(photo_folder, **EXECUTORS[name]), 3)
    for batch in found:
        check(batch)
    assert same(found, usual)


@pytest.mark.parametrize("name", EXECUTORS)
def test_in_place_is_the_same_in_every_executor(name, photo_folder):
    """What runs ahead never mixes a batch twice, or one that is still read."""

    def graph(inplace):
        jpegs, labels = fn.readers.file(file_root=str(photo_folder), random_shuffle=True, seed=1)
        images = fn.resize(fn.decoders.image_random_crop(jpegs, seed=2), size=(48, 40))
        mixed, targets = dtm.fn.token_mix(images, labels, num_classes=4, mixer=MIXER, seed=3, inplace=inplace)
        return fn.crop_mirror_normalize(mixed, dtype=types.FLOAT, std=[100.0]), targets

    where = {"batch_size": 12, "num_threads": 2, "device_id": None}
    copying, in_place = (
        pipeline_def(graph)(inplace, **where, **options) for inplace, options in ((False, {}), (True, EXECUTORS[name]))
    )
    seen = set()
    for _ in range(8):
        for one, other in zip(copying.run(), in_place.run(), strict=True):
            np.testing.assert_array_equal(one.as_array(), other.as_array())
        seen.add(one.as_array().tobytes())
    assert len(seen) > 4


def test_batches_that_are_held_stay_what_they_are(photo_folder, usual):
    pipeline = photos(photo_folder, prefetch_queue_depth=2)
    held = [pipeline.run() for _ in range(3)]
    found = [dict(zip(NAMES, (output.as_array() for output in outputs), strict=True)) for outputs in held]
    assert same(found, usual)


def test_pipelines_in_threads_keep_to_themselves(photo_folder):
    alone = {seed: batches(photos(photo_folder, seed=seed), 6) for seed in (3, 4, 5)}
    pipelines, found = {seed: photos(photo_folder, seed=seed) for seed in alone}, {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: batches(pipelines[seed], 6)})) for seed in alone
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(found[seed], alone[seed]) for seed in alone)
    assert not same(alone[3], alone[4])


def test_dalis_checkpoint_resumes_bit_for_bit(photo_folder):
    one = photos(photo_folder, enable_checkpointing=True)
    before = batches(one, 5)  # into the second epoch
    state = one.checkpoint()
    after = batches(one, 5)
    assert same(batches(photos(photo_folder, enable_checkpointing=True, checkpoint=state), 5), after)
    assert not same(before, after)


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize(("policy", "sizes"), [("PARTIAL", [12, 12, 12, 4]), ("FILL", [12] * 4), ("DROP", [12] * 3)])
def test_dalis_iterators_cut_images_and_targets_alike(policy, sizes, pad, photo_folder):
    expected = batches(photos(photo_folder, pad=pad), 4)
    policy = LastBatchPolicy[policy]
    generic = DALIGenericIterator(photos(photo_folder, pad=pad), NAMES, reader_name="Reader", last_batch_policy=policy)
    seen = [batch for (batch,) in generic]
    assert [len(batch["targets"]) for batch in seen] == sizes
    for batch, whole in zip(seen, expected, strict=False):
        for name in NAMES:
            np.testing.assert_array_equal(batch[name], whole[name][: len(batch["targets"])])


def test_rows_of_targets_are_labels_to_the_classification_iterator(photo_folder):
    @pipeline_def(batch_size=12, num_threads=2, device_id=None, seed=3)
    def graph():
        jpegs, labels = fn.readers.file(file_root=str(photo_folder), pad_last_batch=True, name="Reader")
        images = fn.resize(fn.decoders.image(jpegs), size=(48, 40))
        return dtm.fn.token_mix(images, labels, num_classes=4, mixer=MIXER)

    for policy, last in ((LastBatchPolicy.PARTIAL, 4), (LastBatchPolicy.FILL, 12), (LastBatchPolicy.DROP, 12)):
        seen = [b for (b,) in DALIClassificationIterator(graph(), reader_name="Reader", last_batch_policy=policy)]
        assert tuple(seen[-1]["label"].shape) == (last, 4)  # not squeezed, not cast
        assert len(seen[-1]["data"]) == last
        np.testing.assert_allclose(seen[-1]["label"].sum(1), 1, rtol=1e-5)


def test_padding_may_be_a_partner_under_partial(photo_folder):
    """What the docstring warns of: the last 4 of 40 photographs in a batch of 12 are mixed with copies of the last."""
    last = batches(photos(photo_folder), 4)[3]
    kept = last["clean"][:4]
    assert (last["partner"][:4] >= 4).all()  # all cut off by PARTIAL
    assert kept.shape == (4, 48, 40, 3)
    assert len(set(last["labels"][3:].ravel())) == 1


@pytest.mark.parametrize("inplace", [False, True])
def test_in_a_dali_if_the_samples_of_the_branch_are_mixed_among_themselves(inplace):
    data = provenance(8, 32, 32)

    @pipeline_def(batch_size=8, num_threads=2, device_id=None, seed=1, enable_conditionals=True)
    def graph():
        images = fn.copy(fn.external_source(lambda: list(data), layout="HWC"))
        labels = fn.external_source(lambda: list(np.arange(8, dtype=np.int32)))
        chosen = fn.random.coin_flip(dtype=types.BOOL)
        if chosen:
            mixed, targets = dtm.fn.token_mix(
                images, labels, num_classes=8, mixer=MIXER, smoothing=0.0, inplace=inplace
            )
        else:
            mixed, targets = images, fn.one_hot(labels, num_classes=8)
        return mixed, targets, chosen

    pipeline, sizes = graph(), set()
    pipeline.build()
    for _ in range(12):
        mixed, targets, chosen = (output.as_array() for output in pipeline.run())
        sources, chosen = mixed[..., 0], chosen.reshape(-1).astype(bool)
        np.testing.assert_array_equal(mixed[~chosen], data[~chosen])
        np.testing.assert_array_equal(mixed[..., 1:], data[..., 1:])
        assert np.isin(sources[chosen], np.flatnonzero(chosen)).all()  # nobody from the other branch
        shares = np.stack([(sources == source).mean((1, 2)) for source in range(8)], axis=1)
        np.testing.assert_allclose(targets, shares, atol=1e-6)
        sizes.add(int(chosen.sum()))
    assert len(sizes) > 2
    assert any(size % 2 for size in sizes)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("layout", ["HWC", "CHW", ""])
def test_the_fallback_keeps_the_layout(layout, inplace, monkeypatch):
    """Else DALI refuses to merge the branches of an `if`, and operators after it take rows for planes."""
    monkeypatch.setenv(op.FALLBACK, "1")
    data = provenance(8, 32, 24)
    if layout == "CHW":
        data = np.ascontiguousarray(data.transpose(0, 3, 1, 2))

    def graph():
        images = fn.external_source(lambda: list(data), layout=layout)
        labels = fn.external_source(lambda: list(np.arange(8, dtype=np.int32)))
        mixed, targets = images, fn.one_hot(labels, num_classes=8)
        if fn.random.coin_flip(dtype=types.BOOL, probability=0.6):
            branch = fn.copy(images, preserve=True)
            mixed, targets = dtm.fn.token_mix(
                branch, labels, num_classes=8, mixer=MIXER, smoothing=0.0, inplace=inplace
            )
        return mixed, targets

    made = pipeline_def(graph, batch_size=8, num_threads=1, device_id=None, enable_conditionals=True, seed=1)()
    for _ in range(4):
        mixed, targets = made.run()
        assert mixed.layout() == layout
        pixels = mixed.as_array()[:, 0] if layout == "CHW" else mixed.as_array()[..., 0]
        shares = np.stack([(pixels == source).mean((1, 2)) for source in range(8)], axis=1)
        np.testing.assert_allclose(targets.as_array(), shares, atol=1e-6)
    assert (shares < 1).any()


def test_a_plan_of_a_branch_is_refused():
    """Its partners would be numbers of samples in the branch, which nobody outside of it can tell."""

    def graph(within, return_plan):
        images = fn.external_source(lambda: [np.zeros((32, 32, 3), np.uint8)] * 4, layout="HWC")
        labels = fn.external_source(lambda: [np.zeros((), np.int32)] * 4)
        options = {"num_classes": 2, "mixer": MIXER, "return_plan": return_plan}
        mixed, targets = images, fn.one_hot(labels, num_classes=2)
        chosen = fn.random.coin_flip(dtype=types.BOOL)
        if within:
            if chosen:
                mixed, targets = dtm.fn.token_mix(images, labels, **options)[:2]
        else:
            mixed, targets = dtm.fn.token_mix(images, labels, **options)[:2]
        return mixed, targets

    for enabled in (True, False):
        make = pipeline_def(graph, batch_size=4, num_threads=1, device_id=None, enable_conditionals=enabled)
        make(within=False, return_plan=True).run()
    make = pipeline_def(graph, batch_size=4, num_threads=1, device_id=None, enable_conditionals=True)
    make(within=True, return_plan=False).run()
    with pytest.raises(ValueError, match=r"return_plan must be False inside a DALI `if`.*call token_mix after"):
        make(within=True, return_plan=True)


def test_batches_that_differ_in_size():
    data, sizes = provenance(8, 32, 32), [8, 5, 1, 8, 3]
    given = iter(sizes * 3)

    def feed():
        size = next(given)
        return [*data[:size]], [*np.arange(size, dtype=np.uint8)]

    pipeline = Pipeline(8, 2, None, seed=1)
    with pipeline:
        images, labels = fn.external_source(feed, num_outputs=2, layout=["HWC", ""])
        mixed, targets, plan = dtm.fn.token_mix(
            images, labels, num_classes=8, mixer=MIXER, smoothing=0.0, return_plan=True
        )
        pipeline.set_outputs(mixed, targets, plan["partner"])
    pipeline.build()
    for size in sizes:
        mixed, targets, partner = (output.as_array() for output in pipeline.run())
        np.testing.assert_array_equal(partner, np.arange(size)[::-1])
        shares = np.stack([(mixed[..., 0] == source).mean((1, 2)) for source in range(8)], axis=1)
        np.testing.assert_allclose(targets, shares, atol=1e-6)
        assert mixed.shape == (size, 32, 32, 3)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_class_ids_of_any_whole_dtype(dtype):
    data = provenance(4, 32, 32)
    pipeline = Pipeline(4, 2, None, seed=1)
    with pipeline:
        images = fn.external_source(lambda: list(data), layout="HWC")
        labels = fn.external_source(lambda: list(np.array([5, 6, 7, 8], dtype)))
        pipeline.set_outputs(*dtm.fn.token_mix(images, labels, num_classes=10, mixer=MIXER, smoothing=0.0))
    pipeline.build()
    _, targets = (output.as_array() for output in pipeline.run())
    expected = np.zeros((4, 10))
    for n in range(4):
        expected[n, 5 + n] = expected[n, 8 - n] = 0.5
    np.testing.assert_allclose(targets, expected)


def test_labels_stay_on_the_cpu_where_images_are_on_a_gpu():
    """The graph can be written without a GPU; only building it takes one."""
    with Pipeline(8, 2, 0):
        jpegs, labels = fn.external_source(name="jpegs"), fn.external_source(name="labels")
        images = fn.resize(fn.decoders.image(jpegs, device="mixed"), size=(32, 32))
        mixed, targets, plan = dtm.fn.token_mix(images, labels, num_classes=4, mixer=MIXER, return_plan=True)
        assert (mixed.device, targets.device) == ("gpu", "gpu")
        assert {node.device for node in plan.values()} == {"cpu"}
        with pytest.raises(ValueError, match="labels must be a CPU node, where they are checked, got one on the gpu"):
            dtm.fn.token_mix(images, labels.gpu(), num_classes=4, mixer=MIXER)
