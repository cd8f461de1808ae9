"""The DALI pipeline that people train a ResNet-50 with, and the three lines that add TokenMix to it.

Reader with shards and padding, random crop while decoding, resize, flip and normalise, DALIGenericIterator around it:
all as it was. The lines marked with `# +` are new; images are mixed as uint8, before they are normalised, a quarter of
the bytes of float32. The loss takes soft targets, as torch's cross_entropy does.

    python examples/resnet50_dali.py --root photos --steps 20 [--arch resnet18] [--device gpu]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torchvision
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIGenericIterator

import dali_tokenmix as dtm  # +

MEAN, STD = [0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]


@pipeline_def
def train_pipeline(root: str, size: int, device: str, num_classes: int, shard_id: int = 0, num_shards: int = 1):
    """Normalised float32 images (3, size, size), mixed, and (num_classes,) soft labels: class ids without the lines."""
    jpegs, labels = fn.readers.file(
        file_root=root,
        shard_id=shard_id,
        num_shards=num_shards,
        random_shuffle=True,
        pad_last_batch=True,
        name="Reader",
    )
    decode_on = "mixed" if device == "gpu" else "cpu"
    images = fn.decoders.image_random_crop(
        jpegs, device=decode_on, random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3], num_attempts=100
    )
    images = fn.resize(images, size=(size, size), interp_type=types.INTERP_TRIANGULAR)
    mirror = fn.random.coin_flip(probability=0.5)
    mixer = dtm.TokenMix(patch_size=16)  # +
    images, labels = dtm.fn.token_mix(images, labels, num_classes=num_classes, mixer=mixer, inplace=True)  # +
    images = fn.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="CHW", mean=MEAN, std=STD, mirror=mirror)
    return images, labels


def main(argv: list[str] | None = None) -> list[float]:
    """The loss of every step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--arch", default="resnet50", help="a classifier of torchvision")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)

    torch.manual_seed(0)
    num_classes = sum(folder.is_dir() for folder in Path(options.root).iterdir())
    pipeline = train_pipeline(
        options.root,
        options.image_size,
        options.device,
        num_classes,
        batch_size=options.batch_size,
        num_threads=2,
        device_id=0 if options.device == "gpu" else None,
        seed=0,
    )
    batches = DALIGenericIterator(
        pipeline, ["images", "labels"], reader_name="Reader", last_batch_policy=LastBatchPolicy.PARTIAL, auto_reset=True
    )
    model = torchvision.models.get_model(options.arch, num_classes=num_classes)
    model.to("cuda" if options.device == "gpu" else "cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, weight_decay=1e-4)

    losses: list[float] = []
    while len(losses) < options.steps:
        for (batch,) in batches:  # one pipeline
            loss = torch.nn.functional.cross_entropy(model(batch["images"]), batch["labels"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            print(f"step {len(losses)}: {len(batch['images'])} images, loss {losses[-1]:.4f}")
            if len(losses) == options.steps:
                break
    several = (batch["labels"] > 1.5 * 0.1 / num_classes).sum(1).float().mean()
    print(
        f"{tuple(batch['images'].shape)} images, {tuple(batch['labels'].shape)} labels, {several:.1f} classes an image"
    )
    return losses


if __name__ == "__main__":
    main()
