"""Images a second from JPEG files, training transforms: Loader against torchvision's ImageFolder and DataLoader.

The same files, RandomResizedCrop, flip, float32 NCHW normalised; as many worker processes there as threads here.
Rounds take turns; a round is the batches after a warm-up. `python benchmarks/throughput.py --help`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from timing import describe_machine, spread

import dali_tokenmix as dtm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="class folders; left out, 500 x 375 JPEGs of quality 95 are made")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batches", type=int, default=12, help="a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "gpu"), default=None)
    options = parser.parse_args()
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as made:
        root = options.root or make_photographs(Path(made) / "photographs")
        sources = {
            "torchvision": torchvision_loader(root, options),
            "Loader, mixer=None": ours(root, None, options),
            "Loader, TokenMix": ours(root, dtm.TokenMix(), options),
        }
        check(sources)
        rates = measure(sources, options)
    base = {name: np.median(rate) for name, rate in rates.items()}
    for name, rate in rates.items():
        print(f"{name:20} {spread(rate, digits=0):>22} images/s  {base[name] / base['torchvision']:.2f}x torchvision")
    mixed, plain = rates["Loader, TokenMix"], rates["Loader, mixer=None"]
    ratio, rounds = np.median(mixed) / np.median(plain), spread(mixed / plain, digits=3)
    print(f"TokenMix / mixer=None {ratio:.3f}, round by round {rounds}")


def ours(root: Path, mixer, options: argparse.Namespace) -> Iterator:
    """Batches of our Loader, epoch after epoch."""
    loader = dtm.Loader(
        root, batch_size=options.batch_size, mixer=mixer, num_threads=options.workers, device=options.device
    )
    while True:
        yield from loader


def torchvision_loader(root: Path, options: argparse.Namespace) -> Iterator:
    """Batches of the loader most people start from, epoch after epoch, with workers that stay alive."""
    from torchvision import datasets, transforms

    steps = [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(dtm.IMAGENET_MEAN, dtm.IMAGENET_STD),
    ]
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(root, transforms.Compose(steps)),
        batch_size=options.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=True,
    )
    while True:
        yield from loader


def check(sources: dict[str, Iterator]) -> None:
    """All yield the same form, with the same brightness and contrast."""
    for name, source in sources.items():
        images, _ = next(source)
        assert images.shape[1:] == (3, 224, 224), (name, images.shape)
        assert images.dtype == torch.float32, (name, images.dtype)
        assert abs(images.mean().item()) < 2, (name, images.mean())
        assert 0.3 < images.std().item() < 2, (name, images.std())


def measure(sources: dict[str, Iterator], options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Images a second: {name: (rounds,)}. What a source made ahead, while others ran, is used up before the clock."""
    rates = {name: np.zeros(options.rounds) for name in sources}
    for number in range(options.rounds):
        print(f"\rround {number + 1} of {options.rounds}", end="", file=sys.stderr, flush=True)
        for name, source in sources.items():
            for _ in range(2 * options.workers + 2):
                next(source)
            start = time.perf_counter()
            for _ in range(options.batches):
                next(source)
            rates[name][number] = options.batches * options.batch_size / (time.perf_counter() - start)
    print(file=sys.stderr)
    return rates


def make_photographs(root: Path, count: int = 512) -> Path:
    """Class folders of 500 x 375 windows of scikit-image's photographs, at their own resolution."""
    rng = np.random.default_rng(0)
    photos = {name: getattr(data, name)() for name in ("astronaut", "coffee", "rocket")}
    photos["motorcycle"] = data.stereo_motorcycle()[0]
    for name, photo in photos.items():
        (root / name).mkdir(parents=True)
        for number in range(count // len(photos)):
            y, x = rng.integers(0, photo.shape[0] - 375 + 1), rng.integers(0, photo.shape[1] - 500 + 1)
            Image.fromarray(photo[y : y + 375, x : x + 500]).save(root / name / f"{number:04}.jpg", quality=95)
    return root


if __name__ == "__main__":
    main()
