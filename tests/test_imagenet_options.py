"""train_imagenet.py with other models of timm, and with options that do not fit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tests.examples import one_thread

sys.path.append(str(Path(__file__).parent.parent / "examples"))

import train_imagenet
from imagenet import data, model, options, processes


@pytest.fixture(autouse=True, scope="module")
def small_models():
    with one_thread():
        yield


def given(*others: str):
    return options.parser(None).parse_args(["--root", "photos", *others])


@pytest.mark.parametrize(
    "name", ["cait_xxs24_224", "mixer_s32_224", "resmlp_12_224", "resnet10t", "deit_tiny_patch16_224"]
)
def test_models_are_made_for_the_size_of_the_images(name):
    network = model.create(given("--model", name, "--image-size", "64"), num_classes=3)
    assert network.training
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_a_model_that_cannot_change_its_size_is_refused():
    with pytest.raises(ValueError, match=r"--image-size: resmlp_12_224 does not take 32 of \[32, 64\]"):
        model.create(given("--model", "resmlp_12_224", "--image-size", "32", "64"), num_classes=3)


def test_a_model_without_paths_to_drop():
    with pytest.raises(ValueError, match="--drop-path must be 0 for vgg11"):
        model.create(given("--model", "vgg11", "--image-size", "32"), num_classes=3)
    model.create(given("--model", "mobilenetv3_small_050", "--image-size", "32", "--drop-path", "0"), num_classes=3)


@pytest.mark.parametrize(
    "option",
    ["--epochs=0", "--log-every=0", "--limit=-1", "--checkpoint-every=-1", "--threads=0", "--mixing-off-epochs=-1"],
)
def test_numbers_that_do_not_fit_are_refused(option, capsys):
    with pytest.raises(SystemExit):
        given(option)
    assert f"argument {option.split('=')[0]}: must be at least" in capsys.readouterr().err


def test_a_root_without_val_is_refused(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"--root must hold train/ and val/ .* there is no .*val"):
        data.classes(given("--root", str(tmp_path)))


def test_an_out_that_some_processes_do_not_see_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.Processes, "gathered", lambda self, value: [True, value])
    run = train_imagenet.Run.__new__(train_imagenet.Run)
    run.here, run.path = processes.Processes(1, 2, 1, torch.device("cpu")), tmp_path / "checkpoint.pt"
    with pytest.raises(ValueError, match=r"--out must be one folder for all machines, processes \[1\] do not see"):
        run.resume()
