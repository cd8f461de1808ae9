"""DALI's dynamic mode: operators called one by one in a Python loop, with dtm.dynamic.token_mix among them.

With --capture DALI takes what it can of the loop's body (decoding, cropping, resizing) into a pipeline that works ahead
of the training step. token_mix is Python and runs where it stands; what comes after it, on mixed images, does so too.
The images and losses are the same with it and without.

    python examples/dynamic_mode.py --root photos --epochs 2 [--capture] [--device gpu]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import nvidia.dali.experimental.dynamic as ndd
import torch

import dali_tokenmix as dtm

MEAN, STD = [0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--capture", action="store_true")
    options = parser.parse_args()

    num_classes = sum(folder.is_dir() for folder in Path(options.root).iterdir())
    ndd.random.set_seed(0)  # of the crops and of token_mix, which all draw from the thread's generator
    torch.manual_seed(0)
    reader = ndd.readers.File(file_root=options.root, random_shuffle=True, seed=0)
    mixer = dtm.TokenMix(patch_size=8)
    size = [options.image_size, options.image_size]
    model = classifier(num_classes).to("cuda" if options.device == "gpu" else "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    for epoch in range(options.epochs):
        losses, begin = [], time.perf_counter()
        for jpegs, labels in reader.next_epoch(batch_size=options.batch_size, capture=options.capture):
            images = ndd.decoders.image_random_crop(jpegs, device=options.device)
            images = ndd.resize(images, size=size)
            # Nobody else reads these images, so no copy is needed.
            mixed, targets = dtm.dynamic.token_mix(images, labels, num_classes=num_classes, mixer=mixer, inplace=True)
            assert address(mixed) == address(images)  # the memory that DALI resized into
            normal = ndd.crop_mirror_normalize(mixed, dtype=ndd.float32, mean=MEAN, std=STD)

            loss = torch.nn.functional.cross_entropy(model(normal.torch()), targets.torch())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        seconds = time.perf_counter() - begin
        print(f"epoch {epoch}: {len(losses)} batches, loss {torch.stack(losses).mean():.4f}, {seconds:.2f} s")
    print(f"the last batch: {tuple(targets.torch().shape)} targets, each sums to {targets.torch()[0].sum():.3f}")


def classifier(num_classes: int) -> torch.nn.Module:
    """A few convolutions: enough to see a loss fall."""
    layers: list[torch.nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [torch.nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), torch.nn.BatchNorm2d(outputs)]
        layers += [torch.nn.ReLU()]
    return torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, num_classes)
    )


def address(batch: ndd.Batch) -> int:
    return batch.torch(copy=False).data_ptr()


if __name__ == "__main__":
    main()
