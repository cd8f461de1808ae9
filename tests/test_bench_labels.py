"""benchmarks/labels.py and teacher.py: quick runs, arrays at a device, bytes of a sample."""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
import pytest

from dali_tokenmix.runtime import cuda
from tests import test_gpu_check
from tests.test_bench_kernels import module, quick

__all__ = ["module"]  # a fixture
SIDE = 7


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return quick("labels", tmp_path_factory.mktemp("labels"))


@pytest.fixture
def batch(module, tmp_path):
    """(a store of small maps, a batch of it)"""
    stores = module("stores")
    store = stores.write_store(tmp_path / "maps", stores.names_only(tmp_path, 16), SIDE, "float16")
    return store, module("dense_labels").Batch.of(store, 8, 0)


def found(rows, case, metric):
    (row,) = [row for row in rows if (row["case"], row["metric"]) == (case, metric)]
    return float(row["p50"])


def test_every_path_has_its_time_beside_the_dense_one(labels):
    rows, printed = labels
    for case in ("tokenmix, 7 x 7 uint8", "tokenmix, 18 x 18 float16", "relabel", "tokenlabeling", "online"):
        assert found(rows, case, "time, ours") > 0
        assert found(rows, case, "time, dense") > 0
    assert found(rows, "online", "time, features") > 0
    assert found(rows, "Loader, tokenmix", "images/s") > 0
    assert "not judged" in printed
    for row in rows:
        low, middle, high = (float(row[name]) for name in ("p20", "p50", "p80"))
        assert low <= middle <= high


def test_bytes_of_a_sample_are_counted(labels):
    rows, printed = labels
    read = {"7 x 7 uint8": 49 + 4, "18 x 18 uint8": 324 + 4, "18 x 18 float16": 648, "top 5 of 18 x 18": 324 * 5 * 6}
    for case, size in read.items():
        assert found(rows, case, "bytes, read") == size
        assert size < found(rows, case, "bytes, disk") < size + 20  # the header, of few samples here
    assert found(rows, "7 x 7 uint8", "bytes, sent") == 44 + 4
    assert found(rows, "a teacher online", "bytes, disk") == 0
    assert found(rows, "top 5 of 18 x 18", "bytes, sent") == 48 + 324 * 5 * 6 + 16 + 4
    assert "holds   0.0" in printed


def test_at_a_device_and_on_the_host_targets_are_the_same(module, batch):
    paths, place = module("label_costs.paths"), module("gpu.place")
    store, one = batch
    host, device = paths.OnHost(), paths.AtDevice(place.Cpu())
    np.testing.assert_allclose(device.from_store(store, one), host.from_store(store, one), atol=1e-6)
    for tokens in (False, True):
        for mine, theirs in zip(device.by_labels(one, tokens), host.by_labels(one, tokens), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_on_the_gpus_side_the_paths_are_timed(module, monkeypatch, tmp_path, capsys):
    """All but the Loader, which needs a GPU. The teacher's maps are a tensor on the CPU."""
    monkeypatch.setattr(cuda, "launch", test_gpu_check.carry_out)
    place, script, results = (module(name) for name in ("gpu.place", "labels", "results"))
    monkeypatch.setattr(place, "AHEAD", 1000)
    gpu = place.Gpu(test_gpu_check.stand_in())
    gpu.torch_device = "cpu"
    rows = results.Results("labels", "cpu")
    options = argparse.Namespace(only=["batches", "sizes"], samples=16, batch_size=4, rounds=2, quick=True)
    test_gpu_check.launched.clear()
    script.measured(tmp_path, gpu, options, rows)
    wanted = {"crop_maps", "score", "targets", "roi_weights", "relabel_pool", "relabel_softmax", "relabel_mix"}
    assert test_gpu_check.launched == wanted | {"token_labels"}
    assert "tokenlabeling" in capsys.readouterr().out


def test_the_online_way_is_the_dense_one(module, batch):
    paths, place = module("label_costs.paths"), module("gpu.place")
    ways = paths.Online(place.Cpu(), [batch[1]], 8)
    ours, dense = ways.ours(0), ways.dense(0)
    np.testing.assert_allclose(ours, dense, atol=1e-5)
    assert np.ptp(ours) > 0.1


def test_labels_that_differ_from_the_dense_ones_are_seen(module, batch):
    script, paths = module("labels"), module("label_costs.paths")
    right = list(paths.OnHost().by_labels(batch[1], True))
    script.check_label_maps(right, batch[1], True)
    for part in (0, 2):
        wrong = list(right)
        wrong[part] = right[part] + np.float32(0.01)
        with pytest.raises(AssertionError):
            script.check_label_maps(wrong, batch[1], True)


def test_a_loaders_turns_are_counted(module, photo_folder):
    import dali_tokenmix as dtm

    loader = dtm.Loader(photo_folder, batch_size=4, image_size=32, device="cpu", num_threads=1)
    seconds = module("label_costs.loader").of_turns({"one": loader}, module("gpu.place").Cpu(), 2)
    assert seconds["one"].shape == (2, 2)
    assert (seconds["one"] > 0).all()


def test_the_teacher_has_its_share_of_a_step(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    rows, printed = quick("teacher", tmp_path, "--rounds", "1", "--batch-size", "1")
    step = found(rows, "DeiT-T step", "time")
    for form in ("float32", "channels_last", "channels_last bfloat16"):
        case = f"efficientnet-lite0 64 {form}"
        assert found(rows, case, "share of a step") == pytest.approx(100 * found(rows, case, "time") / step, rel=1e-4)
        assert f"64 {form}" in printed
    assert 0.2 < found(rows, "efficientnet-lite0, uint8", "hook / bare model") < 5
    assert all(before["command"] == after["command"] for before, after in pairwise(rows))
