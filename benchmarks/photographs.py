"""Class folders of JPEG files, cut from the photographs that come with scikit-image: quality 95, sizes to choose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

MIX = "imagenet"
# Width x height and how often. ImageNet's training files are 500 pixels on their longer side for the most part, and
# lie more often than they stand; a tenth is larger, a tenth smaller. The shares are rounded, not counted.
IMAGENET = {
    (500, 375): 0.45,
    (375, 500): 0.17,
    (500, 333): 0.12,
    (333, 500): 0.06,
    (640, 480): 0.05,
    (800, 600): 0.03,
    (1024, 768): 0.02,
    (300, 225): 0.05,
    (240, 240): 0.05,
}


def make_photographs(root: Path, count: int = 512, sizes: str = "500x375") -> Path:
    """Writes count // 4 files to each of four class folders below root, and returns root.

    sizes: "WIDTHxHEIGHT" for all, or "imagenet" for a mixture like ImageNet's. Files are windows of the photographs at
    their own resolution; a photograph that is smaller than its window is enlarged first.
    """
    rng = np.random.default_rng(0)
    shares = parse(sizes)
    for name, photo in photographs().items():
        (root / name).mkdir(parents=True)
        for number in range(count // 4):
            width, height = _drawn(shares, rng)
            source = _at_least(photo, width, height)
            y, x = rng.integers(0, source.shape[0] - height + 1), rng.integers(0, source.shape[1] - width + 1)
            window = Image.fromarray(source[y : y + height, x : x + width])
            window.save(root / name / f"{number:04}.jpg", quality=95)
    return root


def photographs() -> dict[str, np.ndarray]:
    """Those of scikit-image that are photographs of something, (height, width, 3) uint8."""
    from skimage import data

    photos = {name: getattr(data, name)() for name in ("astronaut", "coffee", "rocket")}
    return photos | {"motorcycle": data.stereo_motorcycle()[0]}


def parse(sizes: str) -> dict[tuple[int, int], float]:
    """{(width, height): share}. Raises ValueError for what is neither "imagenet" nor WIDTHxHEIGHT."""
    if sizes == MIX:
        return IMAGENET
    width, _, height = sizes.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"sizes must be {MIX!r} or WIDTHxHEIGHT, got {sizes!r}")
    return {(int(width), int(height)): 1.0}


def _drawn(shares: dict[tuple[int, int], float], rng: np.random.Generator) -> tuple[int, int]:
    """A size; nothing is drawn where there is one."""
    return list(shares)[rng.choice(len(shares), p=list(shares.values())) if len(shares) > 1 else 0]


def _at_least(photo: np.ndarray, width: int, height: int) -> np.ndarray:
    """The photograph, enlarged if it is smaller than the window."""
    scale = max(width / photo.shape[1], height / photo.shape[0])
    if scale <= 1:
        return photo
    size = max(width, round(photo.shape[1] * scale)), max(height, round(photo.shape[0] * scale))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
