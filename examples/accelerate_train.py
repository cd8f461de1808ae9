"""Accelerate: a TorchLoader goes through prepare() like any DataLoader; save_state() holds where it stands.

prepare() leaves it as it is: its shard is the Loader's, by rank. The run is interrupted in the middle of an epoch by
--stop-after, and going on with --resume ends with the same loss as a run that was not interrupted.

    accelerate launch examples/accelerate_train.py --root photos --epochs 3 --state state --stop-after 7
    accelerate launch examples/accelerate_train.py --root photos --epochs 3 --state state --resume
"""

from __future__ import annotations

import argparse

import timm
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.nn.functional import cross_entropy

import dali_tokenmix as dtm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--accumulate", type=int, default=2, help="batches a step of the optimizer")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--state", help="a folder for the state, written after every --stop-after batches")
    parser.add_argument("--stop-after", type=int, help="batches")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()

    accelerator = Accelerator(cpu=options.device == "cpu", gradient_accumulation_steps=options.accumulate)
    set_seed(0)
    loader = dtm.Loader(  # after Accelerator(): the shard is this process's
        options.root,
        batch_size=options.batch_size,
        image_size=options.image_size,
        mixer=dtm.Choice([dtm.TokenMix(patch_size=16), dtm.MixUp(0.8)]),
        device=options.device,
    )
    shape = {"img_size": options.image_size, "patch_size": 16, "depth": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=loader.num_classes, **shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model, optimizer, batches = accelerator.prepare(model, optimizer, dtm.frameworks.TorchLoader(loader))
    if options.resume:
        accelerator.load_state(options.state)
        accelerator.print(f"again from epoch {loader.epoch}, batch {loader.batch}")

    model.train()
    done = 0
    for epoch in range(loader.epoch, options.epochs):
        for images, targets in batches:
            with accelerator.accumulate(model):
                loss = cross_entropy(model(images), targets)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            done += 1
            if done == options.stop_after:
                accelerator.save_state(options.state)
                accelerator.print(f"stopped in epoch {epoch}")
                accelerator.end_training()
                return
        loss = accelerator.reduce(loss.detach(), "mean").item()
        accelerator.print(f"epoch {epoch}: {len(batches)} batches on each process, loss of the last one {loss:.6f}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
