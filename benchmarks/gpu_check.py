"""One command for the first machine with a GPU: are the kernels right there, how fast, and what does mixing cost?

Runs the gpu-marked tests, then every kernel against the CPU and NumPy and against a device copy of as many bytes, a
teacher, the Loader and the overhead of mixing. Writes benchmarks/results/gpu-<card>.json and .md. Kernels, targets,
teacher and overhead need CuPy (cupy-cuda12x or cupy-cuda13x) and torch, and no DALI; what is missing is skipped and
said. A section that fails does not stop the others; the exit status is then 1. --device cpu is a dry run of the same
code on CPU arrays, whose figures say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpu import report
from gpu.place import Cpu, Gpu
from traffic import Shapes

from dali_tokenmix.devices import gpu_problem

RESULTS = Path(__file__).resolve().parent / "results"
LAST_LINES = 12  # of a traceback
TIMES = "A figure is the median, p20..p80 in brackets."
GBS = f"GB/s: of the bytes that the kernel must move; a copy of as many is timed in turns with it. {TIMES}"


@dataclass(frozen=True)
class Section:
    """run(place, shapes, options) -> rows. needs: modules without which it is skipped."""

    about: str
    run: Callable[[Cpu, Shapes, argparse.Namespace], list[dict[str, Any]]]
    needs: tuple[str, ...] = ()


def main() -> int:
    options = arguments()
    if options.device == "gpu" and (problem := gpu_problem()):
        print(f"gpu_check: {problem}; or try --device cpu, a dry run", file=sys.stderr)
        return 2
    place, dry = (Cpu(), True) if options.device == "cpu" else (Gpu(), False)
    shapes = (
        Shapes(batch=options.batch_size or 8, height=64, width=64, classes=10)
        if options.quick
        else Shapes(batch=options.batch_size or 128)
    )
    found: dict[str, Any] = {"dry_run": dry, "machine": report.machine(place), "shapes": asdict(shapes)}
    found |= {"rounds": options.rounds, "sections": {}}
    folder = options.out or (Path(tempfile.mkdtemp(prefix="gpu-check-")) if dry else RESULTS)
    for name in options.only or SECTIONS:
        print(f"{name} ...", end=" ", flush=True)
        found["sections"][name] = carried_out(SECTIONS[name], place, shapes, options)
        print(found["sections"][name]["status"], found["sections"][name].get("reason", ""), flush=True)
        paths = report.write(found, folder)  # after each section: nothing is lost if the machine goes
    print("\n".join(map(str, paths)))
    return int(any(section["status"] == "failed" for section in found["sections"].values()))


def carried_out(section: Section, place: Cpu, shapes: Shapes, options: argparse.Namespace) -> dict[str, Any]:
    """Status "ok", "skipped" or "failed", why, how long it took, and the rows."""
    start = time.perf_counter()
    told: dict[str, Any] = {"status": "ok", "about": section.about}
    try:
        if missing := [name for name in section.needs if not is_there(name)]:
            told |= {"status": "skipped", "reason": f"skipped: not installed: {', '.join(missing)}"}
        else:
            told["rows"] = section.run(place, shapes, options)
    except Exception:  # whatever it is, the other sections still have something to say
        told |= {"status": "failed", "reason": "\n".join(traceback.format_exc().splitlines()[-LAST_LINES:])}
    return told | {"seconds": time.perf_counter() - start}


def is_there(name: str) -> bool:
    """Whether a module can be imported; one that is there and broken raises its own error."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not name.startswith(error.name or name):
            raise
        return False
    return True


def tests(place: Cpu, shapes: Shapes, options: argparse.Namespace) -> list[dict[str, Any]]:
    from gpu import suite

    return suite.rows(place.device == "gpu", is_there("nvidia.dali"), options.quick)


def kernels(place: Cpu, shapes: Shapes, options: argparse.Namespace) -> list[dict[str, Any]]:
    from gpu import images

    return all_cases(images.cases(shapes), place, options)


def methods(place: Cpu, shapes: Shapes, options: argparse.Namespace) -> list[dict[str, Any]]:
    from gpu import methods

    return all_cases(methods.cases(shapes), place, options)


def targets(place: Cpu, shapes: Shapes, options: argparse.Namespace) -> list[dict[str, Any]]:
    from gpu import labels

    return all_cases(labels.cases(shapes), place, options)


def all_cases(cases: Iterable, place: Cpu, options: argparse.Namespace) -> list[dict[str, Any]]:
    from gpu.cases import timed

    return [row for case in cases for row in timed(case, place, options.rounds)]


def teacher(place: Cpu, shapes: Shapes, options: argparse.Namespace) -> list[dict[str, Any]]:
    from gpu import teacher

    return teacher.rows(shapes, place, options.rounds)


def loader(place: Cpu, shapes: Shapes, options: argparse.Namespace) -> list[dict[str, Any]]:
    from gpu import loading

    return loading.rows(place, options)


def overhead(place: Cpu, shapes: Shapes, options: argparse.Namespace) -> list[dict[str, Any]]:
    from gpu import overhead

    return overhead.rows(shapes, place, options.rounds)


SECTIONS = {
    "tests": Section(
        "pytest -m gpu, and tests of the graph once more with the fallback operator.",
        tests,
        ("pytest", "hypothesis", "torch", "torchvision", "timm", "PIL", "skimage"),
    ),
    "kernels": Section(f"Mixing and mirroring in place, in every width of access. {GBS}", kernels),
    "methods": Section(f"What further methods look at, place and patch together, in place. {GBS}", methods),
    "targets": Section(f"Crop, score, targets, relabel, token labels, each kernel alone. {GBS}", targets),
    "teacher": Section(f"A small Teacher against the same one on the CPU; wall clock. {TIMES}", teacher, ("torch",)),
    "loader": Section(
        f"Images a second from 500 x 375 JPEGs to the device; the fallback operator's batches are the same. {TIMES}",
        loader,
        ("nvidia.dali", "torch", "PIL", "skimage"),
    ),
    "overhead": Section(
        "From clean images and labels to mixed ones and targets, ours and the usual way, beside a training step; by "
        f"events. The teacher is a toy: benchmarks/overhead.py has real ones. {TIMES}",
        overhead,
        ("torch",),
    ),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="cpu: a dry run (default: gpu)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="small images, few rounds: for tests of this script")
    parser.add_argument("--out", type=Path, help="folder of the report (default: benchmarks/results; dry: a new one)")
    parser.add_argument("--batch-size", type=int, help="of kernels and overhead (default: 128; quick: 8)")
    parser.add_argument("--rounds", type=int, help="of a timing (default: 30; quick: 3)")
    options = parser.parse_args()
    quick = options.quick
    options.rounds = options.rounds or (3 if quick else 30)
    options.loader_batch, options.photographs, options.batches = (8, 32, 2) if quick else (128, 1024, 12)
    options.workers = 2 if quick else len(os.sched_getaffinity(0))
    if options.device == "cpu" and options.out and options.out.resolve().is_relative_to(RESULTS):
        parser.error("a dry run does not belong into benchmarks/results: choose another folder for --out")
    return options


if __name__ == "__main__":
    sys.exit(main())
