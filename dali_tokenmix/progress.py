"""One line on stderr for work that takes longer than a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Says what is being done; yields show(done, of_all), which keeps the line up to date. It is taken away at the end.

    Where stderr is no terminal, `what` is printed once, and that is all.
    """
    terminal = sys.stderr.isatty()

    def say(text: str) -> None:
        print(f"\r{text}\033[K" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)

    def show(done: int, of_all: int) -> None:
        if terminal:
            say(f"{what} {done}/{of_all}")

    say(what)
    try:
        yield show
    finally:
        if terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
