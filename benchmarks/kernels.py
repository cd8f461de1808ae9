"""Each kernel against a copy of the bytes it must move and against NumPy and torch; whole mixing against others'.

Results are checked before anything is timed. What is compared takes turns, in an order drawn each round; each call gets
memory that the calls before have pushed out of the caches, unless all of it fits there, as labels do. A figure is the
median, p20..p80 in brackets. Copy: np.copyto, or on a GPU CuPy's, of half the bytes that the kernel reads and writes,
since it writes what it reads; on a CPU that is one thread. The NumPy and torch forms make a new array, with turns of
their own after the kernel's; torch has all threads. A time includes the launch, which on a CPU is most of the time of a
kernel that makes labels.
"""

from __future__ import annotations

import argparse
import time

from gpu.place import Cpu, Gpu
from kernel_times import tables
from kernel_times.each import every_kernel
from kernel_times.host_only import host_kernels
from kernel_times.peers import whole_mixing
from kernel_times.scaling import curves
from results import Results, check_device, common_options, positive, say
from timing import describe_machine
from traffic import Shapes

SECTIONS = ("kernels", "mixing", "curves")


def main() -> None:
    options = arguments()
    results = Results("kernels", options.device)
    place = Gpu() if options.device == "gpu" else Cpu()
    print(f"{describe_machine()}; {options.device}")
    measured(place, shapes_of(options), options, results)
    say(f"{len(results.rows)} rows in {results.write(options.results)}")


def measured(place: Cpu, shapes: Shapes, options: argparse.Namespace, results: Results) -> None:
    """Prints the tables of the sections asked for, and adds their rows."""
    if "kernels" in options.only:
        tables.kernels(every_kernel(place, shapes, options.rounds), shapes, results)
        if place.device == "cpu":
            tables.kernels(host_kernels(shapes, options.rounds), shapes, results)
    if "mixing" in options.only:
        tables.mixing(whole_mixing(place, shapes, options.rounds), shapes, results)
    if "curves" in options.only:
        tables.curves(curves(place, shapes, options.rounds, options.quick), results)


def shapes_of(options: argparse.Namespace) -> Shapes:
    side = options.image_size
    return Shapes(batch=options.batch_size, height=side, width=side, patch=options.patch_size)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_options(parser)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="(default: all)")
    parser.add_argument("--batch-size", type=positive, help="even (default: 128; quick: 8)")
    parser.add_argument("--image-size", type=positive, help="a multiple of the patch (default: 224; quick: 64)")
    parser.add_argument("--patch-size", type=positive, default=16, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=positive, help="(default: 15; quick: 3)")
    options = parser.parse_args()
    check_device(parser, options)
    batch, size, rounds = (8, 64, 3) if options.quick else (128, 224, 15)
    options.batch_size, options.image_size = options.batch_size or batch, options.image_size or size
    options.rounds = options.rounds or rounds
    if options.batch_size % 2 or options.image_size % options.patch_size:
        parser.error("--batch-size must be even (timm's rule), --image-size a multiple of --patch-size")
    return options


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    say(f"{time.perf_counter() - start:.0f} s in all")
