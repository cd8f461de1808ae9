"""train_imagenet.py as torchrun starts it in tests: notes what each process trains on, and one is killed once.

python training.py NOTES KILL_AT [options of train_imagenet.py]
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import train_imagenet  # noqa: E402

notes, kill_at = Path(sys.argv[1]), int(sys.argv[2])
rank, killed = int(os.environ["RANK"]), notes / "killed"
when = "after" if killed.exists() else "before"
train_step, end_epoch = train_imagenet.Run.optimize, train_imagenet.Run.end_epoch


def digest(*tensors) -> str:
    return hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)).hexdigest()


def note(**values) -> None:
    with (notes / f"{when}-{rank}.jsonl").open("a") as file:
        file.write(json.dumps(values) + "\n")


def watched_step(run, images, targets) -> None:
    if (when, rank, run.step) == ("before", 1, kill_at):
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    indices = run.train.indices.tolist()
    sums = {"images": digest(images), "targets": digest(targets)}
    note(epoch=run.epoch, step=run.step, length=len(run.train), indices=indices, **sums)
    train_step(run, images, targets)


def watched_end(run, accuracies) -> None:
    averages = [] if run.ema is None else run.ema.module.buffers()
    statistics = digest(*run.network.buffers(), *averages)
    note(epoch=run.epoch, weights=digest(*run.network.parameters()), statistics=statistics)
    end_epoch(run, accuracies)


train_imagenet.Run.optimize, train_imagenet.Run.end_epoch = watched_step, watched_end
train_imagenet.main(sys.argv[3:])
