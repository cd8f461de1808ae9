"""Fixtures for all tests: photographs as class folders, the devices there are."""

from __future__ import annotations

import pytest

from dali_tokenmix.devices import gpu_problem
from tests.photos import SUBJECTS, write_folder


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """40 photographs in four class folders, 10 each; not to be written to."""
    return write_folder(tmp_path_factory.mktemp("photos"), dict.fromkeys(SUBJECTS, 10))


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    """First "cpu", then "gpu", which skips where there is none."""
    if request.param == "gpu" and (problem := gpu_problem()):
        pytest.skip(problem)
    return request.param
