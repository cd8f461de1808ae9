"""DALI's readers: encoded images and the index of each. The only file of the sources that knows DALI."""

from __future__ import annotations

from typing import Any

from nvidia.dali import fn
from nvidia.dali.data_node import DataNode


def read_files(paths: list[str], *, shuffle: int | None, shard_id: int, num_shards: int) -> tuple[DataNode, DataNode]:
    """Files, shuffled as a whole."""
    index = list(range(len(paths)))  # what readers.file calls labels
    jpegs, which = fn.readers.file(files=paths, labels=index, **_order(shuffle, shard_id, num_shards))
    return jpegs, which


def _order(shuffle: int | None, shard_id: int, num_shards: int) -> dict[str, Any]:
    order = (
        {"stick_to_shard": True}
        if shuffle is None
        else {"shuffle_after_epoch": True, "shuffle_after_epoch_seed": shuffle}
    )
    # padded: every epoch then begins with a batch of its own
    return {"shard_id": shard_id, "num_shards": num_shards, "pad_last_batch": True, "name": "Reader", **order}
