"""What dtm.fn.token_mix costs in a pipeline that is there already, beyond the mixing itself: milliseconds a batch.

The stock pipeline hands out a batch that is in memory, so that no decoder's noise drowns the difference; every run is
waited for (one batch ahead). "By hand" takes its batch and mixes it afterwards, with draw, apply and soft_targets on
one thread: the same work, with no operator around it. What the pipeline with token_mix takes beyond that is what the
operators cost. Against it the documented fn.python_function, which has no work at all to do here, whole batches or
sample by sample, and token_mix on top of it (DALI_TOKENMIX_FALLBACK=1). All take turns. `python benchmarks/embedded.py
--help`.

glibc is told to keep the memory that it is given back (KEEP): else any of these ways, the stock pipeline among them,
may find itself taking thousands of page faults a batch, and another none.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
from nvidia.dali import fn, pipeline_def
from nvidia.dali.pipeline import Pipeline
from results import Results, check_device, common_options, positive, say
from timing import describe_machine, spread, turns, verdict

import dali_tokenmix as dtm
from dali_tokenmix import op

KEEP = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_TOP_PAD_": "268435456"}
CLASSES, SIDE, SEED = 1000, 224, 3
FORMS = {"uint8 NHWC": ("uint8", "HWC"), "float16 NCHW": ("float16", "CHW"), "float32 NCHW": ("float32", "CHW")}
MIXER = dtm.TokenMix()
MOST_MS, LEAST_MS = 0.3, 2  # of token_mix's operators, and of a python_function
WAYS = {  # name: what is done to the images and labels
    "stock": lambda images, labels: (images, labels),
    "token_mix, in place": lambda images, labels: mixed(images, labels, inplace=True),
    "token_mix, a copy": lambda images, labels: mixed(images, labels, inplace=False),
    "stock and a copy": lambda images, labels: (fn.copy(images, preserve=True, bytes_per_sample_hint=1), labels),
    "python_function, batch": lambda images, labels: (through(images, batch_processing=True), labels),
    "python_function, samples": lambda images, labels: (through(images), labels),
    "token_mix on python_function": lambda images, labels: mixed(images, labels, inplace=True),
}
BEYOND = {  # what is told: the ways whose difference it is
    "token_mix beyond the mixing": ("token_mix, in place", "by hand"),
    "python_function, batch": ("python_function, batch", "stock"),
    "python_function, samples": ("python_function, samples", "stock"),
    "token_mix on python_function": ("token_mix on python_function", "by hand"),
    "the copy that inplace=False makes": ("token_mix, a copy", "token_mix, in place"),
}


def main() -> None:
    options = arguments()
    results = Results("embedded", options.device)
    print(f"{describe_machine()}; {options.device}; load {os.getloadavg()[0]:.2f}")
    for form in FORMS:
        judge(form, measured(form, options), options, results)
    say(f"{len(results.rows)} rows in {results.write(options.results)}; load {os.getloadavg()[0]:.2f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_options(parser)
    parser.add_argument("--batch-size", type=positive, help="(default: 128; quick: 8)")
    parser.add_argument("--rounds", type=positive, help="(default: 150; quick: 3)")
    parser.add_argument("--workers", type=positive, default=len(os.sched_getaffinity(0)), help="threads of a pipeline")
    options = parser.parse_args()
    check_device(parser, options)
    options.batch_size = options.batch_size or (8 if options.quick else 128)
    options.rounds = options.rounds or (3 if options.quick else 150)
    return options


def measured(form: str, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Seconds of a batch by each way, by the clock and of CPU time, (2, rounds), once they are known to agree."""
    pipelines = {name: pipeline(name, form, options) for name in WAYS}
    check(form, pipelines, options)
    say(f"timing {form}")
    work: dict[str, Callable[[int], object]] = {
        name: lambda call, of=of: finished(of.run()) for name, of in pipelines.items()
    }
    stock = pipelines["stock"]
    work["by hand"] = lambda call: by_hand(stock, call, options)
    seconds = {name: np.zeros((2, options.rounds)) for name in work}
    for call, (number, name) in enumerate(turns(work, options.rounds)):
        begin = np.array([time.perf_counter(), time.process_time()])
        work[name](call)
        if number >= 0:
            seconds[name][:, number] = np.array([time.perf_counter(), time.process_time()]) - begin
    return seconds


