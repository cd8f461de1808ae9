"""Where the kernel sources are, and their text for a compiler that sees one file only."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)


@cache
def directory() -> Path:
    """The folder of the .cu files: inside an installed package, beside it in a checkout."""
    for folder in (PACKAGE / "kernels", PACKAGE.parent / "kernels"):
        if (folder / "common.cuh").is_file():
            return folder
    raise FileNotFoundError(f"kernels/common.cuh is neither in {PACKAGE} nor beside it: install dali_tokenmix again")


def names() -> list[str]:
    """The kernel files, by stem."""
    return sorted(path.stem for path in directory().glob("*.cu"))


@cache
def text(stem: str) -> str:
    """kernels/<stem>.cu with its headers written out in place, each once: a compiler cache keyed by it sees all."""
    seen: set[str] = set()

    def expand(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        source = (directory() / name).read_text()
        return INCLUDE.sub(lambda match: expand(match[1]), source.replace("#pragma once\n", ""))

    return expand(f"{stem}.cu")
