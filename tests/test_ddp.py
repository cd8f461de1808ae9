"""Two processes under torchrun really train a small ViT with DDP on photographs, and one of them is killed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import dali_tokenmix as dtm
from tests.photos import SUBJECTS, write_folder

PROGRAM = Path(__file__).parent / "training.py"
VIT = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
OPTIONS = {
    **{"model": "deit_tiny_patch16_224", "image-size": 32, "batch-size": 4, "epochs": 3, "warmup-epochs": 1, "lr": 0.1},
    **{"ema": 0.9, "mixing-off-epochs": 1, "augment": "trivial-augment", "log-every": 1, "checkpoint-every": 3},
    **{"threads": 1, "device": "cpu"},
}
GIVEN = [text for name, value in OPTIONS.items() for text in (f"--{name}", str(value))]
GIVEN += ["--model-kwargs", *(f"{name}={value}" for name, value in VIT.items())]
KILL_AT = 8  # the checkpoint before is of step 6
TIMES = ("images_per_second",)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """41 images to train on, 5 to evaluate on: neither divides evenly."""
    root = tmp_path_factory.mktemp("data")
    write_folder(root / "train", dict(zip(SUBJECTS, (11, 10, 10, 10), strict=True)))
    write_folder(root / "val", dict(zip(SUBJECTS, (2, 1, 1, 1), strict=True)), seed=1)
    return root


@pytest.fixture(scope="module")
def undisturbed(root, tmp_path_factory):
    return torchrun(root, tmp_path_factory.mktemp("undisturbed"), kill_at=-1)


@pytest.fixture(scope="module")
def killed(root, tmp_path_factory):
    return torchrun(root, tmp_path_factory.mktemp("killed"), kill_at=KILL_AT)


def torchrun(root: Path, out: Path, *others: str, kill_at: int, processes: int = 2) -> Path:
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
        "--max-restarts=1",
    ]
    command = [*launcher, "--monitor-interval=0.1", str(PROGRAM), str(out), str(kill_at)]
    command += ["--root", str(root), "--out", str(out), *GIVEN, *others]
    # Or restarted workers may find the addresses of those that are gone: github.com/pytorch/pytorch/issues/135712
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


RESTARTED = """
import os, signal, sys, time
sys.path[:0] = sys.argv[1:]
from imagenet import processes
again, rank = os.environ["TORCHELASTIC_RESTART_COUNT"] == "1", os.environ["RANK"]
time.sleep(2 if again and rank == "0" else 0)  # the other one looks for it, and finds what it left
here = processes.join("cpu", 1)
here.gathered(rank)
if not again and rank == "1":
    os.kill(os.getpid(), signal.SIGKILL)
