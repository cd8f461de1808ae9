"""What ptxas says each kernel needs, in a table that is checked in. `python -m tests.resources` writes it anew."""

from __future__ import annotations

import csv
import re
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from tests.compiled import ARCHITECTURES, KERNELS, NVRTCS, build, nvrtc

TABLE = Path(__file__).with_name("resources.csv")
RENEW = "if that is meant, renew the table: python -m tests.resources"
ALLOWED = 4  # registers more than in the table: NVRTC's minor versions differ by so many
SPILLS = ("spill_stores", "spill_loads")


@dataclass(frozen=True)
class Need:
    """Of one thread: registers, bytes of stack, bytes spilled; of one block: bytes of shared memory."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int


def main() -> None:
    """Compiles everything, with every NVRTC there is, and replaces the table."""
    lines = [f"# Registers of each kernel by architecture, and the most bytes on any. By {versions()}.", f"# {__doc__}"]
    rows = [row(major, stem, kernel) for major in NVRTCS for stem in KERNELS for kernel in sorted(KERNELS[stem])]
    lines += [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    TABLE.write_text("\n".join(lines) + "\n")
    print(f"{TABLE}: {len(rows)} kernels by {versions()}")


def versions() -> str:
    """Which NVRTCs were asked."""
    return " and ".join("NVRTC {}.{}".format(*nvrtc(major).getVersion()) for major in NVRTCS)


def row(major: int, stem: str, kernel: str) -> dict[str, int | str]:
    """A line of the table."""
    needs = {architecture: needs_of(stem, architecture, major)[kernel] for architecture in ARCHITECTURES}
    registers = {f"sm_{architecture}": need.registers for architecture, need in needs.items()}
    others = {name: max(getattr(need, name) for need in needs.values()) for name in ("stack", *SPILLS, "shared")}
    return {"nvrtc": major, "kernel": kernel, **registers, **others}


def needs_of(stem: str, architecture: int, major: int) -> dict[str, Need]:
    """Of each kernel of a file, from ptxas's log."""
    return parse(build(stem, architecture, major).log)


def parse(log: str) -> dict[str, Need]:
    """ptxas's log, as --ptxas-options=-v has it, by kernel. Raises ValueError where it reads otherwise."""
    needs = {}
    for part in log.split("Compiling entry function ")[1:]:
        name = re.match(r"'(\w+)'", part)
        frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        used = re.search(r"Used (\d+) registers(.*)", part)
        if not (name and frame and used):
            raise ValueError(f"ptxas's log reads otherwise than expected: {part}")
        shared = re.search(r"(\d+) bytes smem", used[2])
        needs[name[1]] = Need(int(used[1]), *map(int, frame.groups()), int(shared[1]) if shared else 0)
    return needs


def read() -> dict[tuple[int, int, str], Need]:
    """The table: (NVRTC, architecture, kernel) -> the most it may need."""
    with TABLE.open() as file:
        lines = list(csv.DictReader(line for line in file if not line.startswith("#")))
    limits = {}
    for line, architecture in product(lines, ARCHITECTURES):
        others = (int(line[name]) for name in ("stack", *SPILLS, "shared"))
        key = int(line["nvrtc"]), architecture, line["kernel"]
        limits[key] = Need(int(line[f"sm_{architecture}"]), *others)
    return limits


def complaints(need: Need, limit: Need) -> list[str]:
    """What a kernel needs beyond the table. A spill is never in order, whatever the table says."""
    found = [f"{getattr(need, name)} bytes of {name}" for name in SPILLS if getattr(need, name)]
    for name, most in asdict(limit).items():
        now, allowed = getattr(need, name), most + (ALLOWED if name == "registers" else 0)
        if now > allowed and name not in SPILLS:
            found.append(f"{name} {now}, {most} in the table")
    return found


if __name__ == "__main__":
    main()
