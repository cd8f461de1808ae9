"""timm's train script with its create_loader() and Mixup replaced by two Loaders.

The model, the optimizer and its parameter groups, the schedule, ModelEmaV3 and the losses are timm's. The loaders give
mixed images and soft targets on the device, so that train_one_epoch() has no mixup_fn, no prefetcher and no .cuda().

    python examples/timm_train.py --root photos --epochs 3 [--loss ce] [--device gpu]
"""

from __future__ import annotations

import argparse

import timm
import torch
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, ModelEmaV3, accuracy

import dali_tokenmix as dtm


def train_one_epoch(epoch, model, loader, optimizer, scheduler, loss_fn, ema):
    losses = AverageMeter()
    model.train()
    updates = epoch * len(loader)
    for images, targets in loader:  # was: images, target = mixup_fn(images, target)
        loss = loss_fn(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        updates += 1
        ema.update(model, step=updates)
        scheduler.step_update(updates)
        losses.update(loss.detach(), len(images))
    scheduler.step(epoch + 1)
    return float(losses.avg)


@torch.no_grad()
def validate(model, loader):
    top1, losses = AverageMeter(), AverageMeter()
    model.eval()
    for images, targets in loader:  # train=False: one-hot rows, in the order of the files
        logits, labels = model(images), targets.argmax(1)
        losses.update(torch.nn.functional.cross_entropy(logits, labels), len(images))
        top1.update(accuracy(logits, labels)[0], len(images))
    return float(top1.avg), float(losses.avg), top1.count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--val-root", help="another such folder; left out, the same one")
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--loss", choices=("bce", "ce"), default="bce")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    shared = {"batch_size": options.batch_size, "image_size": options.image_size, "device": options.device}
    loader = dtm.Loader(
        options.root,
        mixer=dtm.Choice([dtm.MixUp(0.8), dtm.TokenMix(patch_size=16)]),  # was: Mixup(mixup_alpha=0.8, cutmix_alpha=1)
        smoothing=0.1,
        schedule=lambda epoch: {"mixing": epoch < options.epochs - 1},  # was: --mixup-off-epoch
        **shared,
    )
    val_loader = dtm.Loader(
        options.val_root or options.root, train=False, last_batch="partial", num_classes=loader.num_classes, **shared
    )

    device = "cuda" if options.device == "gpu" else "cpu"
    shape = {"img_size": options.image_size, "depth": 2} if options.model.startswith("vit_") else {}
    model = timm.create_model(options.model, num_classes=loader.num_classes, **shape).to(device)
    ema = ModelEmaV3(model, decay=0.99, use_warmup=True)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    scheduler, epochs = create_scheduler_v2(
        optimizer, "cosine", num_epochs=options.epochs, updates_per_epoch=len(loader), step_on_epochs=False
    )
    loss_fn = BinaryCrossEntropy(smoothing=0.0) if options.loss == "bce" else SoftTargetCrossEntropy()

    for epoch in range(epochs):
        mixed, rate = loader.mixing, optimizer.param_groups[0]["lr"]
        loss = train_one_epoch(epoch, model, loader, optimizer, scheduler, loss_fn, ema)
        top1, val_loss, images = validate(ema.module, val_loader)
        print(
            f"epoch {epoch}: {len(loader)} batches{' mixed' if mixed else ''}, lr {rate:.2g}, loss {loss:.4f}; "
            f"EMA: top-1 {top1:.1f} % of {images} images, loss {val_loss:.4f}"
        )


if __name__ == "__main__":
    main()