def pipeline(name: str, form: str, options: argparse.Namespace) -> Pipeline:
    dtype, layout = FORMS[form]
    rng = np.random.default_rng(0)
    shape = (SIDE, SIDE, 3) if layout == "HWC" else (3, SIDE, SIDE)
    images = rng.integers(0, 256, (options.batch_size, *shape), dtype=np.uint8).astype(dtype)
    labels = rng.integers(0, CLASSES, (options.batch_size, 1)).astype(np.int32)

    @pipeline_def(
        batch_size=options.batch_size,
        num_threads=options.workers,
        device_id=0 if options.device == "gpu" else None,
        prefetch_queue_depth=1,
        seed=SEED,
    )
    def graph():
        batch = fn.external_source(source=lambda: images, batch=True, layout=layout, no_copy=True)
        ids = fn.external_source(source=lambda: labels, batch=True, no_copy=True)
        batch = fn.copy(batch)  # the decoder's, say: memory of the pipeline's own
        return WAYS[name](batch.gpu() if options.device == "gpu" else batch, ids)

    with patch.dict(os.environ, {op.FALLBACK: "1"} if "on python" in name else {}):
        made = graph()
    made.build()
    return made


def mixed(images, labels, *, inplace: bool):
    return dtm.fn.token_mix(images, labels, num_classes=CLASSES, mixer=MIXER, seed=SEED, inplace=inplace)


def through(images, **options):
    device = images.device
    return fn.python_function(images, function=lambda given: given, device=device, **options)


def by_hand(stock: Pipeline, call: int, options: argparse.Namespace) -> tuple[torch.Tensor, np.ndarray]:
    """A batch of the stock pipeline, mixed once it is there; one thread, as token_mix has in somebody's pipeline."""
    batch, labels = stock.run()
    images = torch.from_dlpack(batch.as_tensor())
    plan = dtm.draw(MIXER, options.batch_size, SIDE, seed=call)
    dtm.apply(plan, images, threads=1)
    targets = dtm.soft_targets(plan, labels.as_array().reshape(-1), CLASSES, smoothing=0.1)
    return finished((images,)), targets


def finished(outputs):
    """The first output, once it is there."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return outputs[0]


def check(form: str, pipelines: dict[str, Pipeline], options: argparse.Namespace) -> None:
    """Raises AssertionError unless all ways that mix give the same batch, and each pixel is of one of two images."""
    arrays = {}
    for name, made in pipelines.items():
        batch, others = made.run()
        arrays[name] = [np.asarray(part.as_cpu().as_array()).copy() for part in (batch, others)]
    clean = arrays["stock"][0]
    images, targets = arrays["token_mix, in place"]
    assert ((images == clean) | (images == clean[::-1])).all()
    assert (images != clean).any()
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
    for name in ("token_mix, a copy", "token_mix on python_function"):
        for one, other in zip(arrays[name], (images, targets), strict=True):
            np.testing.assert_array_equal(one, other)
    for name in ("stock and a copy", "python_function, batch", "python_function, samples"):
        np.testing.assert_array_equal(arrays[name][0], clean)


def judge(form: str, seconds: dict[str, np.ndarray], options: argparse.Namespace, results: Results) -> None:
    """Prints the times and differences of a form, adds their rows, and holds them against the targets."""
    told = {"batch": options.batch_size, "size": SIDE, "threads": options.workers}
    print(f"\n{f'{form}, batch of {options.batch_size}, with the pipeline':38}{'ms':>24}{'ms of CPU':>24}")
    for name, found in seconds.items():
        line(form, f"time, {name}", 1e3 * found, told, results)
    print("difference by round")
    for name, (one, other) in BEYOND.items():
        line(form, f"beyond, {name}", 1e3 * (seconds[one] - seconds[other]), told, results)
    if options.quick or options.device == "gpu":
        return
    ours = 1e3 * np.median((seconds["token_mix, in place"] - seconds["by hand"])[0])
    verdict(f"token_mix beyond the mixing {ours:.2f} ms <= {MOST_MS}", bool(ours <= MOST_MS))
    theirs = 1e3 * np.median((seconds["python_function, samples"] - seconds["stock"])[0])
    verdict(f"python_function, which does nothing {theirs:.2f} ms >= {LEAST_MS}", bool(theirs >= LEAST_MS))


def line(form: str, name: str, milliseconds: np.ndarray, told: dict[str, int], results: Results) -> None:
    wall, cpu = milliseconds
    print(f"  {name.split(', ', 1)[1]:36}{spread(wall):>24}{spread(cpu):>24}")
    results.add(form, name, "ms", wall, **told)
    results.add(form, f"{name}, CPU time", "ms", cpu, **told)


if __name__ == "__main__":
    if not KEEP.items() <= os.environ.items():  # glibc reads them when a process begins
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP)
    start = time.perf_counter()
    main()
    say(f"{time.perf_counter() - start:.0f} s in all")
