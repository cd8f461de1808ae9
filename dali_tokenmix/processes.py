"""Which part of the data is this process's, and that a fork has none."""

from __future__ import annotations

import os

import torch

from .checks import integer
from .lifetime import FORKED


def shard(shard_id: int | None, num_shards: int | None) -> tuple[int, int]:
    """(shard_id, num_shards), each as given, or else this process's rank and how many processes there are.

    They are torch.distributed's where a process group is initialised, else torchrun's (RANK and WORLD_SIZE), else 0 of
    1. With num_shards given alone, the rank counts if there are just as many processes; otherwise shard_id is 0.
    """
    rank, world = _rank_and_world()
    if num_shards is None:
        num_shards = world if shard_id is None else 1
    num_shards = integer("num_shards", num_shards, at_least=1)
    if shard_id is None:
        shard_id = rank if num_shards == world else 0
    return integer("shard_id", shard_id, at_least=0, at_most=num_shards - 1), num_shards


def _rank_and_world() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    rank, world = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if rank.isdecimal() and world.isdecimal() and int(rank) < int(world):
        return int(rank), int(world)
    return 0, 1


class Process:
    """The process that something was made in."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def check(self) -> None:
        """Raises RuntimeError in another one: DALI's threads are not there, and waiting for them would hang."""
        if os.getpid() != self._pid:
            raise RuntimeError(FORKED)
