"""Trains a vision transformer on class folders of images, by DeiT's recipe with TokenMix: on a CPU, a GPU, or many.

    python examples/train_imagenet.py --root imagenet --label-maps labels.safetensors --supervision tokenmix
    torchrun --nproc-per-node 8 --max-restarts 3 examples/train_imagenet.py --root imagenet --amp bfloat16

root/train and root/val hold a folder for each class. Killed, the same command goes on from the last checkpoint, and
ends with the losses that it would have had: weights, data and random numbers are where they were.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from imagenet import checkpoint, data, model, options, processes
from imagenet.log import Log
from imagenet.processes import Processes
from timm.utils import ModelEmaV3, distribute_bn
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import dali_tokenmix as dtm


def main(arguments: list[str] | None = None) -> None:
    given = options.parser(__doc__).parse_args(arguments)
    here = processes.join(given.device, given.threads)
    torch.use_deterministic_algorithms(given.deterministic)
    torch.manual_seed(given.seed)  # the same weights everywhere
    network = model.create(given, data.classes(given)).to(here.device)
    train, val = data.loaders(given, model.patch_size(network), here)
    torch.manual_seed(given.seed * here.world + here.rank)  # other paths are dropped in each process
    run = Run(given, network, train, here)
    if here.first:
        given.out.mkdir(parents=True, exist_ok=True)
    run.resume()
    while run.epoch < given.epochs:
        for _ in run.steps():
            if given.checkpoint_every and run.step % given.checkpoint_every == 0:
                run.save()
        run.share_statistics()
        accuracies = {"accuracy": accuracy(run.network, val, given, here)}
        if run.ema is not None:
            accuracies["ema_accuracy"] = accuracy(run.ema.module, val, given, here)
        run.end_epoch(accuracies)
    run.close()
    here.leave()


class Run:
    """A training run: all that is saved, step by step."""

    def __init__(self, given: argparse.Namespace, network: nn.Module, train: dtm.Loader, here: Processes) -> None:
        self.given, self.network, self.train, self.here = given, network, train, here
        self.steps_an_epoch = min(len(train), given.limit or len(train))
        self.epoch, self.step = 0, 0
        self.loss = model.criterion(given)
        self.ema = ModelEmaV3(network, decay=given.ema, use_warmup=True) if given.ema else None
        self.parallel = network
        if here.world > 1:
            devices = [here.device] if here.device.type == "cuda" else None
            # DDP sums gradients in other groups from its second step on, which a run that goes on would do again, and
            # of three processes and more the sums differ in a last bit. It does not where it looks for unused weights.
            self.parallel = DistributedDataParallel(
                network, device_ids=devices, find_unused_parameters=given.deterministic
            )
        peak = given.lr * given.batch_size * here.world / 512
        self.optimizer = torch.optim.AdamW(model.parameter_groups(network, given.weight_decay), lr=peak)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.share_of_peak)
        self.scaler = torch.amp.GradScaler(here.device.type, enabled=given.amp == "float16")
        self.parts = {"model": network, "optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler}
        if self.ema is not None:
            self.parts["ema"] = self.ema.module
        self.log: Log | None = None
        self.path = given.out / "checkpoint.pt"
        self.losses, self.counted, self.since = torch.zeros((), device=here.device), 0, time.perf_counter()

    def share_of_peak(self, step: int) -> float:
        """The learning rate's: linear warmup, then half a cosine."""
        warmup, end = (epochs * self.steps_an_epoch for epochs in (self.given.warmup_epochs, self.given.epochs))
        if step < warmup:
            return (step + 1) / (warmup + 1)
        lowest = self.given.min_lr
        return lowest + (1 - lowest) * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, end - warmup)))) / 2

    def steps(self) -> Iterator[None]:
        """What is left of the epoch; the last step of it is not yielded, since the epoch's end is saved anyway."""
        self.parallel.train()
        self.train.set_epoch(self.epoch)
        self.since = time.perf_counter()
        for images, targets in self.train:
            self.optimize(images, targets)
            last = self.step % self.steps_an_epoch == 0
            if last or self.step % self.given.log_every == 0:
                self.write_loss()
            if last:
                return
            yield

    def optimize(self, images: Tensor, targets: Any) -> None:
        """One step, on this process's batch and those of all others."""
        half = {"none": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.given.amp]
        with torch.autocast(self.here.device.type, half, enabled=half is not None):
            logits = self.parallel(images)
        loss = self.loss(*logits, *targets) if isinstance(logits, tuple) else self.loss(logits, targets)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.given.clip_grad:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.given.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.network, self.step)
        self.losses += loss.detach()
        self.counted += 1

    def write_loss(self) -> None:
        """A row of the log: the mean loss of all processes and of all steps since the row before."""
        mean = float(self.here.sum(self.losses)) / (self.counted * self.here.world)  # waits for the GPU
        images = self.counted * self.given.batch_size * self.here.world
        rate = images / (time.perf_counter() - self.since)
        self.losses.zero_()
        self.counted, self.since = 0, time.perf_counter()
        if not math.isfinite(mean):
            raise RuntimeError(
                f"the loss is {mean} at step {self.step}: lower --lr, or clip gradients with --clip-grad"
            )
        if self.log is not None:
            lr = self.scheduler.get_last_lr()[0]
            self.log.write(epoch=self.epoch, step=self.step, loss=mean, lr=lr, images_per_second=rate)

    def share_statistics(self) -> None:
        """The first process's means of BatchNorm in all, which is saved and evaluated: each has seen other images."""
        for network in [self.network] + ([self.ema.module] if self.ema is not None else []):
            if self.here.world > 1:
                distribute_bn(network, self.here.world)

    def end_epoch(self, accuracies: dict[str, float]) -> None:
        if self.log is not None:
            self.log.write(epoch=self.epoch, step=self.step, **accuracies)
        self.epoch += 1
        self.save()

    def save(self) -> None:
        """All processes call it, at the same step."""
        if self.counted:
            self.write_loss()  # what has been summed up for the log is not saved
        more = {"epoch": self.epoch, "step": self.step, "log_size": self.log.size() if self.log else 0}
        saved = options.saved(self.given)
        checkpoint.save(self.path, self.parts, {"data": self.train}, self.here, options=saved, **more)

    def resume(self) -> None:
        """Goes on from the checkpoint, where there is one."""
        found = {"epoch": 0, "step": 0, "log_size": 0}
        there = self.here.gathered(self.path.exists())
        if any(there) and not all(there):
            missing = [rank for rank, seen in enumerate(there) if not seen]
            raise ValueError(f"--out must be one folder for all machines, processes {missing} do not see {self.path}")
        if all(there):
            found = checkpoint.load(self.path, self.parts, {"data": self.train}, self.here, options.saved(self.given))
            print(f"going on from {self.path}, epoch {found['epoch']}, step {found['step']}", flush=True)
        self.epoch, self.step = found["epoch"], found["step"]
        if self.here.first:
            board = self.given.log == "tensorboard"
            self.log = Log(self.given.out, size=found["log_size"], step=self.step, tensorboard=board)

    def close(self) -> None:
        if self.log is not None:
            self.log.close()


@torch.no_grad()
def accuracy(network: nn.Module, val: dtm.Loader, given: argparse.Namespace, here: Processes) -> float:
    """The share of right answers among all images, each counted once, whatever the shards' sizes."""
    network.eval()
    half = getattr(torch, given.amp, None)
    counts = torch.zeros(2, dtype=torch.int64, device=here.device)
    for number, (images, targets) in enumerate(val, 1):
        with torch.autocast(here.device.type, half, enabled=half is not None):
            answers = network(images).argmax(1)
        counts += torch.stack([(answers == targets.argmax(1)).sum(), torch.tensor(len(images), device=here.device)])
        if number == given.limit:
            break
    right, seen = here.sum(counts).tolist()
    return right / seen


if __name__ == "__main__":
    main()
