"""The gpu-marked tests, in a process of their own; those of the graph once more on the documented operator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FALLBACK = "DALI_TOKENMIX_FALLBACK"
# Without DALI these are left. On the fallback only tests with a graph have anything to say; those of streams.py ask for
# the usual operator, which alone is in place.
NO_DALI = ("kernels", "apply", "block_mask", "geometry", "labels", "scoring", "relabel", "teacher", "losses")
GRAPHS = ("op", "fn", "loader", "pipeline", "supervision", "scored_pipelines", "make_labels", "gpu_graphs")
WORDS = ("passed", "failed", "skipped", "error")


def rows(on_gpu: bool, dali: bool, quick: bool) -> list[dict[str, Any]]:
    """Counts of each run. Raises AssertionError where a test failed, or on a GPU where none ran."""
    runs = [("all", "0", ()), ("graphs, fallback operator", "1", GRAPHS)]
    if not dali:
        runs = [("all that needs no DALI", "0", NO_DALI)]
    elif quick:
        runs = [("kernels", "0", ("kernels",)), ("graphs, fallback operator", "1", ("supervision",))]
    found = []
    for name, fallback, files in runs:
        counts, ran = counted(fallback, files)
        found.append({"tests": name, **counts})
        assert ran.returncode in (0, 5), f"{name}: pytest ended with {ran.returncode}: {ran.stdout[-1500:]}"
        assert counts["passed"] or not on_gpu, f"{name}: no gpu test ran: {ran.stdout[-600:]}"
    return found


def counted(fallback: str, files: tuple[str, ...]) -> tuple[dict[str, int], subprocess.CompletedProcess]:
    """How many passed, failed, were skipped, and what pytest said."""
    paths = [str(path) for name in files if (path := ROOT / "tests" / f"test_{name}.py").is_file()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *paths]
    env = os.environ | {FALLBACK: fallback}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    last = (ran.stdout.strip().splitlines() or [""])[-1]
    return {word: sum(map(int, re.findall(rf"(\d+) {word}", last))) for word in WORDS}, ran
