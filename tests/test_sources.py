"""Sources: the same images as class folders, file list, tar shards and TFRecords, through the real pipeline."""

from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch
from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline
from PIL import Image

import dali_tokenmix as dtm
from dali_tokenmix.dataset import scan
from dali_tokenmix.planner import BatchPlanner
from tests import containers
from tests.test_gpu_graphs import check
from tests.test_make_labels import Bright

MIXER = dtm.TokenMix(patch_size=8)
KINDS = ("folder", "list", "tar", "tar index", "records", "records index")


def loader(source, **options):
    return dtm.Loader(source=source, **{"batch_size": 8, "image_size": 48, "device": "cpu", **options})


def epochs(source, count=1):
    return [(images.clone(), targets.clone()) for _ in range(count) for images, targets in source]


def equal(one, two):
    same = [torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, two, strict=True)]
    return len(same) > 0 and all(same)


def sources_of(root, folder, **options):
    """{kind: source} of all kinds, of the same images in the same order. options: of those that have a buffer."""
    tars, records = containers.write_tars(root, folder), containers.write_tf_records(root, folder)
    listed = containers.write_list(root, folder / "train.txt")
    tar_index, record_index = containers.index_tars(tars), containers.index_records(records)
    first = {"first_label": 1}
    return {
        "folder": dtm.sources.Folder(root),
        "list": dtm.sources.FileList(listed, root=root),
        "tar": dtm.sources.WebDataset(f"{folder}/train-{{00..02}}.tar", **options),
        "tar index": dtm.sources.WebDataset(f"{folder}/*.tar", index=tar_index, **options),
        "records": dtm.sources.TFRecord(f"{folder}/train-*-of-00003", **first, **options),
        "records index": dtm.sources.TFRecord(records, index=record_index, **first, **options),
    }


@pytest.fixture(scope="module")
def photos(photo_folder, tmp_path_factory):
    return sources_of(photo_folder, tmp_path_factory.mktemp("containers"))


@pytest.fixture(scope="module")
def grays(tmp_path_factory):
    """Sources of 29 images that are told by their gray, 8 times their position, shuffled in a buffer of 5."""
    root = tmp_path_factory.mktemp("grays")
    for k in range(29):
        (root / f"class {k // 8}").mkdir(exist_ok=True)
        Image.new("RGB", (20, 24), (8 * k,) * 3).save(root / f"class {k // 8}" / f"{k:02}.png")
    return sources_of(root, tmp_path_factory.mktemp("gray containers"), initial_fill=5)


@pytest.mark.parametrize("kind", KINDS)
def test_in_order_all_sources_give_the_batches_of_the_folder(photo_folder, photos, kind):
    options = {"train": False, "last_batch": "partial", "batch_size": 16}
    expected = dtm.Loader(photo_folder, image_size=48, device="cpu", **options)
    given = loader(photos[kind], **options)
    assert equal(epochs(expected, 2), epochs(given, 2))
    assert given.indices.tolist() == list(range(32, 40))
    assert len(given.classes) == 4
    assert given.skipped == {}


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_files_are_shuffled_as_those_of_the_folder(photo_folder, photos, kind):
    expected = dtm.Loader(photo_folder, batch_size=8, image_size=48, device="cpu", mixer=MIXER)
    assert equal(epochs(expected, 2), epochs(loader(photos[kind], mixer=MIXER), 2))


def test_samples_have_names(photo_folder, photos):
    data = scan(photo_folder)
    assert loader(photos["list"]).files == data.files
    tars, records = loader(photos["tar"]).files, loader(photos["records"]).files
    assert (tars[0], tars[-1]) == ("train-00.tar/00000", "train-02.tar/00039")
    assert (records[0], records[-1]) == ("train-00000-of-00003/0", "train-00002-of-00003/19")
    assert loader(photos["tar index"]).files == tars
    assert loader(photos["records index"]).files == records


