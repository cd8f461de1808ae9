"""Whether images are torchvision's: pixels of evaluation and of training, decoders, and where random crops lie.

Pixels: mean and largest difference in levels of 0..255; the median of the images' means, p20..p80. "same pixels": both
sides read PNG twins of the photographs, so that resizing alone is compared. "own decoders": each decodes the JPEG file.
"decoder": that difference alone, without a resize. Training is compared box by box: torchvision gets the boxes and
sides that our graph drew. torchvision's two ways, tensors and Pillow images, against each other are the yardstick.
Boxes: Kolmogorov and Smirnov's distance from those that RandomResizedCrop draws for the same files, and its p-value.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from geometry import Drawn, decoded, evaluated, trained
from photographs import make_photographs
from results import Results, check_device, common_options, positive, say
from scipy import stats
from timing import spread
from torchvision.transforms import RandomResizedCrop
from torchvision_geometry import array, evaluation, pillow, tensor, training

from dali_tokenmix.dataset import scan

SIZE = 224
MEAN, LARGEST = {"evaluation": 0.4, "training": 0.15}, {"evaluation": 2, "training": 1}  # levels, of the same pixels
RARE = 1e-3  # a p-value below it is no chance
Claims = list[tuple[str, bool]]
Theirs = Callable[
    [Any, int], Any
]  # an image, Pillow's or a tensor, and its number -> the same, as torchvision makes it


def main() -> None:
    began, options = time.perf_counter(), parsed_options()
    results = Results("parity", options.device)
    where = {"size": SIZE, "device": options.device, "threads": options.workers}
    with tempfile.TemporaryDirectory() as made:
        say(f"making {options.photographs} photographs and their twins")
        jpegs = options.root or make_photographs(Path(made) / "jpeg", options.photographs, options.sizes)
        twins = write_twins(jpegs, Path(made) / "png")
        print(f"{'levels of 255':66}{'mean':>20}{'largest':>9}")
        say("evaluation")
        ours = [evaluated(root, **where) for root in (twins, jpegs)]
        claims = pixels(results, "evaluation", twins, jpegs, *ours, lambda image, _: evaluation(image, SIZE))
        say(f"training, {options.boxes} boxes")
        drawn = [
            trained(root, **where, at_least=count, store=Path(made) / f"{count}.safetensors")
            for root, count in ((twins, 1), (jpegs, options.boxes))
        ]
        same, own = (epoch(images, len(drawn[0])) for images in drawn)
        assert [crop.box for crop in same] == [crop.box for crop in own], "the twins were not cut as the photographs"
        ours = [[crop.image for crop in crops] for crops in (same, own)]
        claims += pixels(results, "training", twins, jpegs, *ours, lambda image, k: training(image, own[k], SIZE))
        say("decoders")
        decoders(results, scan(jpegs).paths(), own, options)
        claims += boxes(results, drawn[1])
    print()
    for line, holds in claims:
        print(f"  {'holds ' if holds else 'MISSED'}  {line}")
    print(f"\n{results.write(options.results)}: {len(results.rows)} rows, {time.perf_counter() - began:.0f} s in all")


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="class folders of JPEG files; left out, photographs are made")
    parser.add_argument("--sizes", default="imagenet", help="of those: imagenet or WIDTHxHEIGHT (default: %(default)s)")
    parser.add_argument("--photographs", type=positive, help="how many are made (default: 256)")
    parser.add_argument("--boxes", type=positive, help="at least so many are drawn (default: 8192)")
    parser.add_argument("--workers", type=positive, default=len(os.sched_getaffinity(0)), help="threads of our side")
    common_options(parser)
    options = parser.parse_args()
    check_device(parser, options)
    options.photographs = options.photographs or (32 if options.quick else 256)
    options.boxes = options.boxes or (512 if options.quick else 8192)
    return options


def write_twins(root: Path, twins: Path) -> Path:
    """The same class folders with what Pillow decodes, as PNG, in the same order."""
    data = scan(root)
    for number, (path, label) in enumerate(zip(data.paths(), data.labels, strict=True)):
        folder = twins / data.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        pillow(path).save(folder / f"{number:07}.png", compress_level=1)
    return twins


def pixels(results: Results, task: str, twins: Path, jpegs: Path, same: list, own: list, theirs: Theirs) -> Claims:
    """Prints and keeps how far our images are from torchvision's, and its two ways from each other."""
    claims = []
    for way, root, ours in (("same pixels", twins, same), ("own decoders", jpegs, own)):
        paths = scan(root).paths()
        by_pillow, by_tensor = (
            [array(theirs(read(path), k)) for k, path in enumerate(paths)] for read in (pillow, tensor)
        )
        mean, largest = row(results, f"{task}, {way}: ours against Pillow images", zip(ours, by_pillow, strict=True))
        row(results, f"{task}, {way}: ours against tensors", zip(ours, by_tensor, strict=True))
        row(results, f"{task}, {way}: tensors against Pillow images", zip(by_tensor, by_pillow, strict=True))
        if way == "same pixels":
            line = f"{task}, {way}: mean {mean:.3f} <= {MEAN[task]}, largest {largest} <= {LARGEST[task]}"
            claims.append((line, mean <= MEAN[task] and largest <= LARGEST[task]))
    return claims


