"""Runs a script of examples/ in this process: importing torch, DALI and a framework once more costs ten seconds."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(script: str, *arguments: object) -> str:
    """What it prints; what it raises is raised."""
    printed = io.StringIO()
    argv = [script, *map(str, arguments)]
    with one_thread(), mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(printed):
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    return printed.getvalue()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: for small models several only wait for each other, for long where others work too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
