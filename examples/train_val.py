"""Two pipelines in one process: training images are mixed, validation images are not and keep their class ids.

Both have a DALIGenericIterator of their own. A pipeline keeps no state outside itself, so they may run by turns, ahead
of one another, or in threads.

    python examples/train_val.py --root photos --val-root photos_val --steps 60 [--device gpu]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIGenericIterator

import dali_tokenmix as dtm

MEAN, STD = [0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]


@pipeline_def
def train_pipeline(root: str, size: int, device: str, num_classes: int):
    jpegs, labels = fn.readers.file(file_root=root, random_shuffle=True, pad_last_batch=True, name="Reader")
    images = fn.decoders.image_random_crop(jpegs, device="mixed" if device == "gpu" else "cpu")
    images = fn.resize(images, size=(size, size))
    mixer = dtm.TokenMix(patch_size=8)
    images, targets = dtm.fn.token_mix(images, labels, num_classes=num_classes, mixer=mixer, inplace=True)
    return normalised(images, mirror=fn.random.coin_flip()), targets


@pipeline_def
def val_pipeline(root: str, size: int, device: str):
    jpegs, labels = fn.readers.file(file_root=root, pad_last_batch=True, name="Reader")
    images = fn.decoders.image(jpegs, device="mixed" if device == "gpu" else "cpu")
    images = fn.resize(images, resize_shorter=size * 8 // 7)
    return normalised(images, crop=(size, size)), labels


def normalised(images, **options):
    return fn.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="CHW", mean=MEAN, std=STD, **options)


def main(argv: list[str] | None = None) -> list[float]:
    """The accuracy after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--val-root", help="the same classes, other images (default: --root)")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)

    torch.manual_seed(0)
    num_classes = sum(folder.is_dir() for folder in Path(options.root).iterdir())
    size, device = options.image_size, options.device
    device_id = 0 if device == "gpu" else None
    where = {"batch_size": options.batch_size, "num_threads": 2, "device_id": device_id, "seed": 0}
    reading = {"reader_name": "Reader", "auto_reset": True, "last_batch_policy": LastBatchPolicy.PARTIAL}
    train = DALIGenericIterator(
        train_pipeline(options.root, size, device, num_classes, **where), ["images", "targets"], **reading
    )
    val = DALIGenericIterator(
        val_pipeline(options.val_root or options.root, size, device, **where), ["images", "labels"], **reading
    )
    model = classifier(num_classes).to("cuda" if device == "gpu" else "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    done, accuracies = 0, []
    while done < options.steps:
        losses = []
        for (batch,) in train:
            loss = torch.nn.functional.cross_entropy(model(batch["images"]), batch["targets"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            done += 1
            if done == options.steps:
                break
        accuracy, images = validate(model, val)
        accuracies.append(accuracy)
        print(f"step {done}: loss {sum(losses) / len(losses):.4f}, accuracy {accuracy:.1%} of {images} images")
    return accuracies


@torch.no_grad()
def validate(model: torch.nn.Module, batches: DALIGenericIterator) -> tuple[float, int]:
    """The share of images that are classified right, and their number."""
    model.eval()
    right = images = 0
    for (batch,) in batches:
        labels = batch["labels"].flatten().long()  # class ids (N, 1), on the CPU
        predicted = model(batch["images"]).argmax(1).cpu()
        right += int((predicted == labels).sum())
        images += len(labels)
    model.train()
    return right / images, images


def classifier(num_classes: int) -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [torch.nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), torch.nn.BatchNorm2d(outputs)]
        layers += [torch.nn.ReLU()]
    return torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, num_classes)
    )


if __name__ == "__main__":
    main()
