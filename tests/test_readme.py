"""The README's Python runs, and what it points at is there."""

from __future__ import annotations

import pytest

from tests import pages

README = pages.ROOT / "README.md"
SNIPPETS = [code for _, code in pages.blocks(README, "python")]


def test_the_snippets_run_as_they_stand(tmp_path):
    pytest.importorskip("torchvision")
    done = pages.run_snippets(README, pages.workplace(tmp_path))
    assert done.returncode == 0, done.stderr


def test_there_are_snippets_for_the_three_doors():
    assert len(SNIPPETS) >= 4
    for word in ("dtm.Loader(", "dtm.fn.token_mix(", "dtm.apply(", "Pairing"):
        assert any(word in snippet for snippet in SNIPPETS)


def test_links_and_commands_lead_somewhere():
    assert pages.dead_links(README) == []
    assert pages.wrong_commands(README) == []


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
