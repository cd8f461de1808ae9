"""Class folders of real photographs for tests, cut from those that scikit-image ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

SUBJECTS = ("astronaut", "chelsea", "coffee", "rocket")


def write_folder(root: Path, counts: dict[str, int], *, seed: int = 0, quality: int = 95) -> Path:
    """root/<subject>/<number>.jpg: random crops of each photograph, sides 160 to 400 pixels, all different."""
    rng = np.random.default_rng(seed)
    for subject, count in counts.items():
        photo = getattr(data, subject)()
        folder = root / subject
        folder.mkdir(parents=True)
        for number in range(count):
            height, width = (int(rng.integers(160, min(side, 400))) for side in photo.shape[:2])
            y, x = (int(rng.integers(0, side - part)) for side, part in zip(photo.shape, (height, width), strict=False))
            Image.fromarray(photo[y : y + height, x : x + width]).save(folder / f"{number:03}.jpg", quality=quality)
    return root
