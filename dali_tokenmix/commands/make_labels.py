"""Runs a teacher over your images, once, and stores its activation maps, for training without the teacher.

Killed, the same command goes on where it was. Under torchrun every process labels its part, and the last one to finish
makes the store.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from .. import devices
from ..dataset import ImageFolder, scan
from ..label_store import LabelStore
from .doctor import is_installed

HELP = "run a teacher over your images and store its activation maps"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="your images, a folder for each class")
    parser.add_argument("--out", type=Path, required=True, help="the store to write, a safetensors file")
    add_teacher_arguments(parser)
    parser.add_argument("--activation", choices=("relu", "softmax"), default="relu", help="default: %(default)s")
    parser.add_argument("--autocast", choices=("bfloat16", "float16"), help="for the teacher (default: none)")
    parser.add_argument("--image-size", type=int, help="side of its input in pixels (default: its own)")
    parser.add_argument(
        "--maps",
        choices=("uint8", "float16", "none"),
        default="uint8",
        help="of the images' own classes: how to store them (default: %(default)s)",
    )
    parser.add_argument("--topk", type=int, default=0, help="classes to store at each place (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="default: the GPU if there is one")
    parser.add_argument("--num-threads", type=int, help="of DALI, and of torch on the CPU (default: the CPUs)")
    parser.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="skip: leave out files that cannot be decoded, as Loader(on_error='skip') does (default: %(default)s)",
    )


def run(given: argparse.Namespace) -> int:
    """Returns the exit code. Raises ValueError, OSError, RuntimeError or ImportError for what the user can mend."""
    device = devices.resolve(given.device)
    require(("nvidia.dali", "torch"), devices.EXTRAS)
    import torch

    from ..label_store.maker import make_labels
    from ..settings import threads
    from ..teacher import Teacher

    here = _number("LOCAL_WORLD_SIZE", 1)  # processes on this machine: torchrun gives each of them one thread of torch
    num_threads = given.num_threads or max(1, threads(None) // here)
    if given.num_threads or here > 1:
        torch.set_num_threads(num_threads)
    if device == "gpu":
        torch.cuda.set_device(_number("LOCAL_RANK", 0))
    data = _data(given)
    teacher = Teacher.from_name(
        given.teacher,
        checkpoint=given.checkpoint,
        image_size=given.image_size,
        model_options={"num_classes": given.num_classes} if given.num_classes else {},
        device="cuda" if device == "gpu" else "cpu",
        autocast=given.autocast,
        activation=given.activation,
        classes=read_classes(given.classes, data) if given.classes else None,
    )
    shard, shards = _number("RANK", 0), _number("WORLD_SIZE", 1)
    store = make_labels(
        data,
        teacher,
        given.out,
        maps=None if given.maps == "none" else given.maps,
        topk=given.topk,
        batch_size=given.batch_size,
        device=device,
        num_threads=num_threads,
        shard_id=shard,
        num_shards=shards,
    )
    if store is None:
        print(f"shard {shard} of {shards} is done; the last one to finish makes {given.out}")
    else:
        print(summary(store))
    return 0


def add_teacher_arguments(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Which teacher, and which of its classes each folder is. default: the teacher of a command that has one."""
    usual = f" (default: {default})" if default else ", such as timm:resnet26"
    order = "what it sees in some of its images" if default else "the folders in sorted order"
    parser.add_argument(
        "--teacher",
        required=default is None,
        help=f"timm:<model>, torchvision:<model> or efficientnet-lite0{usual}",
    )
    parser.add_argument("--checkpoint", type=Path, help="a local file with its weights (default: fetch them)")
    parser.add_argument("--num-classes", type=int, help="of its head, for a checkpoint that has not the usual number")
    parser.add_argument(
        "--classes",
        type=Path,
        help=f"a text file with a line '<class folder> <class of the teacher>' for each folder (default: {order})",
    )


def summary(store: LabelStore) -> str:
    """What is in a store, in one line."""
    h, w = store.map_size
    blank = store.blank() if store.map_type else 0
    zero = f", {blank} of them all zero" if blank else ""
    held = [f"maps of {h} x {w} ({store.map_type}{zero})"] if store.map_type else []
    held += [f"top {store.k} classes of {h} x {w}"] if store.k else []
    size = store.path.stat().st_size / 1e6
    return f"{store.path}: {' and '.join(held)} of {len(store)} images, {size:.3g} MB"


def require(modules: Sequence[str], command: str) -> None:
    """Raises ImportError with the command that installs what is missing."""
    for module in modules:
        if not is_installed(module):
            raise ImportError(f"{module} is not installed: {command}")


def read_classes(path: Path, data: ImageFolder) -> list[int]:
    """The teacher's class of each class folder, from a file of lines '<folder> <class>'."""
    found = {}
    for line in path.read_text().splitlines():
        folder, _, number = line.strip().rpartition(" ")
        if line.strip():
            if not number.isdecimal():
                raise ValueError(f"--classes {path}: a line must be '<class folder> <number>', got {line!r}")
            found[folder.strip()] = int(number)
    if missing := [name for name in data.classes if name not in found]:
        raise ValueError(f"--classes {path} has no line for the class folder {missing[0]}")
    return [found[name] for name in data.classes]


def _data(given: argparse.Namespace) -> ImageFolder:
    from ..readable import readable
    from ..settings import threads

    data = scan(given.root, skip=given.on_error == "skip")
    if given.on_error == "raise":
        return data
    return readable(data, num_threads=threads(given.num_threads))


def _number(variable: str, otherwise: int) -> int:
    """Of torchrun's environment. Raises ValueError unless it is a whole number."""
    text = os.environ.get(variable, str(otherwise))
    if not text.isdecimal():
        raise ValueError(f"{variable} must be a whole number, as torchrun sets it, got {text!r}")
    return int(text)
