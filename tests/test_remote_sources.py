"""Sources behind s3:// and gs://, from a stand-in for both on this machine: the way there, not the clouds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dali_tokenmix as dtm
from dali_tokenmix.dataset import scan
from tests import containers, object_store

SETTINGS = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:{port}",
    "AWS_ACCESS_KEY_ID": "anybody",
    "AWS_SECRET_ACCESS_KEY": "anything",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "DALI_GCS_ENDPOINT_URL": "http://127.0.0.1:{port}",
    "DALI_GCS_ANONYMOUS": "1",
}


@pytest.fixture(scope="module")
def bucket(photo_folder, tmp_path_factory):
    """A folder with photos, tars, TFRecords and their index files, all but the last of them served as s3://bucket."""
    folder = tmp_path_factory.mktemp("bucket")
    (folder / "photos").symlink_to(photo_folder)
    containers.index_tars(containers.write_tars(photo_folder, folder))
    containers.index_records(containers.write_tf_records(photo_folder, folder))
    server = subprocess.Popen([sys.executable, object_store.__file__, str(folder)], stdout=subprocess.PIPE, text=True)
    port = server.stdout.readline().strip()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value.format(port=port))
        yield folder
    server.kill()
    server.wait()


def far_sources(folder: Path, scheme: str) -> dict[str, object]:
    data, url = scan(folder / "photos"), f"{scheme}://bucket"
    tar_index, record_index = sorted(folder.glob("*.tar.idx")), sorted(folder.glob("*-of-00003.idx"))
    pairs = [(f"{url}/photos/{file}", k) for file, k in zip(data.files, data.labels, strict=True)]
    tars, records = f"{url}/train-{{00..02}}.tar", f"{url}/train-{{00000..00002}}-of-00003"
    return {
        "files": dtm.sources.FileList(pairs),
        "tars": dtm.sources.WebDataset(tars, index=tar_index, labels=data.labels),
        "records": dtm.sources.TFRecord(records, index=record_index, labels=data.labels),
    }


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_images_behind_a_url_are_those_of_the_folder(bucket, scheme):
    options = {"batch_size": 20, "image_size": 32, "device": "cpu"}
    expected = list(dtm.Loader(bucket / "photos", train=False, **options))
    for source in far_sources(bucket, scheme).values():
        got = list(dtm.Loader(source=source, train=False, **options))
        for (images, targets), (same, same_targets) in zip(expected, got, strict=True):
            assert torch.equal(images, same)
            assert torch.equal(targets, same_targets)
        trained = dtm.Loader(source=source, mixer=dtm.TokenMix(8), **options)
        assert sorted(np.concatenate([trained.indices for _ in trained])) == list(range(40))


def test_a_missing_object_is_named(bucket):
    source = dtm.sources.FileList([("s3://bucket/gone.jpg", 0)] * 4)
    with pytest.raises(RuntimeError, match=r"Object not found. bucket=bucket object=gone\.jpg"):
        list(dtm.Loader(source=source, batch_size=2, device="cpu", image_size=16))
