"""TokenMix in a pipeline with enable_conditionals: after an `if`, and inside one.

DALI runs the body of an `if` on the samples of the batch that chose it. After the `if` the batch is whole, and
token_mix pairs everybody with everybody: that is where it belongs. Inside, only those of the branch are paired, with
each other; pixels and targets agree there too. "Mix only so many of them" needs no `if`: it is the mixer's prob.

    python examples/conditionals.py --root photos --steps 3 [--device gpu]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from nvidia.dali import fn, pipeline_def, types

import dali_tokenmix as dtm


@pipeline_def(enable_conditionals=True)
def after(root: str, size: int, device: str, num_classes: int):
    """Three in ten images turn grey; then all of them are mixed, grey or not."""
    images, labels = read(root, size, device)
    grey = fn.random.coin_flip(probability=0.3, dtype=types.BOOL)
    if grey:
        images = fn.color_space_conversion(images, image_type=types.RGB, output_type=types.GRAY)
        images = fn.cat(images, images, images, axis=2)
    mixed, targets, plan = dtm.fn.token_mix(
        images, labels, num_classes=num_classes, mixer=dtm.TokenMix(patch_size=8), return_plan=True
    )
    return mixed, targets, images, labels, grey, plan["other"]


@pipeline_def(enable_conditionals=True)
def inside(root: str, size: int, device: str, num_classes: int):
    """Seven in ten images are mixed, with each other; both branches must make targets of the same kind."""
    images, labels = read(root, size, device)
    chosen = fn.random.coin_flip(probability=0.7, dtype=types.BOOL)
    if chosen:
        mixed, targets = dtm.fn.token_mix(
            images, labels, num_classes=num_classes, mixer=dtm.TokenMix(patch_size=8), smoothing=0.0
        )
    else:
        mixed = images
        targets = fn.one_hot(labels, num_classes=num_classes, dtype=types.FLOAT)
        targets = targets.gpu() if device == "gpu" else targets
    return mixed, targets, images, labels, chosen


def read(root: str, size: int, device: str):
    jpegs, labels = fn.readers.file(file_root=root, random_shuffle=True, pad_last_batch=True, name="Reader")
    images = fn.decoders.image_random_crop(jpegs, device="mixed" if device == "gpu" else "cpu")
    return fn.resize(images, size=(size, size)), labels


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)

    num_classes = sum(folder.is_dir() for folder in Path(options.root).iterdir())
    arguments = (options.root, options.image_size, options.device, num_classes)
    device_id = 0 if options.device == "gpu" else None
    where = {"batch_size": options.batch_size, "num_threads": 2, "device_id": device_id, "seed": 1}

    graph = after(*arguments, **where)
    for _ in range(options.steps):
        mixed, _, clean, _, grey, other = arrays(graph.run())
        changed = (mixed != clean).any((1, 2, 3))
        print(f"after the if: {int(grey.sum())} of {len(grey)} grey, {changed.sum()} mixed, other {other.mean():.2f}")
    graph = inside(*arguments, **where)
    for _ in range(options.steps):
        mixed, targets, clean, labels, chosen = arrays(graph.run())
        changed, chosen = (mixed != clean).any((1, 2, 3)), chosen.reshape(-1).astype(bool)
        one_hot = np.eye(num_classes)[labels.reshape(-1)]
        print(
            f"inside an if: {chosen.sum()} of {len(chosen)} chosen, {changed.sum()} mixed, "
            f"{(changed & ~chosen).sum()} of the others; {np.isclose(targets, one_hot).all(1).sum()} one-hot targets"
        )


def arrays(outputs) -> tuple[np.ndarray, ...]:
    return tuple(output.as_cpu().as_array() for output in outputs)


if __name__ == "__main__":
    main()
