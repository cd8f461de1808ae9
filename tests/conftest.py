"""Fixtures for all tests: photographs as class folders."""

from __future__ import annotations

import pytest

from tests.photos import SUBJECTS, write_folder


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """40 photographs in four class folders, 10 each; not to be written to."""
    return write_folder(tmp_path_factory.mktemp("photos"), dict.fromkeys(SUBJECTS, 10))
