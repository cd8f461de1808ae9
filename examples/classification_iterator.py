"""DALIClassificationIterator with soft targets where its labels were: nothing else changes.

The iterator hands on whatever shape its second output has, so `label` becomes (N, C) float32. What the last batch of an
epoch holds is up to last_batch_policy, as before: PARTIAL cuts images and targets alike, FILL keeps the padding, DROP
leaves that batch out.

    python examples/classification_iterator.py --root photos --steps 20 [--device gpu]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIClassificationIterator

import dali_tokenmix as dtm

MEAN, STD = [0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]


@pipeline_def
def pipeline(root: str, size: int, device: str, num_classes: int):
    # pad_last_batch: every epoch starts at the first image, and every shard has as many batches.
    jpegs, labels = fn.readers.file(file_root=root, random_shuffle=True, pad_last_batch=True, name="Reader")
    images = fn.decoders.image_random_crop(jpegs, device="mixed" if device == "gpu" else "cpu")
    images = fn.resize(images, size=(size, size))
    mixer = dtm.Choice([dtm.MixUp(alpha=0.8), dtm.TokenMix(patch_size=8)])
    images, targets = dtm.fn.token_mix(images, labels, num_classes=num_classes, mixer=mixer, inplace=True)
    images = fn.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="CHW", mean=MEAN, std=STD)
    return images, targets


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--steps", type=int, default=20, help="at most so many of each epoch")
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)

    num_classes = sum(folder.is_dir() for folder in Path(options.root).iterdir())
    for policy in (LastBatchPolicy.PARTIAL, LastBatchPolicy.FILL, LastBatchPolicy.DROP):
        graph = pipeline(
            options.root,
            options.image_size,
            options.device,
            num_classes,
            batch_size=options.batch_size,
            num_threads=2,
            device_id=0 if options.device == "gpu" else None,
            seed=0,
        )
        batches = DALIClassificationIterator(graph, reader_name="Reader", last_batch_policy=policy, auto_reset=True)
        sizes, total = [], 0.0
        for _, (batch,) in zip(range(options.steps), batches, strict=False):
            images, targets = batch["data"], batch["label"]  # (N, 3, H, W) and (N, C)
            assert len(images) == len(targets)
            sizes.append(len(targets))
            total += targets.sum().item()
        print(
            f"{policy.name}: len {len(batches)}, batches of {sizes}, label {tuple(targets.shape)} {targets.dtype}, "
            f"sums to {total / sum(sizes):.4f} an image"
        )


if __name__ == "__main__":
    main()