@pytest.mark.parametrize("last_batch", ["drop", "partial", "fill"])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kind", ["tar", "records index"])
def test_an_epoch_has_every_sample_once_over_all_shards(grays, kind, shards, last_batch):
    """And each image is the one that its index says."""
    options = {"batch_size": 4, "last_batch": last_batch, "dtype": "uint8", "layout": "NHWC", "smoothing": 0.0}
    ranks = [loader(grays[kind], shard_id=k, num_shards=shards, seed=3, **options) for k in range(shards)]
    labels, orders = grays[kind].scan().labels, []
    for _ in range(3):
        seen = []
        for rank in ranks:
            batches = 0
            for images, targets in rank:
                assert (images == torch.from_numpy(8 * rank.indices)[:, None, None, None]).all()
                assert targets.argmax(1).tolist() == labels[rank.indices].tolist()
                seen.append(rank.indices)
                batches += 1
            assert batches == len(rank)
        seen = np.concatenate(seen)
        orders.append(seen.tolist())
        if last_batch == "drop":
            assert len(seen) == shards * len(ranks[0]) * 4 == len(set(seen))
        else:
            assert set(seen) == set(range(29))
        if last_batch == "partial":
            assert len(seen) == 29
    assert len({len(rank) for rank in ranks}) == 1 or last_batch == "partial"
    assert orders[0] != orders[1] != orders[2] != sorted(orders[2])


@pytest.mark.parametrize("kind", ["tar", "records"])
def test_batches_are_the_seeds_alone(grays, kind):
    first = epochs(loader(grays[kind], mixer=MIXER, num_threads=1, prefetch=1), 2)
    assert equal(first, epochs(loader(grays[kind], mixer=MIXER, num_threads=3, prefetch=4), 2))
    assert not equal(first, epochs(loader(grays[kind], mixer=MIXER, seed=1), 2))


@pytest.mark.parametrize("stop", [0, 1, 2, 4, 6])
@pytest.mark.parametrize("kind", ["list", "tar", "records"])
def test_a_resumed_run_equals_the_uninterrupted_one(grays, kind, stop):
    options = {"mixer": MIXER, "batch_size": 4, "shard_id": 1, "num_shards": 2}
    whole = epochs(loader(grays[kind], **options), 3)
    source = loader(grays[kind], **options, num_threads=1)
    batches = (batch for _ in range(3) for batch in source)
    for _ in range(stop):
        next(batches)
    state = json.loads(json.dumps(source.state_dict()))
    resumed = loader(grays[kind], **options, prefetch=3)
    resumed.load_state_dict(state)
    assert (resumed.epoch, resumed.batch) == divmod(stop, 3)
    assert equal(whole[stop:], epochs(resumed, 3 - resumed.epoch))
    if stop == 4:
        assert equal(whole[stop:], epochs(pickle.loads(pickle.dumps(source)), 2))


def test_a_state_of_another_source_is_refused(grays):
    states = {kind: loader(source).state_dict() for kind, source in grays.items()}
    for one, other in (("tar", "records"), ("folder", "list"), ("tar", "folder")):
        with pytest.raises(ValueError, match="state is of a run with files="):
            loader(grays[one]).load_state_dict(states[other])
    loader(grays["tar index"]).load_state_dict(states["tar"])  # the same samples


@pytest.mark.parametrize("fallback", ["0", "1"])
def test_mixing_off_repeats_and_augment_go_with_shards(grays, monkeypatch, fallback):
    monkeypatch.setenv("DALI_TOKENMIX_FALLBACK", fallback)

    def augment(images):
        return fn.flip(images, horizontal=fn.random.coin_flip())

    options = {"mixer": MIXER, "dtype": "uint8", "layout": "NHWC", "augment": augment, "repeats": 2}
    source = loader(grays["tar"], **options)
    batches = iter(source)
    next(batches)
    source.mixing = False
    for images, _ in batches:
        assert (images == torch.from_numpy(8 * source.indices)[:, None, None, None]).all()
        assert source.indices[:4].tolist() == source.indices[4:].tolist()


