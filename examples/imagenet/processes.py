"""One process or many: who this one is, on which device, and sums over all of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

import dali_tokenmix.devices


@dataclass(frozen=True)
class Processes:
    """rank: of `world` processes in all. local_world: how many of them run on this machine. device: torch's."""

    rank: int
    world: int
    local_world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes what is written once."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def gathered(self, value: Any) -> list[Any]:
        """That of every process, by rank, in all of them."""
        values = [value] * self.world
        if self.world > 1:
            distributed.all_gather_object(values, value)
        return values

    def leave(self) -> None:
        if self.world > 1:
            distributed.destroy_process_group()


def join(device: str | None, threads: int | None) -> Processes:
    """Joins the others that torchrun started, if it did. Before any Loader is made: it takes rank and GPU from here."""
    device = dali_tokenmix.devices.resolve(device)
    rank, world, local_rank, local_world = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    )
    if device == "gpu":
        torch.cuda.set_device(local_rank)
    elif threads:
        torch.set_num_threads(threads)
    if world > 1:
        distributed.init_process_group(
            "nccl" if device == "gpu" else "gloo", store=_store(local_world == world), rank=rank, world_size=world
        )
    return Processes(
        rank, world, local_world, torch.device("cuda", local_rank) if device == "gpu" else torch.device("cpu")
    )


def _store(one_machine: bool) -> distributed.Store:
    """Where processes find each other. torchrun's keeps what killed ones left, whom the others would wait for.

    Only on one machine do all processes know the same number of restarts; docs/distributed.md has what to do on more.
    """
    store, _, _ = next(distributed.rendezvous("env://"))
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return distributed.PrefixStore(f"restart{restarts}", store) if one_machine else store