def decoders(results: Results, paths: list[str], crops: list[Drawn], options: argparse.Namespace) -> None:
    """Prints and keeps how far decoders are from Pillow's, on whole images and on the boxes that were drawn."""
    expected = [array(pillow(path)) for path in paths]
    whole = decoded(paths, [(0, 0, *image.shape[:2]) for image in expected], options.device, options.workers)
    parts = decoded(paths, [crop.box for crop in crops], options.device, options.workers)
    cut = [
        image[y : y + h, x : x + w] for image, crop in zip(expected, crops, strict=True) for y, x, h, w in [crop.box]
    ]
    row(results, "decoder: DALI's against Pillow's", zip(whole, expected, strict=True))
    row(results, "decoder, crops alone: DALI's against Pillow's", zip(parts, cut, strict=True))
    row(results, "decoder: torchvision's against Pillow's", zip(map(array, map(tensor, paths)), expected, strict=True))


def boxes(results: Results, drawn: list[Drawn]) -> Claims:
    """Prints and keeps how the boxes are distributed, against as many of torchvision's."""
    torch.manual_seed(0)
    theirs = [
        RandomResizedCrop.get_params(torch.empty(3, *crop.full, device="meta"), [0.08, 1.0], [3 / 4, 4 / 3])
        for crop in drawn
    ]
    ours = shapes([crop.box for crop in drawn], [crop.full for crop in drawn])
    expected = shapes(theirs, [crop.full for crop in drawn])
    claims = []
    print(f"\n{f'{len(drawn)} boxes':30}{'KS distance':>14}{'p-value':>10}")
    for name in ours:
        found = stats.ks_2samp(ours[name], expected[name])
        print(f"{name:30}{found.statistic:14.4f}{found.pvalue:10.3f}")
        results.add(f"boxes: {name}", "KS distance", "1", found.statistic, boxes=len(drawn))
        results.add(f"boxes: {name}", "p-value", "1", found.pvalue, boxes=len(drawn))
        claims.append((f"boxes: {name} as torchvision's, p {found.pvalue:.3f} >= {RARE}", found.pvalue >= RARE))
    share = float(np.mean([crop.mirrored for crop in drawn]))
    results.add("boxes: mirrored", "share", "1", share, boxes=len(drawn))
    p = stats.binomtest(round(share * len(drawn)), len(drawn)).pvalue
    return [*claims, (f"mirrored: {share:.3f}, one half with p {p:.3f} >= {RARE}", p >= RARE)]


def shapes(crops: list, full: list) -> dict[str, np.ndarray]:
    """Area and centre in fractions of the image, and the aspect, of each box."""
    y, x, h, w = np.array(crops, float).T
    height, width = np.array(full, float).T
    return {
        "area": h * w / height / width,
        "aspect": np.log(w / h),
        "centre, x": (x + w / 2) / width,
        "centre, y": (y + h / 2) / height,
    }


def epoch(drawn: list[Drawn], length: int) -> list[Drawn]:
    """The first `length` in the order of the files."""
    return sorted(drawn[:length], key=lambda crop: crop.index)


def row(results: Results, case: str, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[float, int]:
    """Prints and keeps the differences of pairs of images; their mean and the largest."""
    differences = [np.abs(mine.astype(int) - theirs) for mine, theirs in pairs]
    means, largest = np.array([d.mean() for d in differences]), max(int(d.max()) for d in differences)
    print(f"{case:66}{spread(means, digits=3):>20}{largest:9}", flush=True)
    results.add(case, "mean difference", "levels", means, images=len(means))
    results.add(case, "largest difference", "levels", largest, images=len(means))
    return float(means.mean()), largest


if __name__ == "__main__":
    main()
