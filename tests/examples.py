"""Runs a script of examples/ in this process: importing torch, DALI and a framework once more costs ten seconds."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from pathlib import Path
from unittest import mock

import torch

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(script: str, *arguments: object) -> str:
    """What it prints; what it raises is raised. On one thread: several wait for each other where others work too."""
    printed, threads = io.StringIO(), torch.get_num_threads()
    argv = [script, *map(str, arguments)]
    torch.set_num_threads(1)
    try:
        with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(printed):
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    return printed.getvalue()
