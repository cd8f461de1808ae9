"""A run in one file: weights, optimizer, position in the data and random numbers of every process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from .processes import Processes


def save(path: Path, parts: dict[str, Any], own: dict[str, Any], here: Processes, **more: Any) -> None:
    """Written by the first process; all have to call it. `parts` have a state_dict() and are equal everywhere.

    `own` parts have one in each process. It is written beside and renamed: killed in between, the former one is whole.
    """
    states = here.gathered({"random": random_state(here), **{name: part.state_dict() for name, part in own.items()}})
    if not here.first:
        return
    whole = {"parts": {name: part.state_dict() for name, part in parts.items()}, "processes": states, **more}
    beside = path.with_suffix(".partial")
    with beside.open("wb") as file:
        torch.save(whole, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load(
    path: Path, parts: dict[str, Any], own: dict[str, Any], here: Processes, options: dict[str, str]
) -> dict[str, Any]:
    """Puts the parts back and returns what else was saved. Raises ValueError for other options or processes."""
    whole = torch.load(path, map_location=here.device, weights_only=True)
    for name, value in options.items():
        if whole["options"].get(name) != value:
            raise ValueError(
                f"--{name.replace('_', '-')} of the run in {path.parent} is {whole['options'].get(name)}, got {value}: "
                "give it the same, or another --out for a new run"
            )
    if len(whole["processes"]) != here.world:
        raise ValueError(
            f"the run in {path.parent} is of {len(whole['processes'])} processes, which share the data between them; "
            f"got {here.world}: start as many, or give another --out for a new run"
        )
    for name, part in parts.items():
        part.load_state_dict(whole["parts"][name])
    states = whole["processes"][here.rank]
    for name, part in own.items():
        part.load_state_dict(states[name])
    set_random_state(states["random"], here)
    return {name: value for name, value in whole.items() if name not in ("parts", "processes")}


def random_state(here: Processes) -> dict[str, torch.Tensor]:
    """Of torch's generators, which drop paths are drawn from."""
    on_gpu = {"cuda": torch.cuda.get_rng_state(here.device)} if here.device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **on_gpu}


def set_random_state(state: dict[str, torch.Tensor], here: Processes) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if here.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), here.device)
