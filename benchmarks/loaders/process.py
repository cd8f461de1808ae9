"""The other end of serve.py: a loader's process, which stands still whenever it has no order."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .task import Task

BENCHMARKS = Path(__file__).resolve().parent.parent


class Process:
    """Started at once; ask() gives an order and waits for the answer. Ends with its `with` block.

    Between orders the process and its workers are stopped, so that nobody reads ahead while another is timed. Should
    this process be killed, the kernel hangs up on them: an orphaned process group with stopped members.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.loader = task, ""
        path = os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")])
        self._child = subprocess.Popen(
            [sys.executable, "-m", "loaders.serve", json.dumps(asdict(task))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        self.group = self._child.pid
        self._stopped = False

    def begin(self, name: str) -> float:
        """Seconds to the first batch of a new loader, which is the one that is asked from now on."""
        self.loader = name
        return self.ask("begin", name=name)["seconds"]

    def ask(self, order: str, **arguments: Any) -> dict[str, Any]:
        """Raises RuntimeError where the process has ended; what it said is on stderr."""
        self.send(order, **arguments)
        return self.answer()

    def send(self, order: str, **arguments: Any) -> None:
        """Gives an order; answer() has to follow."""
        assert self._child.stdin is not None
        if self._stopped:
            os.killpg(self.group, signal.SIGCONT)
            self._stopped = False
        with contextlib.suppress(BrokenPipeError):  # answer() says so
            self._child.stdin.write(json.dumps({"order": order} | arguments) + "\n")
            self._child.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.loader or 'a loader'} has ended; its traceback is above")
        os.killpg(self.group, signal.SIGSTOP)
        os.waitid(os.P_PID, self.group, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._stopped = True
        return json.loads(line)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        for target in (os.killpg, os.kill):  # a process that has only just begun is no group yet
            with contextlib.suppress(ProcessLookupError):
                target(self.group, signal.SIGKILL)
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
