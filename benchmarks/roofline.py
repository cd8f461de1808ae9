"""What the kernels cannot be faster than on a given GPU, from formulas: no GPU is asked. Writes docs/gpu.md's tables.

`python benchmarks/roofline.py` rewrites what stands between the page's markers, `--check` only says whether it would.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from traffic import ITEM, Shapes, Traffic, composition, labels, mixing, scratch

import dali_tokenmix as dtm
from dali_tokenmix.runtime.work import THREADS_A_BLOCK

ROOT = Path(__file__).resolve().parent.parent
PAGE, REGISTERS = ROOT / "docs" / "gpu.md", ROOT / "tests" / "resources.csv"
BEGIN, END = "<!-- {}: written by benchmarks/roofline.py -->", "<!-- end of {} -->"


class Card(NamedTuple):
    """Peaks of NVIDIA's data sheets. flops: float32 without tensor cores, a fused multiply-add counting two."""

    name: str
    bandwidth: float  # bytes a second
    flops: float


CARDS = (Card("H100 SXM", 3.35e12, 67e12), Card("A100 80GB SXM", 2.04e12, 19.5e12), Card("L4", 0.30e12, 30.3e12))
# CUDA C++ Programming Guide, technical specifications by compute capability
REGISTER_FILE, A_WARP, REGISTER_UNIT = 65536, 32, 256  # registers a multiprocessor; threads; handed out a warp
MOST_THREADS = {75: 1024, 80: 2048, 86: 1536, 89: 1536, 90: 2048, 100: 2048, 120: 1536}

FORMS = (("uint8", "NHWC"), ("float32", "NCHW"))
MAPS = ((7, 7), (18, 18))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the page is out of date")
    options = parser.parse_args()
    before = PAGE.read_text()
    after = written(before)
    if not options.check:
        PAGE.write_text(after)
        return 0
    if before != after:
        print(f"{PAGE} is out of date: run python benchmarks/roofline.py", file=sys.stderr)
    return int(before != after)


def written(page: str) -> str:
    """The page with the tables between its markers."""
    for name, lines in TABLES.items():
        begin, end = BEGIN.format(name), END.format(name)
        head, rest = page.split(begin)
        page = "\n".join([head + begin, *lines(), end + rest.split(end)[1]])
    return page


def images_table() -> Iterator[str]:
    """The kernels that mix, against PyTorch's composition, which needs float32."""
    yield from header("kernel", "on", *COLUMNS, "PyTorch moves", "predicted ratio")
    shapes = Shapes()
    peer = composition("float32", shapes)
    for kernel in ("exchange_tokens", "exchange_box", "blend"):
        for dtype, layout in FORMS:
            traffic = mixing(kernel, dtype, layout, shapes)
            yield row(traffic, shapes, amount(peer), f"{peer / traffic.bytes:.1f}x")
    yield row(mixing("mirror", "uint8", "NHWC", replace(shapes, share=1.0)), shapes, "", "")
    busy = ", ".join(f"{100 * lanes_at_work(*form, shapes):.0f} % in {' '.join(form)}" for form in FORMS)
    yield f"\nLanes of a warp at work, 16 bytes each, while it exchanges TokenMix's runs of tokens: {busy}."


