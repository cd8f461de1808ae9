"""Soft and multi-hot labels: a row of numbers for each sample, in place of a class id."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline

import dali_tokenmix as dtm

MIXERS = [dtm.TokenMix(patch_size=8), dtm.MixUp(), dtm.CutMix(mode="elem", partner="random")]


def some_rows(kind, samples, classes=6):
    """Rows that sum to 1, that hold any number of ones, and counts."""
    rng = np.random.default_rng(3)
    if kind == "soft":
        return rng.dirichlet(np.ones(classes), samples).astype(np.float32)
    hot = rng.integers(0, 2, (samples, classes))
    return hot.astype(bool) if kind == "multi-hot" else (hot * 7).astype(np.int16)


def by_hand(rows, own, other, partner, smoothing):
    """The formula, sample by sample, in float64."""
    rows, targets = rows.astype(np.float64), []
    for i, j in enumerate(partner):
        targets.append((1 - smoothing) * (own[i] * rows[i] + other[i] * rows[j]) + smoothing / rows.shape[1])
    return np.array(targets)


@pytest.mark.parametrize("kind", ["soft", "multi-hot", "counts"])
@pytest.mark.parametrize("mixer", MIXERS, ids=repr)
def test_rows_are_mixed_by_area_without_dali_and_inside_a_pipeline(kind, mixer):
    rows, samples = some_rows(kind, 7), 7
    plan = dtm.draw(mixer, samples, 48, seed=3)
    expected = by_hand(rows, plan.own, plan.other, plan.partner, 0.2)
    np.testing.assert_allclose(dtm.soft_targets(plan, rows, 6, 0.2), expected, atol=1e-6)
    np.testing.assert_allclose(dtm.soft_targets(plan, torch.from_numpy(rows), 6, 0.2), expected, atol=1e-6)

    with Pipeline(samples, 1, None, seed=5) as pipeline:
        images = fn.external_source(lambda: list(np.zeros((samples, 48, 48, 3), np.uint8)), layout="HWC")
        labels = fn.external_source(lambda: list(rows))
        _, targets, drawn = dtm.fn.token_mix(
            images, labels, num_classes=6, mixer=mixer, smoothing=0.2, return_plan=True
        )
        pipeline.set_outputs(targets, drawn["own"], drawn["other"], drawn["partner"])
    targets, *drawn = (output.as_array() for output in pipeline.run())
    np.testing.assert_allclose(targets, by_hand(rows, *(part.reshape(-1) for part in drawn), 0.2), atol=1e-6)


def test_one_number_a_sample_is_a_class_id():
    plan = dtm.draw(dtm.CutMix(), 3, 32)
    for labels in ([1, 0, 2], [[1], [0], [2]], np.eye(3, dtype=int)[[1, 0, 2]]):
        np.testing.assert_allclose(dtm.soft_targets(plan, labels, 3), dtm.soft_targets(plan, [1, 0, 2], 3), atol=1e-7)
    assert dtm.soft_targets(plan, [[0], [0], [0]], 1, 0.0).tolist() == [[1], [1], [1]]
    halves = dtm.soft_targets(plan, [[0.5], [0.5], [0.5]], 1, 0.0)
    np.testing.assert_allclose(halves, 0.5, atol=1e-7)


@pytest.mark.parametrize("kind", ["soft", "multi-hot", "counts"])
def test_a_loader_mixes_the_rows_of_the_samples_it_read(photo_folder, tmp_path, kind):
    """The weights are those that targets have in the same run where each sample is a class of its own."""
    rows = some_rows(kind, 40)
    np.save(tmp_path / "rows.npy", rows)
    source = dtm.sources.Folder(photo_folder, labels=tmp_path / "rows.npy")
    options = {"batch_size": 8, "image_size": 48, "device": "cpu", "mixer": dtm.TokenMix(patch_size=8)}
    loader = dtm.Loader(source=source, smoothing=0.3, **options)
    weights = dtm.Loader(source=dtm.sources.Folder(photo_folder, labels=np.arange(40)), smoothing=0.0, **options)
    assert loader.num_classes == 6
    count = 0
    for (images, targets), (same, shares) in zip(loader, weights, strict=True):
        assert torch.equal(images, same)
        assert (shares[range(8), loader.indices] < 1).all()
        np.testing.assert_allclose(targets, 0.7 * (shares.numpy() @ rows.astype(np.float64)) + 0.3 / 6, atol=1e-6)
        count += 1
    assert count == 5


def test_evaluation_gives_the_rows_as_they_are(photo_folder):
    rows = some_rows("multi-hot", 40)
    loader = dtm.Loader(
        source=dtm.sources.Folder(photo_folder, labels=rows), batch_size=16, image_size=32, device="cpu", train=False
    )
    for _, targets in loader:
        np.testing.assert_array_equal(targets, rows[loader.indices])


def test_mistakes_are_named(photo_folder):
    def folder(labels, **options):
        source = dtm.sources.Folder(photo_folder, labels=labels)
        return dtm.Loader(source=source, batch_size=8, image_size=48, device="cpu", **options)

    rows = some_rows("soft", 40)
    with pytest.raises(ValueError, match=r"labels must be one for each sample, .*: got 39, .*photos0 has 40"):
        folder(rows[:39])
    with pytest.raises(ValueError, match=r"labels must be finite and >= 0, got -1.0 for sample 5, class 2"):
        folder(np.where(np.arange(240).reshape(40, 6) == 32, -1, rows))
    with pytest.raises(ValueError, match=r"num_classes must be the 6 columns of the labels of .*, got 7"):
        folder(rows, num_classes=7)
    with pytest.raises(TypeError, match="labels must be whole numbers where there is one a sample, got float64"):
        folder(np.linspace(0, 1, 40))
    with pytest.raises(ValueError, match=r"labels must be class ids in \[0, 1048576\), got -1 for sample 3"):
        folder(np.where(np.arange(40) == 3, -1, 0))
    with pytest.raises(TypeError, match=r"labels must be numbers, class ids .* got <U3"):
        folder(["cat"] * 40)
    with pytest.raises(ValueError, match=r"labels must be class ids \(N,\) or rows \(N, C\), got shape \(40, 2, 3\)"):
        folder(rows.reshape(40, 2, 3))
    with pytest.raises(ValueError, match=r"num_classes must be at least the 3 classes of .*, got 2"):
        folder(np.arange(40) % 3, num_classes=2)


def test_an_npy_file_that_is_none_is_named(photo_folder, tmp_path):
    contents = {"missing.npy": None, "text.npy": b"no array", "objects.npy": np.array([{}, []], object)}
    for name, content in contents.items():
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        elif content is not None:
            np.save(tmp_path / name, content, allow_pickle=True)
        with pytest.raises(ValueError, match=rf"labels must be .*npy file.*{name}"):
            dtm.Loader(source=dtm.sources.Folder(photo_folder, labels=tmp_path / name), device="cpu")


def test_scoring_by_the_object_needs_class_ids(photo_folder, tmp_path):
    source = dtm.sources.Folder(photo_folder, labels=some_rows("soft", 40))
    wanted = "supervision='tokenmix' .*: labels must be class ids, got rows of 6. Pass class ids, or"
    options = {"supervision": "tokenmix", "mixer": dtm.TokenMix(patch_size=8)}
    with pytest.raises(ValueError, match=wanted):
        dtm.Loader(source=source, batch_size=8, image_size=48, device="cpu", teacher=lambda *_: None, **options)
    with Pipeline(4, 1, None) as pipeline:
        images = fn.external_source(lambda: list(np.zeros((4, 48, 48, 3), np.uint8)), layout="HWC")
        rows, maps = fn.external_source(lambda: list(some_rows("soft", 4))), fn.constant(fdata=[1.0] * 4, shape=(2, 2))
        pipeline.set_outputs(*dtm.fn.token_mix(images, rows, num_classes=6, label_maps=maps, **options))
    with pytest.raises(RuntimeError, match=wanted):
        pipeline.run()
