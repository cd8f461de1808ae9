"""Mixing inside the network: Manifold Mixup in a ResNet, MixToken in a vision transformer, fed by a Loader.

The Loader gives clean images and smoothed rows of labels. How the network mixes them is drawn batch by batch, and the
targets come from the same draw. With validation in between, where the hooks rest.

    python examples/manifold_mixup.py --root photos --epochs 4 [--method token] [--device gpu]
"""

from __future__ import annotations

import argparse
from collections import Counter

import timm
import torch

import dali_tokenmix as dtm

LAYERS = ["input", "layer1", "layer2"]  # as in the paper: the images, and the first stages


def model_and_mix(method: str, num_classes: int, image_size: int, seed: int):
    """A network, and what mixes in it. It stays the network that it was: its weights have the same names."""
    if method == "manifold":
        model = timm.create_model("resnet10t", num_classes=num_classes)
        return model, dtm.nn.ManifoldMixup(model, LAYERS, mixer=dtm.MixUp(2.0), seed=seed)
    model = timm.create_model("vit_tiny_patch16_224", img_size=image_size, depth=2, num_classes=num_classes)
    return model, dtm.nn.MixToken(model, mixer=dtm.CutMix(1.0), seed=seed)


def train(model, mix, loader, optimizer):
    """One epoch. Returns its mean loss, the mean share of the partner, and where batches were mixed."""
    model.train()
    losses, shares, layers = [], [], Counter()
    for images, labels in loader:
        with mix(labels) as targets:  # the next forward pass is mixed, and these are its targets
            logits = model(images)
        loss = dtm.losses.soft_target_cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        shares.append(float(mix.plan.other.mean()))
        layers[mix.layer] += 1
    return float(torch.stack(losses).mean()), sum(shares) / len(shares), layers


@torch.no_grad()
def accuracy(model, loader):
    model.eval()
    right = [(model(images).argmax(1) == labels.argmax(1)).float() for images, labels in loader]
    return float(torch.cat(right).mean())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--val-root", help="another such folder; left out, the same one")
    parser.add_argument("--method", choices=("manifold", "token"), default="manifold")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)

    torch.manual_seed(0)
    shared = {"batch_size": options.batch_size, "image_size": options.image_size, "device": options.device}
    loader = dtm.Loader(options.root, mixer=None, smoothing=0.1, **shared)
    val_loader = dtm.Loader(options.val_root or options.root, train=False, last_batch="partial", **shared)
    model, mix = model_and_mix(options.method, loader.num_classes, options.image_size, seed=0)
    model.to("cuda" if options.device == "gpu" else "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    for epoch in range(options.epochs):
        loss, share, layers = train(model, mix, loader, optimizer)
        where = ", ".join(f"{count} at {layer}" for layer, count in sorted(layers.items()))
        top1 = accuracy(model, val_loader)
        print(f"epoch {epoch}: loss {loss:.4f}, {share:.0%} of the partner; batches mixed: {where}; top-1 {top1:.1%}")
    mix.remove()  # the network alone again, to be saved as a whole, say


if __name__ == "__main__":
    main()
