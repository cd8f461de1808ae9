"""Draws what the benchmarks found: benchmarks/results/*.csv to docs/bench-*.png. Needs matplotlib.

Bars are medians, their whiskers p20 and p80, and bands around curves the same. A plot whose rows are missing is left
out, and said. Results of a GPU go to bench-*-gpu.png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from plots import costs, kernels, loaders, methods
from plots.found import Found, Missing
from plots.style import save
from results import FOLDER, say

DOCS = Path(__file__).resolve().parent.parent / "docs"
MOST = 150_000  # bytes of a picture
PLOTS = {
    "throughput": loaders.throughput,
    "workers": loaders.by_workers,
    "overhead": costs.overhead,
    "labels": costs.labels,
    "methods": methods.methods,
    "mixing": kernels.mixing,
    "kernels": kernels.by_copy,
    "forms": kernels.by_forms,
    "scaling": kernels.scaling,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the CSV (default: benchmarks/results)")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the pictures (default: docs)")
    parser.add_argument("--only", nargs="+", choices=PLOTS, default=list(PLOTS), metavar="PLOT", help=", ".join(PLOTS))
    options = parser.parse_args()
    drawn = 0
    for device in ("cpu", "gpu"):
        found = Found(options.results, device)
        for name in options.only if found.rows else ():
            path = options.out / f"bench-{name}{'-gpu' if device == 'gpu' else ''}.png"
            try:
                save(PLOTS[name](found), path)
            except Missing as missing:
                say(f"{path.name} left out: {missing}")
                continue
            drawn += 1
            size = path.stat().st_size
            print(f"{path}  {size / 1000:.0f} kB{', MORE THAN IT SHOULD' if size > MOST else ''}")
    if not drawn:
        say(f"nothing drawn: no results in {options.results}; the benchmarks write them")
    return int(not drawn)


if __name__ == "__main__":
    sys.exit(main())