def lanes_at_work(dtype: str, layout: str, shapes: Shapes, batches: int = 8) -> float:
    """Vectors of 16 bytes in runs of masked tokens, by the lanes that warps spend on them; of drawn plans."""
    vectors = shapes.patch * ITEM[dtype] * (shapes.channels if layout == "NHWC" else 1) // 16
    used = spent = 0
    for seed in range(batches):
        mask = dtm.draw(dtm.TokenMix(shapes.patch), shapes.batch, (shapes.height, shapes.width), seed).mask()
        edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (0, 0), (1, 1))), axis=2).ravel()
        runs = (np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)) * vectors
        used += runs.sum()
        spent += (-(-runs // A_WARP) * A_WARP).sum()
    return used / spent


def labels_table() -> Iterator[str]:
    yield from header("kernel", "on", *COLUMNS)
    seen: set[str] = set()
    for size in MAPS:
        shapes = Shapes(map_size=size)
        for traffic in labels(shapes).values():
            if (line := row(traffic, shapes)) not in seen:
                seen.add(line)
                yield line
    sizes = (f"{amount(scratch(Shapes(map_size=size)))} for maps of {size[0]} x {size[1]}" for size in MAPS)
    yield f"\n`token_labels` gathers each token's classes in scratch memory besides: {', '.join(sizes)}, a sample."


COLUMNS = ("read", "written", "operations", "operations a byte", "blocks", *(f"floor, {card.name}" for card in CARDS))


def row(traffic: Traffic, shapes: Shapes, *more: str) -> str:
    """Bytes and operations of a sample, blocks and floors of a batch."""
    floors = [microseconds(shapes.batch * traffic.bytes / card.bandwidth) for card in CARDS]
    kind = " (double)" if traffic.double else ""
    per_byte = traffic.operations / traffic.bytes
    cells = (
        f"`{traffic.kernel}`",
        traffic.what,
        *(amount(value) for value in (traffic.read, traffic.written)),
        f"{traffic.operations:,.0f}{kind}" if traffic.operations else "none",
        f"{per_byte:.2g}" if per_byte < 10 else f"{per_byte:.0f}",
        f"{traffic.work.grid:,}",
        *floors,
        *more,
    )
    return "| " + " | ".join(cells) + " |"


def occupancy_table() -> Iterator[str]:
    """Resident threads of those that a multiprocessor has room for, from the table of registers, if there is one."""
    if not REGISTERS.is_file():
        yield "No occupancy yet: it follows from the registers of a thread, and there is no tests/resources.csv."
        return
    found: dict[str, dict[int, int]] = {}
    with REGISTERS.open(newline="") as file:
        for line in csv.DictReader(row for row in file if not row.startswith("#")):
            registers = found.setdefault(line["kernel"], {})
            for a in MOST_THREADS:
                registers[a] = max(int(line[f"sm_{a}"]), registers.get(a, 0))
    yield from header("kernel", *(f"sm_{a}" for a in MOST_THREADS))
    for kernel, registers in sorted(found.items()):
        cells = [f"{registers[a]} regs, {100 * occupancy(registers[a], a):.0f} %" for a in MOST_THREADS]
        yield "| " + " | ".join([f"`{kernel}`", *cells]) + " |"


def occupancy(registers: int, architecture: int) -> float:
    """Resident threads by the most a multiprocessor holds, for blocks of THREADS_A_BLOCK without shared memory."""
    warps = THREADS_A_BLOCK // A_WARP
    a_warp = -(-registers * A_WARP // REGISTER_UNIT) * REGISTER_UNIT
    by_registers = REGISTER_FILE // (a_warp * warps)
    most = MOST_THREADS[architecture]
    return min(by_registers, most // THREADS_A_BLOCK) * THREADS_A_BLOCK / most


def cards_table() -> Iterator[str]:
    yield from header("card", "bandwidth", "float32", "unfused operations a byte")
    for card in CARDS:
        cells = f"{card.bandwidth / 1e12:.2f} TB/s", f"{card.flops / 1e12:.3g} Tflop/s"
        yield "| " + " | ".join((card.name, *cells, f"{card.flops / 2 / card.bandwidth:.2g}")) + " |"


def header(*names: str) -> Iterator[str]:
    yield "| " + " | ".join(names) + " |"
    yield "|---" * len(names) + "|"


def amount(size: float) -> str:
    """Bytes, as a reader wants them."""
    return f"{size:,.0f} B" if size < 1e4 else f"{size / 1e3:,.1f} kB"


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.2g} us" if seconds < 1e-5 else f"{seconds * 1e6:.0f} us"


TABLES = {"cards": cards_table, "mixing": images_table, "targets": labels_table, "occupancy": occupancy_table}

if __name__ == "__main__":
    sys.exit(main())
