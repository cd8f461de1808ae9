"""The paper's overhead table on this machine: what mixing and its labels cost beside a training step, and the Loader.

For each way to mix and to label, the graph's own functions on a batch (uint8, in place) and the usual way after a
loader (float32, timm's Mixup for CutMix, plain torch for TokenMix, label maps with a plane for every class) take turns,
after a check that both make the same pixels and targets of the same plan and maps. Ours draws a box or mask for each
pair, the usual way one for the batch, as timm and the released code do. The usual way's copies and planes are new
memory for every batch; its numbers of a store are in memory already, ours are looked up in the file.

A whole step with mixing and one without differ by less than two of the same kind, so mixing and step are timed apart
and the shares are quotients: of GPU time by events on a GPU, of time by the wall on a CPU, as if nothing overlapped. In
a pipeline mixing runs ahead of the step. --whole ROUNDS times whole steps as well.

The Loader then makes batches from files, row by row, and the verdict says whether the model or the loader is waited
for. Teachers have random weights, and stored labels are noise: what they cost does not depend on that.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from gpu.place import Cpu, Gpu
from overheads import check, loaders, report
from overheads.given import batches, write_store
from overheads.measure import Measured, measured
from overheads.rows import Row, known_teachers, table
from overheads.steps import Step
from photographs import make_photographs
from results import Results, check_device, common_options, positive, say
from timing import describe_machine
from traffic import Shapes

import dali_tokenmix as dtm
from dali_tokenmix.dataset import scan

DEIT_TINY, CLASSES, MAPS = "deit_tiny_patch16_224", 1000, (18, 18)
TEACHERS = {"cpu": 2, "gpu": 3}  # the third, a ResNet-50, takes as long as a step on a CPU
BUSY = 0.5  # load from which on figures are worth little
MOST_FILES = 4096  # of a data set that is given: each has labels of 10 kB in a store that is made for it


def main() -> int:
    options = arguments()
    begin, place = time.perf_counter(), Gpu() if options.device == "gpu" else Cpu()
    results = Results("overhead", options.device)
    setting = {"model": options.model, "batch": options.batch_size, "amp": options.amp, "compile": options.compile}
    print(f"{describe_machine()}\n{options.model}, batch {options.batch_size}, on the {options.device.upper()}", end="")
    print(f"; torch on {torch.get_num_threads()} threads; load {os.getloadavg()[0]:.2f}\n", flush=True)
    if options.device == "cpu" and os.getloadavg()[0] > BUSY:
        print("The machine is busy: a step that is slowed down makes shares of it look smaller than they are.\n")
    with tempfile.TemporaryDirectory() as folder:
        say("data set, store, teachers, model")
        torch.manual_seed(0)
        root = data_set(options, Path(folder))
        data = scan(root)
        s = shapes(options, max(CLASSES, len(data.classes)))
        store = write_store(Path(folder) / "labels", data, s)
        asked = table(s.patch, teachers(options, s, place))
        steps = {} if options.no_training else {options.model: step_of(options, s, place)}
        found = mixing(asked, batches(store, s), steps, place, options)
        report.mixing(asked, found, results, place, setting)
        report.claims(found, place)
        report.bounds(found, judged=as_bounded(options))
        sys.stdout.flush()
        asked = [row for row in asked if row.usual]
        made = loaders_of(asked, root, store, s, options)
        turns = loaders.measured(asked, made, place, options.loader_rounds, options.teacher_rounds)
        report.loaders(asked, turns, found, results, place, setting)
        for step in steps.values() if options.whole else ():
            report.whole(loaders.whole_steps(asked, made, step, place, options.whole), results, setting)
    print(f"\n{results.write(options.results)}\n{time.perf_counter() - begin:.0f} s; load {os.getloadavg()[0]:.2f}")
    return 0


def as_bounded(options: argparse.Namespace) -> bool:
    """Whether this run is what the bounds were set for: report.SET_FOR."""
    usual = options.model == DEIT_TINY and options.batch_size == 32
    return options.device == "cpu" and usual and not options.amp and not options.compile


def mixing(asked: list[Row], given: list, steps: dict[str, Step], place: Cpu, options: argparse.Namespace) -> Measured:
    """Checked, then timed."""
    say("checking that both ways make the same")
    for row in asked:
        say(f"  {row.name}")
        check.agree(row, given[0], place)
    return measured(asked, given, steps, place, rounds=options.rounds, step_rounds=options.step_rounds)


def loaders_of(
    asked: list[Row], root: Path, store: dtm.LabelStore, s: Shapes, options: argparse.Namespace
) -> dict[str, dtm.Loader]:
    """A Loader a row, by name, checked."""
    common: dict[str, Any] = {"image_size": (s.height, s.width), "num_classes": s.classes, "batch_size": s.batch}
    common |= {"device": options.device, "num_threads": options.workers}
    made = {row.name: loaders.loader_of(row, root, store, **common) for row in asked}
    say("checking the loaders")
    loaders.check(made)
    return made


def teachers(options: argparse.Namespace, s: Shapes, place: Cpu) -> dict[str, dtm.Teacher]:
    more: dict[str, Any] = {} if s.classes == CLASSES else {"model_options": {"num_classes": s.classes}}
    more |= {"device": place.torch_device, "autocast": "bfloat16" if options.amp else None}
    return {name: dtm.Teacher.from_name(name, pretrained=False, **more) for name in options.teachers}


def step_of(options: argparse.Namespace, s: Shapes, place: Cpu) -> Step:
    model = timm.create_model(options.model, pretrained=False, num_classes=s.classes)
    return Step(model, s, place, amp=options.amp, compile=options.compile)


def shapes(options: argparse.Namespace, classes: int) -> Shapes:
    height, width = options.image_size
    return Shapes(options.batch_size, height, width, patch=options.patch_size, classes=classes, map_size=MAPS)


def data_set(options: argparse.Namespace, folder: Path) -> Path:
    """The folder given, or links to MOST_FILES of its images if it has more, or photographs that are made."""
    if options.root is None:
        return make_photographs(folder / "photographs", 8 * options.batch_size if options.quick else 512)
    data = scan(options.root)
    if len(data.files) <= MOST_FILES:
        return options.root
    for k in np.random.default_rng(0).choice(len(data.files), MOST_FILES, replace=False):
        link = folder / "links" / data.files[k]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(data.root / data.files[k])
    return folder / "links"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_options(parser)
    parser.add_argument("--model", default=DEIT_TINY, help="that is trained, of timm (default: %(default)s)")
    parser.add_argument("--batch-size", type=positive, help="even (default: 32; quick: 4)")
    parser.add_argument("--amp", action="store_true", help="model and teachers under autocast to bfloat16")
    parser.add_argument("--compile", action="store_true", help="the model through torch.compile")
    parser.add_argument("--no-training", action="store_true", help="mixing and Loader only, no steps")
    parser.add_argument("--root", type=Path, help="class folders (default: 500 x 375 JPEGs, made of photographs)")
    parser.add_argument(
        "--teachers",
        nargs="*",
        metavar="NAME",
        help="as Teacher.from_name has them (default: efficientnet-lite0, where it is installed, and resnets)",
    )
    parser.add_argument("--patch-size", type=positive, default=16, help="of a token, in pixels (default: %(default)s)")
    parser.add_argument("--rounds", type=positive, help="of mixing (default: 60; quick: 3)")
    parser.add_argument("--step-rounds", type=positive, help="of steps and teachers online (default: 6; quick: 2)")
    parser.add_argument("--loader-rounds", type=positive, help="of the Loader (default: 6; quick: 1)")
    parser.add_argument("--teacher-rounds", type=positive, help="of those with a teacher (default: 2; quick: 1)")
    parser.add_argument("--whole", type=int, default=0, metavar="ROUNDS", help="of whole steps too (default: none)")
    parser.add_argument("--workers", type=positive, default=len(os.sched_getaffinity(0)), help="threads of a Loader")
    options = parser.parse_args()
    usual = {"batch_size": (32, 4), "rounds": (60, 3), "step_rounds": (6, 2), "loader_rounds": (6, 1)}
    for name, values in (usual | {"teacher_rounds": (2, 1)}).items():
        if getattr(options, name) is None:
            setattr(options, name, values[options.quick])
    if options.teachers is None:
        options.teachers = known_teachers(1 if options.quick else TEACHERS[options.device])
    check_device(parser, options)
    if options.batch_size % 2:
        parser.error("--batch-size must be even: timm's Mixup mixes no other")
    if not timm.is_model(options.model):
        parser.error(f"--model must be one of timm {timm.__version__}, got {options.model}")
    if options.root and len(scan(options.root).files) < options.batch_size:
        parser.error(f"--root must have a batch of images, {options.batch_size}, got {len(scan(options.root).files)}")
    known = timm.models.get_pretrained_cfg(options.model)
    options.image_size = known.input_size[1:] if known else (224, 224)
    if any(side % options.patch_size for side in options.image_size):
        parser.error(
            f"--patch-size must divide the model's images of {options.image_size}: the usual way does no other"
        )
    return options


if __name__ == "__main__":
    sys.exit(main())
