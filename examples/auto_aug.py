"""DALI's RandAugment or TrivialAugment before mixing: each image is augmented, then they are mixed, then normalised.

The augmentations want uint8 images and `enable_conditionals`; so does mixing like uint8, a quarter of the bytes of
float32. The other way round, an augmentation would turn and shift pixels of two images at once, off the token grid.

    python examples/auto_aug.py --root photos --steps 5 --policy rand|trivial [--device gpu] [--out mixed.png]
"""

from __future__ import annotations

import argparse
from itertools import chain, islice, repeat
from pathlib import Path

import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.auto_aug import rand_augment, trivial_augment
from nvidia.dali.plugin.pytorch import DALIGenericIterator
from strip import as_uint8, save_strip

import dali_tokenmix as dtm

MEAN, STD = [0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]


@pipeline_def(enable_conditionals=True)
def pipeline(root: str, size: int, device: str, num_classes: int, policy: str):
    """Normalised images, targets; and the uint8 images before, between and after the two steps."""
    jpegs, labels = fn.readers.file(file_root=root, random_shuffle=True, pad_last_batch=True, name="Reader")
    images = fn.decoders.image_random_crop(jpegs, device="mixed" if device == "gpu" else "cpu")
    cropped = fn.resize(images, size=(size, size))
    if policy == "rand":
        augmented = rand_augment.rand_augment(cropped, n=2, m=9, shape=(size, size), fill_value=128)
    else:
        augmented = trivial_augment.trivial_augment_wide(cropped, shape=(size, size), fill_value=128)
    mixed, targets = dtm.fn.token_mix(augmented, labels, num_classes=num_classes, mixer=dtm.TokenMix(patch_size=16))
    normal = fn.crop_mirror_normalize(mixed, dtype=types.FLOAT, output_layout="CHW", mean=MEAN, std=STD)
    return normal, targets, cropped, augmented, mixed


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--policy", choices=("rand", "trivial"), default="rand")
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
        options.policy,
        batch_size=options.batch_size,
        num_threads=2,
        device_id=0 if options.device == "gpu" else None,
        seed=0,
    )
    names = ["images", "targets", "cropped", "augmented", "mixed"]
    batches = DALIGenericIterator(graph, names, reader_name="Reader", auto_reset=True)
    endless = chain.from_iterable(repeat(batches))  # epoch after epoch
    for step, (batch,) in enumerate(islice(endless, options.steps)):
        augmented = differing(batch["augmented"], batch["cropped"])
        mixed = differing(batch["mixed"], batch["augmented"])
        print(f"step {step + 1}: {augmented} of {len(batch['images'])} augmented, then {mixed} mixed")
    if options.out:
        pixels = as_uint8(batch["images"].cpu().numpy(), MEAN, STD)
        title = {"rand": "RandAugment", "trivial": "TrivialAugment"}[options.policy] + ", then TokenMix"
        save_strip(options.out, title, pixels, batch["targets"].cpu().numpy(), classes)
        print(f"picture: {options.out}")


def differing(one: torch.Tensor, other: torch.Tensor) -> int:
    """How many images are not the same."""
    return int((one != other).flatten(1).any(1).sum())


if __name__ == "__main__":
    main()
