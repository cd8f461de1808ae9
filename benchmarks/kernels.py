"""Kernels on the CPU against np.copyto of the bytes they must move. Results are checked before they are timed.

Each call gets memory that the calls before have pushed out of the caches. `python benchmarks/kernels.py --help`.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from timing import describe_machine, interleaved, spread

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.runtime import block_mask

COPIES = 4  # of everything, taken in turn
MIXERS = {"TokenMix": dtm.TokenMix(), "CutMix, half": dtm.CutMix(minmax=(0.7, 0.7)), "MixUp": dtm.MixUp()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    print(describe_machine(), flush=True)
    for layout, dtype in (("NHWC", np.uint8), ("NCHW", np.float32)):
        for name, mixer in MIXERS.items():
            mixing(name, mixer, layout, dtype, options)
    masks(options)


def mixing(name: str, mixer, layout: str, dtype, options: argparse.Namespace) -> None:
    """One line: a mixer in place, on one thread and on all, as a multiple of np.copyto of the bytes it writes."""
    size, rng = options.image_size, np.random.default_rng(0)
    shape = (options.batch_size, size, size, 3)
    plan = dtm.draw(mixer, options.batch_size, size, seed=1)
    batches = [rng.integers(0, 256, shape, np.uint8).astype(dtype) for _ in range(COPIES)]
    expected = reference.mixed(plan, batches[0])
    if layout == "NCHW":
        batches, expected = (
            [np.ascontiguousarray(b.transpose(0, 3, 1, 2)) for b in batches],
            expected.transpose(0, 3, 1, 2),
        )
    np.testing.assert_array_equal(dtm.apply(plan, batches[0].copy()), expected)

    touched = 1.0 if isinstance(mixer, dtm.MixUp) else float(plan.other.mean())
    moved = int(batches[0].nbytes * touched)
    pairs = [(np.empty(moved, np.uint8), np.ones(moved, np.uint8)) for _ in range(COPIES)]
    seconds = interleaved(
        {
            "copyto": lambda call: np.copyto(*pairs[call % COPIES]),
            "one": lambda call: dtm.apply(plan, batches[call % COPIES], threads=1),
            "two": lambda call: dtm.apply(plan, batches[call % COPIES], threads=2),
        },
        options.rounds,
    )
    copy = np.median(seconds["copyto"])
    ratios = ", ".join(f"{np.median(seconds[key]) / copy:.2f}x on {key}" for key in ("one", "two"))
    times = "  ".join(f"{key} {spread(values, 1e3)} ms" for key, values in seconds.items())
    print(f"{name:11} {np.dtype(dtype).name:7} {layout}  {moved / 1e6:5.1f} MB  {times}  = {ratios}", flush=True)


def masks(options: argparse.Namespace) -> None:
    """Microseconds a block mask on 14 x 14 tokens."""
    seeds = np.random.default_rng(0).integers(0, 2**64, 2000, np.uint64)
    for name, rules in (
        ("paper", {"total": 98, "min_area": 14, "official": False}),
        ("official", {"total": 112, "min_area": 1, "official": True}),
    ):
        seconds = interleaved(
            {name: lambda _, rules=rules: block_mask(seeds, (14, 14), log_aspect=-math.log(0.3), **rules)},
            options.rounds,
        )[name]
        print(f"block mask 14 x 14, {name}: {spread(seconds / len(seeds), 1e6)} us each, one thread, without the GIL")


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s in all")
