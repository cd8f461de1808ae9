"""Training images a second from JPEG files: our Loader, the loaders people use, and how fast the parts could go.

All read the same files and make the same: RandomResizedCrop to 224, flip, float32 NCHW normalised, on as many CPUs,
with as many threads or worker processes. Each has a process of its own, which stands still while others run. First
each is alone: its output is compared with torchvision's, and its memory (proportional set size, workers included) is
sampled. Then they take turns, in an order that is drawn each round; only our own Loader's epochs end during a turn. CPU
time is that of the process and its workers. First batch: from the call that makes the loader, imports are over by then;
the CSV has them in a row of their own. The ceilings, reading, decoding and resizing alone, take turns with the loaders.

Not apples to apples: FFCV reads one file that was packed before, and resizes by area; SPDL resizes before it converts
to RGB; timm mixes too, by Mixup and CutMix; torchvision, SPDL, FFCV and plain DALI do not mix. Stored maps are noise.
The teacher online is EfficientNet-Lite0 at 112 pixels in bfloat16, where it is installed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from loaders import table
from loaders.output import amount_bounds
from loaders.task import CEILINGS, DECODE_CROP, LOADERS, SCORED, TEACHER, TOKEN_MIX, TORCHVISION, Task
from loaders.turns import Alone, Entrant, alone, amounts, tell, timed
from photographs import make_photographs, parse
from results import Results, check_device, common_options, positive, say

from dali_tokenmix.dataset import scan

EVERY = {TEACHER: 4} | dict.fromkeys(set(CEILINGS) - {DECODE_CROP}, 2)  # rounds: what is slow or steady gets fewer
CURVE_EVERY = 3
LOOKED_AT = 512  # images of each loader that are compared with torchvision's


def main() -> None:
    options = parsed_options()
    began, results = time.perf_counter(), Results("throughput", options.device)
    with tempfile.TemporaryDirectory() as made:
        task = Task(str(photographs(made, options)), made, options.batch_size, options.workers, options.device)
        entrants = chosen(options)
        found, missing = checked(entrants, task)
        there = [entrant for entrant in entrants if entrant.name not in missing]
        measured = timed(there, task, options.batches, options.rounds, options.processes)
    files = "given" if options.root else options.sizes
    table.add_rows(results, found, measured, batch=options.batch_size, files=files)
    table.show(found, measured, missing, options.workers, judged=as_judged(options))
    print(f"\n{results.write(options.results)}: {len(results.rows)} rows, {time.perf_counter() - began:.0f} s in all")


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [name for name in (*LOADERS, *CEILINGS) if name != TORCHVISION]
    parser.add_argument("--root", type=Path, help="class folders of JPEG files; left out, photographs are made")
    parser.add_argument("--sizes", default="500x375", help="of those: WIDTHxHEIGHT or imagenet (default: %(default)s)")
    parser.add_argument("--photographs", type=positive, help="how many are made (default: 512)")
    parser.add_argument("--batch-size", type=positive, help="(default: 64)")
    parser.add_argument(
        "--workers", type=positive, default=len(os.sched_getaffinity(0)), help="threads, processes, CPUs"
    )
    parser.add_argument("--batches", type=positive, help="in a turn (default: 10)")
    parser.add_argument("--rounds", type=positive, help="(default: 7)")
    parser.add_argument("--processes", type=positive, help="each loader is started so many times (default: 2)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        default=names,
        metavar="NAME",
        help=f"beside torchvision v1, of: {'; '.join(names)}",
    )
    parser.add_argument("--no-curve", action="store_true", help="leave out other numbers of workers")
    common_options(parser)
    options = parser.parse_args()
    usual = {"photographs": 512, "batch_size": 64, "batches": 10, "rounds": 7, "processes": 2}
    quick = {"photographs": 256, "batch_size": 32, "batches": 2, "rounds": 2, "processes": 1}
    for name, value in (quick if options.quick else usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    try:
        parse(options.sizes)
    except ValueError as error:
        parser.error(str(error))
    check_device(parser, options)
    if options.root and len(scan(options.root).files) < options.batch_size:
        parser.error(f"--root must have a batch of images, {options.batch_size}, got {len(scan(options.root).files)}")
    return options


def as_judged(options: argparse.Namespace) -> bool:
    """Whether this run is what the targets were set for."""
    cores, usual = len(os.sched_getaffinity(0)), (options.root, options.sizes, options.batch_size)
    return usual == (None, "500x375", 64) and options.workers == cores and not options.quick


def photographs(made: str, options: argparse.Namespace) -> Path:
    """The class folders to read."""
    if options.root:
        return options.root
    say(f"making {options.photographs} photographs, {options.sizes}")
    return make_photographs(Path(made) / "photographs", options.photographs, options.sizes)


def chosen(options: argparse.Namespace) -> list[Entrant]:
    """torchvision first, what was asked for, and for the curve ours and torchvision's with other numbers of workers."""
    names = [name for name in (*LOADERS, *CEILINGS) if name in (TORCHVISION, *options.only)]
    found = [Entrant(name, options.workers, EVERY.get(name, 1)) for name in names]
    if options.no_curve or options.quick:
        return found
    cores = len(os.sched_getaffinity(0))
    counts = {2**k for k in range(cores.bit_length())} | {cores, 2 * cores}
    return found + [
        Entrant(name, count, CURVE_EVERY)
        for count in sorted(counts - {options.workers})
        for name in (TORCHVISION, TOKEN_MIX)
        if name in names
    ]


def checked(entrants: list[Entrant], task: Task) -> tuple[dict[str, Alone], dict[str, str]]:
    """What each loader is found to be when alone, and why some cannot be had.

    Raises AssertionError for a loader that does not make what torchvision does, and for a ceiling that is none.
    """
    names = {entrant.name for entrant in entrants}
    classes = len(scan(task.root).classes)
    batches = -(-LOOKED_AT // task.batch_size)
    found: dict[str, Alone] = {}
    missing: dict[str, str] = {}
    for name in (name for name in LOADERS if name in names):
        tell(f"checking {name}")
        seen = alone(name, task, batches, classes)
        if isinstance(seen, str):
            missing[name] = seen
            continue
        found[name] = seen
        if name == TORCHVISION and not seen.output.by_class:
            say(f"labels are not compared: {LOOKED_AT} images do not tell {classes} classes apart by their colours")
        wrong = seen.output.differences(found[TORCHVISION].output, scored=name in SCORED)
        assert not wrong, f"{name} does not make what torchvision does: {'; '.join(wrong)}"
    tell("checking the ceilings")
    for name, each in amounts([name for name in CEILINGS if name in names], task, batches).items():
        low, high = amount_bounds(name, task)
        assert low <= each <= high, f"{name}: {each:.0f} an image, expected {low:.0f} to {high:.0f}"
    tell("\n")
    return found, missing


if __name__ == "__main__":
    main()
