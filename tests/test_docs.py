"""Every page of docs/: its Python runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests import pages

DOCS = pages.ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
WITH_PYTHON = [page for page in PAGES if pages.blocks(page, "python")]
EXTRAS = ("accelerate", "jax", "lightning", "timm", "torchvision", "transformers")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return pages.workplace(tmp_path_factory.mktemp("docs"))


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_the_snippets_of_a_page_run_as_they_stand(page, workplace):
    done = pages.run_snippets(page, workplace)
    if done.returncode and (missing := re.search(r"No module named '(\w+)", done.stderr)) and missing[1] in EXTRAS:
        pytest.skip(f"{missing[1]} is not installed")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_commands_of_a_page_lead_somewhere(page):
    assert pages.dead_links(page) == []
    assert pages.wrong_commands(page) == []


def test_the_index_lists_every_page():
    index = (DOCS / "README.md").read_text()
    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in index] == []


def test_the_pictures_of_semantics_are_made_by_their_script(tmp_path):
    pytest.importorskip("matplotlib")
    subprocess.run([sys.executable, DOCS / "pictures.py", "--out", tmp_path], check=True, timeout=120)
    made = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(made) == {path.name for path in DOCS.glob("semantics-*.png")}
    assert max(made.values()) < 150_000
    assert all(f"({name})" in (DOCS / "semantics.md").read_text() for name in made)


def test_mistakes_in_a_page_are_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A title\n[1](page.md#a-title) [2](gone.md) [3](#no-title)\n```python\nx = 1\n```\n```python\nprint(x)\n```\n"
        "```sh\nmake demo nonsense\npython benchmarks/gone.py\npython benchmarks/plot.py --nonsense\n"
        "dali-tokenmix doctor --nonsense\ndali-tokenmix nonsense\n```\n"
    )
    done = pages.run_snippets(page, tmp_path)
    assert done.returncode != 0
    assert "page_7.py" in done.stderr
    assert "line 7" in done.stderr  # each snippet has its own names: x is not known
    assert pages.dead_links(page) == ["gone.md", "#no-title"]
    assert [mistake.split(": ")[1] for mistake in pages.wrong_commands(page)] == [
        "nonsense",
        "benchmarks/gone.py",
        "benchmarks/plot.py --nonsense",
        "doctor --nonsense",
        "dali-tokenmix nonsense",
    ]
