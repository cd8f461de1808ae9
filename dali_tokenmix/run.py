"""A run through the data, batch by batch: the pipeline, which is built when it is needed, and where it stands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from nvidia.dali.pipeline import Pipeline
from torch.utils.dlpack import from_dlpack

from . import lifetime, run_state
from .interrupts import whole
from .phases import Phase, Schedule
from .pipeline import Graph, batches, padded_batches
from .planner import BatchPlanner
from .readable import explain
from .run_state import RunState

Outputs = tuple[torch.Tensor, list[torch.Tensor], np.ndarray]  # images, targets, indices


class Run:
    """Gives one batch after the other, for ever: epochs follow each other.

    epoch, batch: of the batch that comes next. length: batches of an epoch.
    """

    def __init__(self, graph: Graph, *, seed: int, threads: int, depth: int, schedule: Schedule | None) -> None:
        self.graph, self.schedule = graph, schedule
        self.length = batches(len(graph.samples.files), graph)
        self._seed, self._threads, self._depth = seed, threads, depth
        self.plain = Phase(graph.image_size)  # without a schedule
        self.epoch, self.batch, self._origin = 0, 0, 0
        self._phase, self._asked = self.plain.scheduled(graph, schedule, 0), True  # asked: the schedule, for this epoch
        self.planner: BatchPlanner | None = None
        self._pipeline: Pipeline | None = None
        self._checkpoint: bytes | None = None  # of a pipeline that was closed
        self._stuck = False  # the pipeline is gone, or has gone where nobody followed

    def next(self) -> tuple[Outputs, int]:
        """A batch, and its number in its epoch."""
        _ = self.phase  # a schedule that has none for this epoch says so before anything has happened
        self._stuck = True
        outputs, number = self._outputs(), self.batch
        self.batch += 1
        if self.batch == self.length:
            for _ in range(padded_batches(len(self.graph.samples.files), self.graph) - self.length):
                self._outputs()  # what the policy leaves out, so that the reader's next batch is an epoch's first
            self.epoch, self.batch, self._asked = self.epoch + 1, 0, self.schedule is None
        self._stuck = False
        return outputs, number

    @property
    def phase(self) -> Phase:
        """What holds from the next batch on. A schedule is asked when that is needed: it may end with the training."""
        if not self._asked:
            self.change(self.plain.scheduled(self.graph, self.schedule, self.epoch))
        return self._phase

    def begin(self, epoch: int) -> None:
        """An epoch from its first batch, in a pipeline of its own: seeds come from the epoch it starts at."""
        phase = self.plain.scheduled(self.graph, self.schedule, epoch) if self.schedule else self._phase
        with whole():  # the end of a pipeline takes a while
            self._pipeline = self.planner = self._checkpoint = None
            self.epoch, self.batch, self._origin, self._stuck = epoch, 0, epoch, False
            self._phase, self._asked = phase, True

    @property
    def left_early(self) -> bool:
        """Whether this epoch has begun, or cannot go on."""
        return self._stuck or self.batch > 0

    @property
    def epoch_after(self) -> int:
        """Which epoch is next where this one is given up: the same one, if no batch of it was had."""
        return self.epoch + (self.batch > 0)

    def change(self, phase: Phase) -> None:
        """The phase from the next batch on."""
        if phase != self._phase:
            self.close()  # batches made ahead are of the phase before: the next one is made again
        self._phase, self._asked = phase, True

    def close(self) -> None:
        """Frees the pipeline. The next batch builds a new one, which goes on where this one was."""
        if self._pipeline is not None and not self._stuck:
            self._checkpoint = self._pipeline.checkpoint()
        with whole():
            self._pipeline = self.planner = None

    def state(self) -> RunState:
        """Where it stands; where the epoch cannot go on, at the beginning of the next."""
        place, checkpoint = (self.epoch, self.batch, self._origin), self._checkpoint
        phase = self._phase if self._asked else None
        if self._stuck:
            place, checkpoint = (self.epoch_after, 0, self.epoch_after), None
            phase = None if self.schedule else self._phase
        elif self._pipeline is not None:
            checkpoint = self._pipeline.checkpoint()
        return RunState(*place, phase, checkpoint)

    def go_on(self, state: RunState) -> None:
        """From where that state was."""
        with whole():
            self._pipeline, self.planner, self._stuck = None, None, False
            self.epoch, self.batch, self._origin, phase, self._checkpoint = state
            self._phase, self._asked = phase or self.plain, phase is not None

    def _outputs(self) -> Outputs:
        if self._pipeline is None or self.planner is None:
            self._build()
        assert self._pipeline is not None
        try:
            images, *targets, index = self._pipeline.run()
        except RuntimeError as error:
            raise RuntimeError(self._explained(error)) from error
        return (
            from_dlpack(images.as_tensor()),
            [from_dlpack(part.as_tensor()) for part in targets],
            index.as_array().reshape(-1).astype(np.int64),
        )

    def _explained(self, error: RuntimeError) -> str:
        assert self.planner is not None
        recent = [int(k) for batch in reversed(self.planner.recent) for k in batch]
        self._pipeline = self.planner = self._checkpoint = None
        return explain(error, self.graph.samples, recent, num_threads=self._threads)

    def _build(self) -> None:
        seeds = run_state.seeds(self._seed, self._origin, self.graph.shard_id)
        graph = replace(self._phase.graph(self.graph), seeds=seeds, threads=self._threads)
        self.planner = BatchPlanner(graph, self._phase.mixing, self._depth)
        pipeline = graph.build(self.planner, num_threads=self._threads, depth=self._depth, checkpoint=self._checkpoint)
        self._pipeline = lifetime.safely_ending(pipeline)
