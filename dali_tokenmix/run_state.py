"""What a Loader's run is made of, and where it stands: seeds, identity, and the state that is saved."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .checks import integer
from .phases import Phase

if TYPE_CHECKING:
    from .pipeline import Graph
    from .sources.samples import Samples

VERSION = 2
PHASE = tuple(field.name for field in fields(Phase))
# What the batches depend on: DALI would restore a state into another run without a word.
IDENTITY = (
    *("batch_size", "image_size", "mixer", "num_classes", "smoothing", "train", "device", "mean", "std", "dtype"),
    *("layout", "shard_id", "num_shards", "last_batch", "supervision", "repeats"),
)


class RunState(NamedTuple):
    """epoch, batch, phase: of the batch that comes next; no phase: the schedule is yet to be asked.

    origin: the epoch its pipeline began at. pipeline: DALI's.
    """

    epoch: int
    batch: int
    origin: int
    phase: Phase | None
    pipeline: bytes | None


def seeds(seed: int, origin: int, shard: int) -> tuple[int, ...]:
    """(shuffle, crop, flip, mix, others): the shuffle is the shards' in common, everything else is each one's own."""
    common = np.random.SeedSequence([seed, origin]).generate_state(1)
    own = np.random.SeedSequence([seed, origin, shard, 1]).generate_state(4)
    return tuple(int(word) >> 1 for word in (*common, *own))


def identity(graph: Graph, data: Samples, seed: int, scheduled: bool) -> dict[str, Any]:
    """What a state must share with the run that goes on with it, plain values by argument."""
    values = {name: str(getattr(graph, name)) for name in IDENTITY}
    used = {"augment": graph.augment is not None, "schedule": scheduled}
    used |= {"teacher": _described(graph.teacher), "label_maps": _described(graph.label_maps)}
    return values | used | {"files": data.fingerprint(), "seed": seed}


def saved(state: RunState, run: dict[str, Any]) -> dict[str, Any]:
    """A state in plain numbers and text."""
    pipeline = None if state.pipeline is None else base64.b64encode(state.pipeline).decode()
    phase = dict.fromkeys(PHASE)
    if state.phase is not None:
        phase |= asdict(state.phase) | {"image_size": list(state.phase.image_size)}
    place = {"epoch": state.epoch, "batch": state.batch, "origin": state.origin}
    return {"version": VERSION, "run": run, **place, **phase, "pipeline": pipeline}


def restored(given: Any, run: dict[str, Any], graph: Graph, length: int) -> RunState:
    """The state that saved() made, for a loader of `length` batches. Raises ValueError that names what does not fit."""
    if not isinstance(given, dict) or given.get("version") != VERSION:
        raise ValueError(f"state must be of Loader.state_dict(), version {VERSION}, got {given!r:.80}")
    expected = {"version", "run", "epoch", "batch", "origin", *PHASE, "pipeline"}
    if missing := expected - set(given):
        raise ValueError(f"state must have {', '.join(sorted(expected))}, got no {', '.join(sorted(missing))}")
    if not isinstance(given["run"], dict):
        raise ValueError(f"state['run'] must be a dict, as Loader.state_dict() has it, got {given['run']!r:.80}")
    for name, value in run.items():
        if given["run"].get(name) != value:
            raise ValueError(f"state is of a run with {name}={given['run'].get(name)!r}, this loader has {value!r}")
    asks = run["schedule"] and given["image_size"] is None
    return RunState(
        integer("state['epoch']", given["epoch"], at_least=0),
        integer("state['batch']", given["batch"], at_least=0, at_most=length - 1),
        integer("state['origin']", given["origin"], at_least=0),
        None if asks else Phase(graph.image_size).changed(graph, **{name: given[name] for name in PHASE}),
        None if given["pipeline"] is None else _bytes(given["pipeline"]),
    )


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"state['pipeline'] must be the text that Loader.state_dict() has there, got {text!r:.40}: {error}"
        ) from error


def _described(source: Any) -> Any:
    """What tells a teacher or a label store from others, as JSON has it; whether there is one, if it does not say."""
    if source is None:
        return None
    if hasattr(source, "metadata"):
        return json.loads(json.dumps(source.metadata))
    return {"k": getattr(source, "k", None), **source.description()} if hasattr(source, "description") else True