@pytest.mark.parametrize("kind", ["list", "tar", "records"])
def test_stores_are_made_of_a_source_and_are_its_own(photos, tmp_path, kind):
    out = tmp_path / "labels.safetensors"
    store, expected = dtm.make_labels(photos[kind], Bright(), out, topk=2), tmp_path / "folder.safetensors"
    of_folder = dtm.make_labels(photos["folder"], Bright(), expected, topk=2)
    np.testing.assert_array_equal(store.maps(range(40)), of_folder.maps(range(40)))
    options = {"mixer": MIXER, "label_maps": out, "smoothing": 0.0}
    for supervision in ("tokenmix", "relabel", "tokenlabeling"):
        batches = list(loader(photos[kind], supervision=supervision, **options))
        assert len(batches) == 5
    with pytest.raises(ValueError, match="belongs to another data set"):
        loader(photos["folder"], supervision="tokenmix", **options)
    with pytest.raises(ValueError, match="belongs to another data set"):
        loader(photos[kind], supervision="tokenmix", mixer=MIXER, label_maps=expected)
    with pytest.raises(ValueError, match="belongs to another data set"):  # its maps are of other classes
        loader(with_labels(photos[kind], np.arange(40) % 4), supervision="tokenmix", **options)


def test_maps_are_of_class_ids(photo_folder, tmp_path):
    source = dtm.sources.Folder(photo_folder, labels=np.eye(4)[scan(photo_folder).labels])
    with pytest.raises(ValueError, match=r"maps are of each image's own class, and the labels of .* are rows"):
        dtm.make_labels(source, Bright(), tmp_path / "labels.safetensors")
    dtm.make_labels(source, Bright(), tmp_path / "labels.safetensors", maps=None, topk=2)
    options = {"supervision": "relabel", "label_maps": tmp_path / "labels.safetensors", "mixer": MIXER}
    assert len(list(loader(source, **options))) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_labels_take_the_place_of_the_sources_own(grays, tmp_path, kind):
    labels = np.arange(29) % 7
    np.save(tmp_path / "labels.npy", labels)
    for given in (labels, labels.tolist(), tmp_path / "labels.npy", torch.from_numpy(labels)):
        source = loader(with_labels(grays[kind], given), smoothing=0.0, last_batch="partial")
        assert source.classes == tuple("0123456")
        for _, targets in source:
            assert targets.argmax(1).tolist() == labels[source.indices].tolist()
    rows = np.random.default_rng(0).random((29, 3))
    source = loader(with_labels(grays[kind], rows), smoothing=0.0)
    for _, targets in source:
        np.testing.assert_allclose(targets, rows[source.indices], atol=1e-6)


def with_labels(source, labels):
    return dataclasses.replace(source, labels=labels)


@pytest.mark.parametrize("kind", ["list", "tar", "records"])
def test_a_gpu_graph_of_any_source_and_of_rows_can_be_written(grays, kind):
    """Without a driver it cannot run: images and targets on the GPU, where samples are from on the CPU."""
    source = loader(with_labels(grays[kind], np.ones((29, 3))), mixer=MIXER)
    graph = dataclasses.replace(source._graph, device="gpu")
    with Pipeline(8, 2, 0):
        images, targets, index = graph.outputs(BatchPlanner(graph, True, 2))
        check([images, targets], "gpu")
    assert (images.device, targets.device, index.device) == ("gpu", "gpu", "cpu")


@pytest.mark.parametrize("given", [{}, {"root": "photos", "source": "photos"}])
def test_root_and_source_are_one_or_the_other(given):
    with pytest.raises(TypeError, match=r"Loader takes either root, .* or source=.*, got (neither|both)"):
        dtm.Loader(**given)


def test_what_is_no_source_is_refused(photo_folder):
    with pytest.raises(TypeError, match=r"source must be a path of class folders or one of dtm.sources, got 3"):
        loader(3)
    with pytest.raises(TypeError, match=r"source must be a path .*, got <class 'dali_tokenmix"):
        loader(dtm.sources.Folder)
    with pytest.raises(TypeError, match=r"root must be a path, got Folder.*pass source="):
        dtm.Loader(dtm.sources.Folder(photo_folder))
    assert len(loader(photo_folder)) == 5
