"""Sources: the same photographs as class folders, file list, tar shards and TFRecords, through the real pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dali_tokenmix as dtm
from dali_tokenmix.dataset import scan

MIXER = dtm.TokenMix(patch_size=8)


def loader(source, **options):
    return dtm.Loader(source=source, **{"batch_size": 8, "image_size": 48, "device": "cpu", **options})


def all_of(source, epochs=1):
    return [(images.clone(), targets.clone()) for _ in range(epochs) for images, targets in source]


def equal(one, two):
    return len(one) > 0 and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, two, strict=True)
    )


@pytest.fixture(scope="module")
def listed(photo_folder, tmp_path_factory):
    """A text file that lists the photographs in the folder's order, by paths relative to the folder."""
    data = scan(photo_folder)
    file = tmp_path_factory.mktemp("lists") / "train.txt"
    file.write_text("".join(f"{path} {label}\n" for path, label in zip(data.files, data.labels, strict=True)))
    return file


@pytest.mark.parametrize("train", [False, True])
def test_a_file_list_gives_the_batches_of_the_folder(photo_folder, listed, train):
    options = {"train": train, "mixer": MIXER if train else None}
    expected = all_of(dtm.Loader(photo_folder, batch_size=8, image_size=48, device="cpu", **options))
    assert equal(expected, all_of(loader(photo_folder, **options)))
    assert equal(expected, all_of(loader(dtm.sources.Folder(photo_folder), **options)))
    assert equal(expected, all_of(loader(dtm.sources.FileList(listed, photo_folder), **options)))
    pairs = list(zip(scan(photo_folder).paths(), scan(photo_folder).labels, strict=True))
    assert equal(expected, all_of(loader(dtm.sources.FileList(pairs), **options)))


def test_labels_take_the_place_of_the_folders(photo_folder, tmp_path):
    labels = np.arange(40) % 7
    np.save(tmp_path / "labels.npy", labels)
    for given in (labels, labels.tolist(), tmp_path / "labels.npy", torch.from_numpy(labels)):
        source = loader(dtm.sources.Folder(photo_folder, labels=given), smoothing=0.0)
        assert source.classes == tuple("0123456")
        for _, targets in source:
            assert targets.argmax(1).tolist() == labels[source.indices].tolist()


@pytest.mark.parametrize("given", [{}, {"root": "photos", "source": "photos"}])
def test_root_and_source_are_one_or_the_other(given):
    with pytest.raises(TypeError, match=r"Loader takes either root, .* or source=.*, got (neither|both)"):
        dtm.Loader(**given)
