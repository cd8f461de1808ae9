"""Random erasing after mixing and normalising, as recipes have it: fn.erase on one image in four, targets as they were.

Erased pixels count as those of whoever showed there: a target says what was mixed, not what an erased rectangle left
of it, as in timm. Before mixing, a rectangle would be cut up into tokens and handed to the partner.

    python examples/random_erasing.py --root photos --steps 5 [--device gpu] [--out mixed.png]
"""

from __future__ import annotations

import argparse
from itertools import chain, islice, repeat
from pathlib import Path

import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.pytorch import DALIGenericIterator
from strip import as_uint8, save_strip

import dali_tokenmix as dtm

MEAN, STD = [0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]


@pipeline_def
def pipeline(root: str, size: int, device: str, num_classes: int, probability: float):
    """Images with a rectangle erased to the mean colour, targets, and the images before."""
    jpegs, labels = fn.readers.file(file_root=root, random_shuffle=True, pad_last_batch=True, name="Reader")
    images = fn.decoders.image_random_crop(jpegs, device="mixed" if device == "gpu" else "cpu")
    images = fn.resize(images, size=(size, size))
    images, targets = dtm.fn.token_mix(
        images, labels, num_classes=num_classes, mixer=dtm.TokenMix(patch_size=16), inplace=True
    )
    images = fn.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="CHW", mean=MEAN, std=STD)
    return erase(images, probability), targets, images


def erase(images, probability: float):
    """A rectangle of 14 % to 57 % of each side, anywhere inside, on so many of the images; 0 is the mean colour."""
    chosen = fn.random.coin_flip(probability=probability)
    sides = fn.random.uniform(range=(0.14, 0.57), shape=2)
    corner = fn.random.uniform(range=(0.0, 1.0), shape=2) * (1.0 - sides)
    return fn.erase(images, anchor=corner, shape=sides * chosen, normalized=True, axis_names="HW", fill_value=0)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--probability", type=float, default=0.25)
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", help="a picture of the last batch")
    options = parser.parse_args(argv)

    classes = sorted(folder.name for folder in Path(options.root).iterdir() if folder.is_dir())
    graph = pipeline(
        options.root,
        options.image_size,
        options.device,
        len(classes),
        options.probability,
        batch_size=options.batch_size,
        num_threads=2,
        device_id=0 if options.device == "gpu" else None,
        seed=0,
    )
    names = ["images", "targets", "before"]
    batches = DALIGenericIterator(graph, names, reader_name="Reader", auto_reset=True)
    endless = chain.from_iterable(repeat(batches))  # epoch after epoch
    for step, (batch,) in enumerate(islice(endless, options.steps)):
        images, targets, before = (batch[name] for name in names)
        changed = (images != before).any(1)
        erased = changed.flatten(1).any(1)
        share = changed[erased].float().mean() if erased.any() else 0.0
        total = targets.sum(1)
        print(
            f"step {step + 1}: {int(erased.sum())} of {len(images)} erased, {share:.0%} of each; "
            f"targets sum to {total.min():.3f} .. {total.max():.3f}"
        )
    if options.out:
        pixels = as_uint8(images.cpu().numpy(), MEAN, STD)
        save_strip(options.out, "TokenMix, then random erasing", pixels, targets.cpu().numpy(), classes)
        print(f"picture: {options.out}")


if __name__ == "__main__":
    main()
