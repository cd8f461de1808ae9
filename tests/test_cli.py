"""The commands as a user types them: what they print, write and refuse."""

import subprocess
import sys

import numpy as np
import pytest

from dali_tokenmix import __version__, cli
from tests.shell import without


def test_doctor_names_versions(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    for text in (__version__, np.__version__, "nvidia-dali", "torch", "NVRTC", "threads", "trial", "whole batch"):
        assert text in out


@pytest.mark.parametrize(
    ("module", "name", "code"), [("nvidia.dali", "DALI", 1), ("torch", "torch", 1), ("cupy", "CuPy", 0)]
)
def test_doctor_without(module, name, code):
    run = without(module, "doctor")
    line = next(line for line in run.stdout.splitlines() if line[4:].startswith(f"{name} "))
    assert "not installed" in line
    assert run.returncode == code
    assert "Traceback" not in run.stderr
    assert not code or f"{name}: pip install 'dali_tokenmix[cuda" in run.stdout


def test_commands_import_nothing_heavy():
    heavy = "{'torch', 'nvidia.dali', 'cupy', 'PIL', 'skimage'}"
    code = f"import sys, dali_tokenmix.cli; assert not {heavy} & set(sys.modules), sorted(sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
