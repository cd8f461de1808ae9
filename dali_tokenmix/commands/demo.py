"""Measures what mixing costs on this machine, and draws what it does to images and targets.

Without --root it makes a small data set, cropped from scikit-image's photographs, and removes it afterwards.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from .. import devices
from ..dataset import ImageFolder, scan
from ..progress import progress
from . import demo_teacher
from .make_labels import require

HELP = "measure what mixing costs on this machine, and draw a picture of what it does"
BATCH_SIZE = 64
ROUNDS = 3
COLOURS = 256  # of the second picture, which takes a third of the bytes
WARM_UP = 5  # batches before the clock starts: what is queued already, and what a first one compiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, help="your own images, a folder for each class (default: a made data set)")
    parser.add_argument("--out", type=Path, default=Path("demo.png"), help="the picture (default: %(default)s)")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="default: the GPU if there is one")
    parser.add_argument(
        "--batch-size", type=_at_least(2), help=f"default: {BATCH_SIZE}, or all images if there are fewer"
    )
    parser.add_argument("--image-size", type=_at_least(32), default=224, help="side in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="of everything random (default: %(default)s)")
    parser.add_argument("--seconds", type=_seconds, default=6.0, help="to measure, in all (default: %(default)s)")
    demo_teacher.add_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Returns the exit code. Raises ValueError, OSError, RuntimeError or ImportError for what the user can mend."""
    if given.out.is_dir() or not given.out.absolute().parent.is_dir():
        reason = "is a folder, not a file" if given.out.is_dir() else "is in a folder that does not exist"
        raise ValueError(f"--out {given.out} {reason}")
    device = devices.resolve(given.device)
    require(("PIL",) if given.root else ("PIL", "skimage"), "pip install 'dali_tokenmix[demo]'")
    require(("nvidia.dali", "torch"), devices.EXTRAS)
    data = scan(given.root) if given.root else None
    teacher = demo_teacher.load(given, device)  # before the work: it may not be installed
    if data:
        _demo(data, teacher, device, given)
        return 0
    from .demo_data import make_photographs

    with tempfile.TemporaryDirectory(prefix="dali-tokenmix-") as root:
        with progress("making photographs") as show:
            make_photographs(Path(root), given.seed, show)
        _demo(scan(root), teacher, device, given)
    return 0


def _demo(data: ImageFolder, teacher: Any, device: str, given: argparse.Namespace) -> None:
    from .demo_data import mix_samples, telling
    from .demo_picture import picture, stacked
    from .demo_scores import scores_panel

    files, size, threads = len(data.files), given.image_size, len(os.sched_getaffinity(0))
    if files < 2 or files < (given.batch_size or 0):
        raise ValueError(f"--batch-size {given.batch_size or 2} is more than the {files} images in {data.root}")
    batch_size = given.batch_size or min(BATCH_SIZE, files)
    where = f"{_device_name(device)}, {threads} CPU threads"
    made = f"{size} x {size} pixels in batches of {batch_size}"
    print(f"images      {files} in {len(data.classes)} class folders, to {made}")
    print(f"device      {where}")

    with progress("mixing samples"):
        samples = mix_samples(data, device, image_size=size, threads=threads, seed=given.seed)
        scores = demo_teacher.score_samples(data, teacher, given, device, threads)
        first = picture(samples, telling(samples), f"Samples of one batch, {size} x {size} pixels, {where}")
        drawn = stacked([first, scores_panel(scores, demo_teacher.telling(scores))])
        drawn.save(given.out, format="PNG", optimize=True)
    _told(given.out, drawn)
    with progress("every method"):
        drawn = _gallery(samples, teacher, device, f"From plans, applied and labelled, {size} x {size} pixels")
        out = given.out.with_name(f"{given.out.stem}-methods{given.out.suffix}")
        drawn.save(out, format="PNG", optimize=True)
    _told(out, drawn)
    print(f"teacher     {demo_teacher.in_words(scores)}")

    options = {
        "batch_size": batch_size,
        "image_size": size,
        "device": device,
        "num_threads": threads,
        "seed": given.seed,
    }
    for name, rates in _images_a_second(data.root, options, given.seconds).items():
        spread = f"{min(rates):,.0f} to {max(rates):,.0f} in {ROUNDS} rounds"
        print(f"throughput  {statistics.median(rates):>9,.0f} images/s with {name:<17} ({spread})")


def _gallery(samples: Any, teacher: Any, device: str, subtitle: str) -> Any:
    """The second picture: every method on a few of the samples."""
    import torch

    from .demo_gallery import gallery
    from .demo_methods import methods, photographs

    chosen = photographs(samples.labels)
    images = samples.images[chosen]
    seen = torch.from_numpy(images).to("cuda" if device == "gpu" else "cpu")
    shown = list(methods(images, teacher.attention(seen).cpu().numpy()))
    return gallery(images, [samples.classes[samples.labels[k]] for k in chosen], shown, subtitle).quantize(COLOURS)


def _told(path: Path, picture: Any) -> None:
    print(f"picture     {path} ({picture.width} x {picture.height}, {path.stat().st_size // 1000} KB)")


def _images_a_second(root: Path, options: dict[str, Any], seconds: float) -> dict[str, list[float]]:
    """Rates of Loader without and with TokenMix, measured by turns, so that a busy neighbour disturbs both alike."""
    from .. import Loader, TokenMix

    mixers = {"mixer=None": None, "mixer=TokenMix()": TokenMix()}
    loaders = {name: Loader(root, mixer=mixer, **options) for name, mixer in mixers.items()}
    batches = {name: _endless(loader) for name, loader in loaders.items()}
    rates: dict[str, list[float]] = {name: [] for name in mixers}
    with progress("measuring, round") as show:
        for done in range(ROUNDS):
            show(done + 1, ROUNDS)
            for name in mixers:
                rates[name].append(_rate(batches[name], options["device"], seconds / ROUNDS / len(mixers)))
    for loader in loaders.values():
        loader.close()
    return rates


def _rate(batches: Iterator[Any], device: str, seconds: float) -> float:
    """Images a second over whole batches, for at least so many seconds, warm-up excluded."""
    import torch

    wait: Callable[[], None] = torch.cuda.synchronize if device == "gpu" else lambda: None
    for _ in islice(batches, WARM_UP):
        pass
    wait()
    images, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        images += len(next(batches)[0])
    wait()
    return images / (time.perf_counter() - start)


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _device_name(device: str) -> str:
    if device == "cpu":
        return "CPU"
    import torch

    return f"GPU {torch.cuda.get_device_name()}"


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) < 2**31:
            raise argparse.ArgumentTypeError(f"must be a whole number >= {least}, got {text}")
        return int(text)

    return whole_number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"must be a number in (0, 3600], got {text}")
    return seconds
