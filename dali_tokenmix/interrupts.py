"""Ctrl-C between batches, not inside one: a batch that is being made is finished, and counted, first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

LATER = 0.05  # seconds
_LATE: list[None] = []  # those that deliver_later() has promised


class HeldInterrupt:
    """While it is entered, SIGINT is noted and no more; deliver() then does what it would have done.

    An exception that a signal raises inside DALI's run() would lose the batch: it is taken from the pipeline and never
    arrives, and whatever counts batches is off by one. Outside of the main thread, where Python raises none, and
    beside a handler that is not Python's, nothing is held.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._noted: Any = None  # the handler it was meant for

    def __enter__(self) -> None:
        self._before = None
        handler = signal.getsignal(signal.SIGINT)
        if _in_main_thread() and callable(handler):
            self._before = handler  # first: a Ctrl-C may come as soon as _note() is there
            signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def deliver(self) -> None:
        """Raises KeyboardInterrupt, or does what the program's own handler does, if there was a Ctrl-C."""
        handler, self._noted = self._noted, None
        # Not later still: loops that are left early would put it off for ever.
        if handler is None and _in_main_thread() and _taken():
            handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, None)

    def deliver_later(self) -> None:
        """The same from outside: for where an exception would be lost, as in a generator that is thrown away."""
        if self._noted is not None:
            self._noted = None
            _LATE.append(None)
            timer = threading.Timer(LATER, _raise_late)
            timer.daemon = True
            timer.start()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = self._before


@contextmanager
def whole() -> Iterator[None]:
    """What is inside is done as a whole; a Ctrl-C that comes meanwhile is delivered after it."""
    interrupt = HeldInterrupt()
    try:
        with interrupt:
            yield
    finally:
        interrupt.deliver()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _raise_late() -> None:
    if _taken():
        signal.raise_signal(signal.SIGINT)


def _taken() -> bool:
    """Whether one was late, which is then the caller's to deliver."""
    with suppress(IndexError):
        _LATE.pop()
        return True
    return False
