"""Every method that mixes in the graph, against np.copyto of the bytes that it must move: one thread against one.

Batches are uint8, channels last, in place. For each method the pixels alone, plan given ("mixing"), and the plan drawn,
sent and carried out ("draw and mixing"); methods that look at the images also by what makes their maps, told apart. The
copy writes as many bytes as a method must write, or as the mean of what it must read and write where it must read more.
What must be written is counted: pixels of noise that the same plan changes. All of a round have that round's number, so
that a method and its copy always have the same plan. Results are checked against the slow definitions first.
"""

from __future__ import annotations

import argparse
import sys
import time

from gpu.place import Cpu, Gpu
from method_times import check, measure, report
from method_times.rows import table
from results import Results, check_device, common_options, positive, say
from timing import describe_machine
from traffic import Shapes


def main() -> int:
    options = arguments()
    begin, results = time.perf_counter(), Results("methods", options.device)
    place = Gpu() if options.device == "gpu" else Cpu()
    shapes = Shapes(batch=options.batch_size, height=options.image_size, width=options.image_size)
    print(f"{describe_machine()}; {options.device}\n", flush=True)
    rows = [row for row in table(options.image_size) if not options.only or row.name in options.only]
    say("checking")
    for row in rows:
        check.equals_definition(row)
    report.heading()
    ratios, setting = {}, {"batch": shapes.batch, "size": shapes.height, "threads": 1}
    for row in rows:
        found = measure.timed(row, shapes, place, options.rounds)
        ratios[row.name] = report.line(row.name, found, results, setting)
    report.verdicts(ratios, shapes)
    say(f"{time.perf_counter() - begin:.0f} s; {len(results.rows)} rows in {results.write(options.results)}")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_options(parser)
    names = [row.name for row in table(224)]
    parser.add_argument("--only", nargs="+", choices=names, metavar="METHOD", help=f"of {', '.join(names)}")
    parser.add_argument("--batch-size", type=positive, help="(default: 128; quick: 8)")
    parser.add_argument("--image-size", type=positive, help="(default: 224; quick: 64)")
    parser.add_argument("--rounds", type=positive, help="(default: 30; quick: 2)")
    options = parser.parse_args()
    check_device(parser, options)
    usual = {"batch_size": (128, 8), "image_size": (224, 64), "rounds": (30, 2)}
    for name, values in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, values[options.quick])
    return options


if __name__ == "__main__":
    sys.exit(main())
