"""Pages of documentation as tests see them: snippets that run, links that lead somewhere, commands that exist."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dali_tokenmix import cli
from tests.photos import SUBJECTS, write_folder

ROOT = Path(__file__).parent.parent
RUNNER = """
import gc, runpy, sys
for script in sys.argv[1:]:
    print("\\nsnippet:", script, file=sys.stderr, flush=True)
    runpy.run_path(script, run_name="__main__")
    gc.collect()  # pipelines of this snippet end here, in the main thread
"""


def workplace(folder: Path) -> Path:
    """The folder, with photos/ in it: what every page supposes."""
    write_folder(folder / "photos", dict.fromkeys(SUBJECTS, 10))
    return folder


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """(number of its first line, text) of each fenced block of that language."""
    text = page.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, block.start(1)) + 1, block[1]) for block in found]


def run_snippets(page: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """Runs the page's Python in order, a namespace for each snippet, in one process that stops at the first error.

    A snippet is a script whose lines have the page's numbers; the last "snippet:" on stderr is the one that failed.
    """
    scripts = []
    for line, code in blocks(page, "python"):
        scripts.append(place / f"{page.stem}_{line}.py")
        scripts[-1].write_text("\n" * (line - 1) + code)
    command = [sys.executable, "-c", RUNNER, *map(str, scripts)]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=600, check=False)


def dead_links(page: Path) -> list[str]:
    """Links, and references to headings, that lead nowhere. Those to the web are taken as they are."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("https://", "http://")):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (heading and heading not in headings(target)):
            dead.append(link)
    return dead


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def wrong_commands(page: Path) -> list[str]:
    """What in the page's shell blocks is neither a file of this repository, a target of make nor a command of ours."""
    return [
        f"{line}: {mistake}"
        for first, block in blocks(page, "sh")
        for line, command in enumerate(block.replace("\\\n", " ").splitlines(), first)
        for mistake in _mistakes(command)
    ]


def _mistakes(command: str) -> Iterator[str]:
    words = shlex.split(command, comments=True)
    for at, word in enumerate(words):
        if word == "dali-tokenmix":
            yield from _of_ours(words[at + 1 :])
        elif word == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            yield from (w for w in words[at + 1 :] if re.fullmatch(r"[a-z-]+", w) and w not in targets)
        elif word.endswith(".py") and "/" in word:
            if not (ROOT / word).exists():
                yield word
                return
            known = "".join(path.read_text() for path in [ROOT / word, *(ROOT / word).parent.rglob("*.py")])
            options = [w.split("=")[0] for w in words[at + 1 :] if w.startswith("--")]
            yield from (f"{word} {option}" for option in options if f'"{option}"' not in known and option != "--help")


def _of_ours(words: list[str]) -> Iterator[str]:
    (commands,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    if not words or words[0] not in commands.choices:
        yield f"dali-tokenmix {' '.join(words[:1])}"
        return
    known = commands.choices[words[0]]._option_string_actions
    yield from (f"{words[0]} {word}" for word in words if word.startswith("--") and word.split("=")[0] not in known)
