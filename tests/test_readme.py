"""The README's Python runs, and what it points at is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.photos import SUBJECTS, write_folder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with photos/, as the README supposes."""
    folder = tmp_path_factory.mktemp("readme")
    write_folder(folder / "photos", dict.fromkeys(SUBJECTS, 10))
    return folder


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs_as_it_stands(number, workplace):
    script = workplace / f"snippet{number}.py"
    script.write_text(SNIPPETS[number])
    done = subprocess.run(
        [sys.executable, script], cwd=workplace, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_there_are_snippets_for_the_three_doors():
    assert len(SNIPPETS) >= 4
    for word in ("dtm.Loader(", "dtm.fn.token_mix(", "dtm.apply(", "Pairing"):
        assert any(word in snippet for snippet in SNIPPETS)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_mixer_of_the_readme_mixes():
    import numpy as np

    import dali_tokenmix as dtm

    space: dict = {}
    exec(next(snippet for snippet in SNIPPETS if "Checkerboard" in snippet), space)
    plan = dtm.draw(space["Checkerboard"](), 4, 64)
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((64, 64, 3), np.uint8)
    dtm.apply(plan, images)
    assert images[0, ::16, ::16, 0].tolist() == [[0, 3, 0, 3], [3, 0, 3, 0]] * 2
    np.testing.assert_allclose(plan.other, 0.5)
