"""What the demo shows: photographs as class folders, and one batch of them mixed in three ways by fn.token_mix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..dataset import ImageFolder
from ..mixers import CutMix, MixUp, TokenMix

PHOTOGRAPHS = {  # class folder: function of skimage.data; all of them come with the package, without a download
    "astronaut": "astronaut",
    "cat": "chelsea",
    "coffee": "coffee",
    "motorcycle": "stereo_motorcycle",
    "rocket": "rocket",
}
FILES_A_CLASS = 40
LONGER_SIDE = 500  # pixels; ImageNet's images are about as large
BATCH = 32


@dataclass(frozen=True)
class Mix:
    """What a mixer made of a batch: images (N, H, W, 3) uint8, targets (N, C) float32, partner (N,).

    mask: (N, gh, gw) uint8, 1 where the partner shows; patch: side of its cells in pixels. MixUp's is one empty cell.
    """

    patch: int
    images: np.ndarray
    targets: np.ndarray
    partner: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Samples:
    """A batch: images (N, H, W, 3) uint8 before mixing, labels (N,) as positions in classes, and its mixes.

    mixes: MixUp, CutMix and TokenMix, all of the same pairs.
    """

    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    mixes: tuple[Mix, Mix, Mix]


def make_photographs(root: Path, seed: int, show: Callable[[int, int], None]) -> None:
    """Writes FILES_A_CLASS JPEG files a class below root, random parts of scikit-image's photographs."""
    import skimage.data
    from PIL import Image

    rng = np.random.default_rng(seed)
    for k, (name, function) in enumerate(PHOTOGRAPHS.items()):
        loaded = getattr(skimage.data, function)()
        photograph = Image.fromarray(loaded[0] if isinstance(loaded, tuple) else loaded)
        (root / name).mkdir()
        for file in range(FILES_A_CLASS):
            width, height = (int(side * rng.uniform(0.7, 1.0)) for side in photograph.size)
            x0 = int(rng.integers(0, photograph.width - width + 1))
            y0 = int(rng.integers(0, photograph.height - height + 1))
            part = photograph.crop((x0, y0, x0 + width, y0 + height))
            scale = LONGER_SIDE / max(part.size)
            part = part.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
            part.save(root / name / f"{file:03d}.jpg", quality=95)
            show(k * FILES_A_CLASS + file + 1, len(PHOTOGRAPHS) * FILES_A_CLASS)


def mix_samples(data: ImageFolder, device: str, *, image_size: int, threads: int, seed: int) -> Samples:
    """Runs one batch through a DALI pipeline that mixes it with MixUp, CutMix and TokenMix, without label smoothing.

    Raises RuntimeError that names the file if one cannot be decoded.
    """
    from .. import decorators
    from ..fn import token_mix

    paths, labels = some_files(data, seed)
    mixers = (MixUp(), CutMix(), TokenMix())

    @decorators.pipeline(
        batch_size=len(paths), num_threads=threads, device_id=0 if device == "gpu" else None, seed=seed
    )
    def graph() -> tuple[Any, ...]:
        images, ids = crops(paths, labels, device, image_size)
        outputs = [images, ids]
        for mixer in mixers:
            mixed, targets, plan = token_mix(
                images, ids, num_classes=len(data.classes), mixer=mixer, smoothing=0.0, return_plan=True
            )
            outputs += [mixed, targets, plan["partner"], plan["mask"]]
        return tuple(outputs)

    batch = run_once(graph(), paths, threads)
    patches = (image_size, 1, TokenMix().patch_size)
    mixes = [Mix(patch, *batch[2 + 4 * k : 6 + 4 * k]) for k, patch in enumerate(patches)]
    return Samples(data.classes, batch[0], batch[1].reshape(-1), (mixes[0], mixes[1], mixes[2]))


def telling(samples: Samples, count: int = 3) -> list[int]:
    """Positions of `count` samples (fewer in a small batch) that show the most.

    Their pairs are different ones, of two classes, mixed in parts that are neither tiny nor nearly all.
    """
    shares = np.stack([mix.targets[np.arange(len(samples.labels)), samples.labels] for mix in samples.mixes])
    return best(np.abs(shares - 0.5).max(axis=0), samples.mixes[0].partner, samples.labels, count)


def best(cost: np.ndarray, partner: np.ndarray, labels: np.ndarray, count: int) -> list[int]:
    """Positions of `count` samples of different pairs, (N,) cost, partner and labels given: each time the cheapest.

    A pair of one class costs 2 more, and each class that was there before 1 more.
    """
    cost = cost + 2.0 * (labels == labels[partner])
    chosen: list[int] = []
    while len(chosen) < count:
        free = [k for k in range(len(partner)) if k not in chosen and partner[k] not in chosen and partner[k] != k]
        if not free:
            break
        seen = labels[[*chosen, *partner[chosen]]]
        repeats = {k: sum((seen == labels[member]).sum() for member in (k, partner[k])) for k in free}
        chosen.append(min(free, key=lambda k: cost[k] + repeats[k]))
    return chosen


def some_files(data: ImageFolder, seed: int) -> tuple[list[str], list[int]]:
    """Paths and labels of BATCH files (all, if there are fewer)."""
    chosen = np.random.default_rng(seed).permutation(len(data.files))[:BATCH]
    return [str(data.root / data.files[k]) for k in chosen], [int(data.labels[k]) for k in chosen]


def crops(paths: list[str], labels: list[int], device: str, image_size: int) -> tuple[Any, Any]:
    """DALI nodes of random crops, (image_size, image_size, 3) uint8, and of their labels."""
    from nvidia.dali import fn

    jpegs, ids = fn.readers.file(files=paths, labels=labels)
    parts = fn.decoders.image_random_crop(jpegs, device="mixed" if device == "gpu" else "cpu", random_area=[0.5, 1])
    return fn.resize(parts, size=(image_size, image_size)), ids


def run_once(pipeline: Any, paths: list[str], threads: int) -> list[np.ndarray]:
    """The outputs of a batch. Raises RuntimeError that names the file if one of paths cannot be decoded."""
    from ..readable import explain
    from ..sources.samples import Files

    try:
        return [tensors.as_cpu().as_array() for tensors in pipeline.run()]
    except RuntimeError as error:
        raise RuntimeError(explain(error, Files("", (), tuple(paths), np.zeros(0), {}), num_threads=threads)) from error
