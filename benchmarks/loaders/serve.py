"""One loader in a process of its own, started by process.py: orders come on stdin, answers go to stdout, in JSON."""

from __future__ import annotations

import contextlib
import gc
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
    """Its methods are the orders. Nothing heavy is imported before `load`; one loader is there at a time."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.batches: Iterator[Any] = iter(())
        self.on_gpu = False

    def load(self, name: str) -> dict[str, Any]:
        """Imports what the loader needs; says what is missing."""
        start = time.perf_counter()
        try:
            source(name)
        except (ImportError, OSError) as error:  # a library's own libraries count
            return {"missing": f"{type(error).__name__}: {error}"}
        return {"seconds": time.perf_counter() - start}

    def prepare(self, name: str) -> dict[str, Any]:
        """Writes the file that the loader needs."""
        preparation(name)(self.task)
        return {}

    def begin(self, name: str) -> dict[str, Any]:
        """Makes the loader, in place of the one before, and waits for its first batch."""
        make = source(name)
        self.batches = iter(())
        gc.collect()  # threads of the loader before are gone before workers are forked
        self.on_gpu = self.task.device == "gpu" and name in LOADERS
        start = time.perf_counter()
        self.batches = make(self.task)
        self._take(1)
        return {"seconds": time.perf_counter() - start}

    def look(self, batches: int, classes: int) -> dict[str, Any]:
        """What the next batches of a loader are, in figures."""
        return asdict(Output.of(self.batches, batches, classes))

    def count(self, batches: int) -> dict[str, Any]:
        """How much the next batches of a ceiling are."""
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
        if self.on_gpu:
            import torch

            torch.cuda.synchronize()


def main() -> None:
    os.setpgrp()  # with its workers, so that all can be stopped and counted
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    task = Task(**json.loads(sys.argv[1]))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task.workers])
    server = Server(task)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(server, order.pop("order"))(**order)), file=answers, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
