"""examples/train_imagenet.py in one process: token labels of a store, half precision, sizes; examples/cifar10.py."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

import dali_tokenmix as dtm
from tests.photos import SUBJECTS, write_folder

EXAMPLES = Path(__file__).parent.parent / "examples"


def python(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_folder(root / "train", dict.fromkeys(SUBJECTS, 6))
    write_folder(root / "val", dict.fromkeys(SUBJECTS, 2), seed=1)
    return root


def test_token_labels_of_a_store_in_half_precision_at_growing_sizes(root, tmp_path):
    teacher = dtm.Teacher(torchvision.models.resnet18(num_classes=4), image_size=64)
    dtm.make_labels(root / "train", teacher, tmp_path / "labels.safetensors", topk=4)
    recipe = {
        **{"model": "deit_tiny_patch16_224", "batch-size": 6, "epochs": 2, "warmup-epochs": 0, "lr": 0.2, "threads": 1},
        **{"supervision": "tokenlabeling", "label-maps": tmp_path / "labels.safetensors", "loss": "soft-ce"},
        **{"amp": "bfloat16", "repeats": 2, "augment": "none", "clip-grad": 1, "log-every": 2, "device": "cpu"},
    }
    options = [text for name, value in recipe.items() for text in (f"--{name}", value)]
    options += ["--model-kwargs", "patch_size=8", "embed_dim=32", "depth=1", "num_heads=2", "--image-size", 32, 64]
    command = [EXAMPLES / "train_imagenet.py", "--root", root, "--out", tmp_path / "run", *options]
    done = python(*command)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"]) for row in rows if row["loss"]] == [
        ("0", "2"),
        ("0", "4"),
        ("1", "6"),
        ("1", "8"),
    ]
    assert [row["epoch"] for row in rows if row["accuracy"]] == ["0", "1"]
    assert all(float(row["ema_accuracy"]) * 8 % 1 == 0 for row in rows if row["ema_accuracy"])  # of 8 images

    written = (tmp_path / "run" / "log.csv").read_bytes()
    done = python(*command)  # once more: there is nothing left to do
    assert done.returncode == 0, done.stderr
    assert "epoch 2, step 8" in done.stdout
    assert (tmp_path / "run" / "log.csv").read_bytes() == written


def test_cifar10_of_the_npm_package_becomes_class_folders(tmp_path):
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        pixels = rng.integers(0, 256, (4, 32 * 32, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "train_lables.json").write_text(json.dumps([3, 0, 9, 3] * 5))
    (tmp_path / "test_lables.json").write_text(json.dumps([5, 5, 1, 2]))
    command = [EXAMPLES / "cifar10.py", "--source", tmp_path, "--out", tmp_path / "out", "--train", 4, "--val", 2]
    done = python(*command)
    assert done.returncode == 0, done.stderr
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert files == [
        *("train/airplane/00001.png", "train/cat/00000.png", "train/cat/00003.png", "train/truck/00002.png"),
        *("val/dog/00000.png", "val/dog/00001.png"),
    ]
    row = np.asarray(Image.open(tmp_path / "data_batch_1.png"))[3, :, :3]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/train/cat/00003.png")), row.reshape(32, 32, 3))
    assert "there are 20 images" in python(*command[:-4], "--train", 21).stderr
