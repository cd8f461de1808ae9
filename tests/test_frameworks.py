"""TorchLoader: a DataLoader that gives a Loader's own batches, whoever drives it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

import dali_tokenmix as dtm
from dali_tokenmix.frameworks import TorchLoader
from tests.examples import run_example

OPTIONS = {"batch_size": 6, "image_size": 32, "device": "cpu", "num_threads": 1}  # 40 files: six batches


@pytest.fixture
def loader(photo_folder):
    return dtm.Loader(photo_folder, mixer=dtm.TokenMix(8), **OPTIONS)


@pytest.fixture
def torch_loader(photo_folder):
    return TorchLoader(dtm.Loader(photo_folder, mixer=dtm.TokenMix(8), **OPTIONS))


def assert_same(given, expected):
    assert len(given) == len(expected)
    for batch, other in zip(given, expected, strict=True):
        for part, other_part in zip(batch, other, strict=True):
            torch.testing.assert_close(part, other_part, rtol=0, atol=0)


def test_it_is_a_dataloader_with_the_loaders_batches(loader, torch_loader):
    assert isinstance(torch_loader, DataLoader)
    assert len(torch_loader) == len(loader) == 6
    assert torch_loader.batch_size == 6
    assert torch_loader.num_workers == 0
    for _ in range(2):
        assert_same(list(torch_loader), list(loader))


def test_batches_are_not_copied(loader):
    class Spy(dtm.Loader):
        def __iter__(self):
            for batch in super().__iter__():
                self.made = batch
                yield batch

    loader.__class__ = Spy
    for images, targets in TorchLoader(loader):
        assert images is loader.made[0]
        assert targets is loader.made[1]


def test_dicts_of_names(photo_folder, loader):
    named = TorchLoader(loader, names=("pixel_values", "labels"))
    expected = list(dtm.Loader(photo_folder, mixer=dtm.TokenMix(8), **OPTIONS))
    assert_same([(batch["pixel_values"], batch["labels"]) for batch in named], expected)


def test_a_state_goes_on_in_mid_epoch_and_is_a_loaders(loader, torch_loader):
    expected = [*loader, *loader]
    seen = []
    for batch in torch_loader:
        seen.append(batch)
        if len(seen) == 2:
            break
    state = json.loads(json.dumps(torch_loader.state_dict()))
    for other in (torch_loader, loader):
        other.load_state_dict(state)
        assert_same([*other, *other], expected[2:])


def test_epochs_begin_where_they_are_asked_for_and_not_before_the_first_batch(loader, torch_loader):
    epochs = [list(loader) for _ in range(2)]
    ahead = iter(torch_loader)  # as Lightning does: it asks for an iterator, then for the epoch, then for another
    torch_loader.set_epoch(0)
    assert_same(list(iter(torch_loader)), epochs[0])
    torch_loader.sampler.set_epoch(1)
    assert_same(list(ahead), epochs[1])
    torch_loader.set_epoch(0)
    assert_same(list(torch_loader), epochs[0])


def test_a_framework_that_counts_from_zero_goes_on_after_a_state(loader, torch_loader):
    expected = [*loader, *loader, *loader]
    list(torch_loader)
    for number, _ in enumerate(torch_loader):
        if number == 1:
            break
    state = torch_loader.state_dict()
    torch_loader.load_state_dict(state)
    seen = []
    for epoch in range(2):  # as Fabric does in a process that has just begun
        torch_loader.set_epoch(epoch)
        seen += list(torch_loader)
    assert_same(seen, expected[8:])


def test_another_dataloader_around_it_skips(loader, torch_loader):
    """As accelerate.skip_first_batches() makes one: of dataset, batch sampler and collate function."""
    expected = list(loader)
    numbers = list(torch_loader.batch_sampler)[4:]
    around = DataLoader(torch_loader.dataset, batch_sampler=numbers, collate_fn=torch_loader.collate_fn)
    assert_same(list(around), expected[4:])
    assert_same(list(torch_loader), list(loader))


def test_none_puts_a_sampler_in_its_place(torch_loader):
    assert isinstance(torch_loader.sampler, DistributedSampler)  # what Lightning and Fabric ask
    with pytest.raises(TypeError, match="loop over it"):
        torch_loader.dataset[0]


def test_what_is_refused(loader, torch_loader):
    with pytest.raises(TypeError, match=r"loader must be a dali_tokenmix.Loader, got list"):
        TorchLoader([])
    with pytest.raises(ValueError, match="names must be two, of images and targets, got 'labels'"):
        TorchLoader(loader, names="labels")
    with pytest.raises(ValueError, match="state is of shards 1, 2, this loader is shard 0"):
        torch_loader.load_state_dict({"shards": {"1": {}, "2": {}}})
    with pytest.raises(ValueError, match=r"epoch must be"):
        torch_loader.set_epoch(-1)


@pytest.fixture(scope="module")
def ranks(photo_folder, tmp_path_factory):
    """What tests/framework_ranks.py saw, by framework: two processes, two epochs of five batches, again from AT = 7."""
    if missing := [name for name in ("accelerate", "lightning", "transformers") if find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'dali_tokenmix[frameworks]'")
    launch = ["-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = ["-m", "tests.framework_ranks", photo_folder, tmp_path_factory.mktemp("ranks")]
    done = subprocess.run(
        [sys.executable, *launch, *script, "accelerate", "trainer", "lightning"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = (json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"framework"'))
    return {line["framework"]: line["ranks"] for line in lines}


@pytest.mark.parametrize("framework", ["accelerate", "trainer", "lightning"])
def test_two_processes_share_an_epoch_and_each_goes_on(ranks, photo_folder, framework):
    shared = {**OPTIONS, "batch_size": 4, "mixer": dtm.TokenMix(8), "num_shards": 2}
    for shard_id, rank in enumerate(ranks[framework]):
        loader = dtm.Loader(photo_folder, shard_id=shard_id, **shared)
        expected = [float(images.double().sum()) for _ in range(2) for images, _ in loader]
        assert rank["sums"] == expected
        assert rank["again"] == expected[7:]
    for epoch in range(2):
        shown = [
            index for rank in ranks[framework] for batch in rank["seen"][5 * epoch : 5 * epoch + 5] for index in batch
        ]
        assert sorted(shown) == list(range(40))


@pytest.mark.parametrize("loss", ["bce", "ce"])
def test_the_example_of_timm_trains(photo_folder, loss):
    pytest.importorskip("timm")
    printed = run_example("timm_train.py", "--root", photo_folder, "--device", "cpu", "--epochs", 3, "--loss", loss)
    lines = printed.splitlines()
    assert [" mixed," in line for line in lines] == [True, True, False]
    assert all("5 batches" in line and "of 40 images" in line for line in lines)
    losses = [float(number) for number in re.findall(r", loss (\d+\.\d+);", printed)]
    assert len(losses) == 3
    assert losses[2] < losses[0]
