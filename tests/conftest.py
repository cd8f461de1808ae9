"""Fixtures for all tests: photographs as class folders, the devices there are."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter

import hypothesis
import pytest

from dali_tokenmix.devices import gpu_problem
from dali_tokenmix.runtime import host, sources
from tests.photos import SUBJECTS, write_folder

# The same examples in every run of CI, so that red means changed; others wherever somebody works on it.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """40 photographs in four class folders, 10 each; not to be written to."""
    return write_folder(tmp_path_factory.mktemp("photos"), dict.fromkeys(SUBJECTS, 10))


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    """First "cpu", then "gpu", which is skipped where there is none."""
    return request.param


def pytest_collection_modifyitems(items):
    """Skips everything marked gpu where there is none, for one reason."""
    problem = gpu_problem()
    for item in items:
        if problem and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=problem))


def pytest_terminal_summary(terminalreporter):
    """How many tests were skipped, by reason."""
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def strict_library(tmp_path_factory):
    """The CPU kernels built to go through a GPU's grid, with its vectors and their alignment. UBSan watches.

    Not optimised: a wrong access should be reported, not trap in an aligned SSE instruction.
    """
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    library = tmp_path_factory.mktemp("strict") / "strict.so"
    flags = ["-std=c++17", "-O0", "-ffp-contract=off", "-shared", "-fPIC", "-DON_GRID", "-fsanitize=alignment,bounds"]
    source = sources.directory() / "host.cpp"
    subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True, capture_output=True)
    return host.HostKernels(library)
