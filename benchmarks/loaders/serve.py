"""One loader in a process of its own, started by process.py: orders come on stdin, answers go to stdout, in JSON."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

from . import usage
from .output import Output
from .task import LOADERS, Task, preparation, source


class Server:
    """Its methods are the orders. Nothing heavy is imported before `load`."""

    def __init__(self, name: str, task: Task) -> None:
        self.name, self.task = name, task
        self.batches: Iterator[Any] = iter(())

    def load(self) -> dict[str, Any]:
        """Imports what the loader needs; says what is missing."""
        start = time.perf_counter()
        try:
            source(self.name)
        except (ImportError, OSError) as error:  # a library's own libraries count
            return {"missing": f"{type(error).__name__}: {error}"}
        return {"seconds": time.perf_counter() - start}

    def prepare(self) -> dict[str, Any]:
        """Writes the file that the loader needs, if it needs one."""
        if prepared := preparation(self.name):
            prepared(self.task)
        return {}

    def begin(self) -> dict[str, Any]:
        """Makes the loader and waits for its first batch."""
        make = source(self.name)
        start = time.perf_counter()
        self.batches = make(self.task)
        next(self.batches)
        self._wait()
        return {"seconds": time.perf_counter() - start}

    def look(self, batches: int, classes: int) -> dict[str, Any]:
        """What the next batches are, in figures; of a ceiling, how much they are."""
        if self.name in LOADERS:
            return asdict(Output.of(self.batches, batches, classes))
        return {"amount": sum(islice(self.batches, batches))}

    def run(self, ahead: int, batches: int) -> dict[str, Any]:
        """Seconds by the clock and of CPU time for `batches`, after those made ahead are used up."""
        self._take(ahead)
        processes = usage.members(os.getpgrp())
        cpu, start = usage.cpu_seconds(processes), time.perf_counter()
        self._take(batches)
        return {"seconds": time.perf_counter() - start, "cpu": usage.cpu_seconds(processes) - cpu}

    def _take(self, batches: int) -> None:
        for _ in range(batches):
            next(self.batches)
        self._wait()

    def _wait(self) -> None:
        """Until the GPU has done what was asked of it: once, after the last batch."""
        if self.task.device == "gpu" and self.name in LOADERS:
            import torch

            torch.cuda.synchronize()


def main() -> None:
    os.setpgrp()  # with its workers, so that all can be stopped and counted
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    task = Task(**json.loads(sys.argv[2]))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task.workers])
    server = Server(sys.argv[1], task)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(server, order.pop("order"))(**order)), file=answers, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
