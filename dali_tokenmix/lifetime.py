"""How a Loader's pipeline ends where DALI's own end would crash: in a forked child, and by the garbage collector.

Knows two private names of DALI's Pipeline: `_shutdown()`, which its destructor and the interpreter's end call, and
`_pipe`, the native pipeline. tests/test_robust.py is the canary.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
import weakref
from typing import Any

from nvidia.dali.pipeline import Pipeline

from .interrupts import HeldInterrupt

FORKED = (
    "a Loader does not survive a fork, nor does DALI work in a child whose parent had one running: close() it before "
    "the fork, or start the child with multiprocessing.get_context('spawn'), and make a new one there"
)
_RUNNING: weakref.WeakSet[Pipeline] = weakref.WeakSet()
_forked_from_running = False


def safely_ending(pipeline: Pipeline) -> Pipeline:
    """The same pipeline, which ends well wherever it ends.

    Raises RuntimeError in a child that was forked while such a pipeline was running: a lock of DALI's may be held there
    for ever.
    """
    if _forked_from_running:
        raise RuntimeError(FORKED)
    pipeline.__class__ = _SafelyEnding
    _RUNNING.add(pipeline)
    return pipeline


class _SafelyEnding(Pipeline):  # type: ignore[misc]  # DALI has no types
    """The garbage collector runs on any thread, a pipeline's own among them, which cannot wait for its own end."""

    _pipe: Any

    def _shutdown(self) -> None:
        native = self._pipe
        if native and _made_by_others(threading.current_thread()):
            self._pipe = None
            _thread.start_new_thread(native.Shutdown, ())
        interrupt = HeldInterrupt()  # a destructor's exceptions are lost, and it waits for threads
        with interrupt:
            super()._shutdown()
        interrupt.deliver_later()


def _made_by_others(thread: threading.Thread) -> bool:
    """Whether no Python code started it: such a one may be DALI's."""
    return isinstance(thread, threading._DummyThread)


def _leave_alone() -> None:
    """In a forked child, which has none of the threads: its end would shut pipelines down, and crash or hang."""
    global _forked_from_running
    for pipeline in list(_RUNNING):
        if (native := getattr(pipeline, "_pipe", None)) is not None:
            _forked_from_running = True
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(native))  # never destroyed
            pipeline._pipe = None


os.register_at_fork(after_in_child=_leave_alone)