here.gathered(rank)
here.leave()
"""


def test_restarted_processes_do_not_wait_for_killed_ones(tmp_path):
    program = tmp_path / "restarted.py"
    program.write_text(RESTARTED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    paths = [str(PROGRAM.parent.parent), str(PROGRAM.parent.parent / "examples")]
    command = [*launcher, "--monitor-interval=0.1", str(program), *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def noted(out: Path, when: str, rank: int) -> tuple[list[dict], list[dict]]:
    """(of steps, of epochs' ends)."""
    rows = [json.loads(line) for line in (out / f"{when}-{rank}.jsonl").read_text().splitlines()]
    return [row for row in rows if "step" in row], [row for row in rows if "weights" in row]


def log(out: Path) -> list[dict]:
    """Rows without what the clock says."""
    with (out / "log.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def test_every_process_makes_the_same_number_of_steps(undisturbed):
    for rank in (0, 1):
        steps, ends = noted(undisturbed, "before", rank)
        assert [(row["epoch"], row["step"]) for row in steps] == [(step // 5, step) for step in range(15)]
        assert {row["length"] for row in steps} == {5}  # 41 images: 20 and 21, in batches of 4
        assert len(ends) == 3


def test_shards_are_disjoint_in_every_epoch_and_shuffled_anew(undisturbed):
    shards = [noted(undisturbed, "before", rank)[0] for rank in (0, 1)]
    orders = []
    for epoch in range(3):
        seen = [np.ravel([row["indices"] for row in rows if row["epoch"] == epoch]) for rows in shards]
        assert len(np.unique(np.concatenate(seen))) == 40
        orders.append(tuple(seen[0]))
    assert len(set(orders)) == 3


def test_processes_draw_differently_and_runs_repeat(undisturbed, killed):
    first, second = (noted(undisturbed, "before", rank)[0] for rank in (0, 1))
    assert not {row["images"] for row in first} & {row["images"] for row in second}
    for rank in (0, 1):
        again = noted(killed, "before", rank)[0]
        assert again == noted(undisturbed, "before", rank)[0][: len(again)]
        assert len(again) >= KILL_AT


def test_crops_and_masks_are_each_process_s_own(tmp_path, monkeypatch):
    """All images are the same here, so that batches can differ by what is drawn alone."""
    photo = write_folder(tmp_path, {"rocket": 1}) / "rocket" / "000.jpg"
    (tmp_path / "same").mkdir()
    for number in range(32):
        shutil.copy(photo, tmp_path / ("rocket" if number % 2 else "same") / f"{number:03}.jpg")

    def batches(rank, *, train):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        mixer = dtm.TokenMix(patch_size=8, mode="elem") if train else None
        loader = dtm.Loader(tmp_path, train=train, mixer=mixer, batch_size=8, image_size=32, device="cpu")
        return torch.cat([images for images, _ in loader]).flatten(1).unique(dim=0)

    assert len(torch.cat([batches(rank, train=False) for rank in (0, 1)]).unique(dim=0)) == 1
    first, second = (batches(rank, train=True) for rank in (0, 1))
    assert len(torch.cat([first, second]).unique(dim=0)) == len(first) + len(second) > 20
    assert torch.equal(batches(1, train=True), second)


def test_weights_stay_equal_in_both_processes(undisturbed):
    first, second = (noted(undisturbed, "before", rank)[1] for rank in (0, 1))
    assert first == second
    assert len({row["weights"] for row in first}) == 3


def test_a_model_with_batch_norm_is_evaluated_with_the_same_statistics_everywhere(root, tmp_path):
    torchrun(root, tmp_path, "--model=resnet10t", "--epochs=1", "--warmup-epochs=0", "--model-kwargs", kill_at=-1)
    ((_, (first,)), (_, (second,))) = (noted(tmp_path, "before", rank) for rank in (0, 1))
    assert first == second


def test_the_loss_falls(undisturbed):
    losses = [float(row["loss"]) for row in log(undisturbed) if row["loss"]]
    assert np.mean(losses[-5:]) < losses[0] - 0.05


def test_a_killed_run_goes_on_and_ends_with_the_same_losses(undisturbed, killed):
    assert [row["step"] for row in noted(killed, "after", 0)[0]] == list(range(6, 15))
    assert log(killed) == log(undisturbed)
    for rank in (0, 1):
        (steps, ends), (whole, whole_ends) = noted(killed, "after", rank), noted(undisturbed, "before", rank)
        assert steps == whole[6:]
        assert ends == whole_ends[-len(ends) :]


def test_three_processes_go_on_with_the_same_weights(root, tmp_path):
    ends = {}
    for when, kill_at in (("before", -1), ("after", 4)):  # of three steps an epoch; the checkpoint before is of step 3
        out = tmp_path / when
        out.mkdir()
        torchrun(root, out, "--deterministic", "--epochs=2", kill_at=kill_at, processes=3)
        ends[when] = noted(out, when, 0)[1][-1]
    assert ends["after"] == ends["before"]


def test_accuracy_counts_every_image_once(root, undisturbed):
    """Against one process that looks at all images: shards have 2 and 3 of them."""
    saved = torch.load(undisturbed / "checkpoint.pt", weights_only=True)["parts"]
    images, targets = next(
        iter(dtm.Loader(root / "val", train=False, image_size=32, batch_size=5, num_threads=1, device="cpu"))
    )
    for part, column in (("model", "accuracy"), ("ema", "ema_accuracy")):
        vit = timm.create_model("deit_tiny_patch16_224", img_size=32, num_classes=4, **VIT).eval()
        vit.load_state_dict(saved[part])
        with torch.no_grad():
            right = int((vit(images).argmax(1) == targets.argmax(1)).sum())
        assert float(log(undisturbed)[-1][column]) == pytest.approx(right / 5, abs=1e-8)


def test_a_run_of_other_options_or_processes_is_refused(killed, monkeypatch):
    monkeypatch.syspath_prepend(str(PROGRAM.parent.parent / "examples"))
    from imagenet import checkpoint
    from imagenet.processes import Processes

    path, alone = killed / "checkpoint.pt", Processes(0, 1, 1, torch.device("cpu"))
    options = torch.load(path, weights_only=True)["options"]
    with pytest.raises(ValueError, match=r"--lr of the run in .* is 0.1, got 0.2: give it the same, or another --out"):
        checkpoint.load(path, {}, {}, alone, options | {"lr": "0.2"})
    with pytest.raises(ValueError, match=r"is of 2 processes, .* got 1: start as many"):
        checkpoint.load(path, {}, {}, alone, options)
