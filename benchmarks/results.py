"""What a benchmark found, as rows of a CSV file: each with the machine, versions, commit and command it came from."""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from timing import commit, machine, versions

from dali_tokenmix import devices

FOLDER = Path(__file__).resolve().parent / "results"
TRIALS = FOLDER.parents[1] / "build" / "bench"
COLUMNS = ("benchmark", "case", "metric", "unit", "p20", "p50", "p80", "rounds", "setting")
ORIGIN = ("device", "machine", "versions", "commit", "command", "date")


class Results:
    """Rows of one run. case: what was measured. metric: of what, in unit. setting: "batch=128 size=224"."""

    def __init__(self, benchmark: str, device: str) -> None:
        self.began = time.perf_counter()
        self.benchmark, self.device, self.rows = benchmark, device, []
        found = (device, machine(device), versions(), commit(), _command(), time.strftime("%Y-%m-%d"))
        self.origin = dict(zip(ORIGIN, found, strict=True))

    def add(self, case: str, metric: str, unit: str, values: Any, **setting: Any) -> None:
        """A row from the measured values, one a round; one number stands for itself."""
        values = np.atleast_1d(np.asarray(values, np.float64))
        quantiles = (f"{value:.6g}" for value in np.percentile(values, (20, 50, 80)))
        told = " ".join(f"{name}={value}" for name, value in setting.items())
        row = (self.benchmark, case, metric, unit, *quantiles, len(values), told)
        self.rows.append(dict(zip(COLUMNS, row, strict=True)) | self.origin)

    def write(self, folder: Path | None = None) -> Path:
        """folder/<benchmark>-<device>.csv, in place of what was there, with a row for the time since all began.

        None: the published results, or build/bench for a run that options made another one.
        """
        self.add("the whole run", "wall", "s", time.perf_counter() - self.began)
        folder = folder or (FOLDER if _as_published() else TRIALS)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.benchmark}-{self.device}.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS + ORIGIN, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        return path


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of such a file; p20, p50 and p80 as numbers."""
    with path.open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    return [row | {name: float(row[name]) for name in ("p20", "p50", "p80")} for row in rows]


def common_options(parser: argparse.ArgumentParser) -> None:
    """--device, --quick and --results, the same in every script."""
    there = "gpu" if devices.gpu_problem() is None else "cpu"
    parser.add_argument("--device", choices=("cpu", "gpu"), default=there, help="(default here: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few rounds and small sizes: to see that it runs")
    parser.add_argument(
        "--results", type=Path, help="folder of the CSV (default: benchmarks/results; with other options build/bench)"
    )


def check_device(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the script with the reason where --device gpu cannot be used."""
    if options.device == "gpu" and (problem := devices.gpu_problem()):
        parser.error(f"--device gpu: {problem}")


def positive(text: str) -> int:
    """An option's whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def say(text: str, end: str = "\n") -> None:
    """What the script is doing, on stderr: stdout has the results."""
    print(text, end=end, file=sys.stderr, flush=True)


def _as_published() -> bool:
    """Whether the script was given no option but --device."""
    return not [word for word in sys.argv[1:] if word not in ("--device", "cpu", "gpu")]


def _command() -> str:
    """As it may be typed in the repository; --results is left out, it changes no figure."""
    words = iter(sys.argv[1:])
    kept = []
    for word in words:
        if word == "--results":
            next(words, None)
        elif not word.startswith("--results="):
            kept.append(word)
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *kept])
