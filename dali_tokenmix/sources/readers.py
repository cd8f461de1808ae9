"""DALI's readers: encoded images and the index of each. The only file of the sources that knows DALI."""

from __future__ import annotations

from typing import Any

import numpy as np
from nvidia.dali import fn, tfrecord
from nvidia.dali.data_node import DataNode

from .. import op
from .records import Records


def read_files(paths: list[str], *, shuffle: int | None, shard_id: int, num_shards: int) -> tuple[DataNode, DataNode]:
    """Files, shuffled as a whole."""
    index = list(range(len(paths)))  # what readers.file calls labels
    jpegs, which = fn.readers.file(files=paths, labels=index, **_order(shuffle, shard_id, num_shards))
    return jpegs, which


def read_tar(records: Records, *, shuffle: int | None, shard_id: int, num_shards: int) -> tuple[DataNode, DataNode]:
    """Images in tar shards."""
    folder = records.index_folder()
    shards, files = records.write_index(folder.name)
    order = _order(shuffle, shard_id, num_shards) | _buffer(shuffle, records.initial_fill)
    images = fn.readers.webdataset(paths=shards, index_paths=files, ext=["image"], **order)
    return images, _index_of(images, records, folder)


def read_tf_record(
    records: Records, feature: str, *, shuffle: int | None, shard_id: int, num_shards: int
) -> tuple[DataNode, DataNode]:
    """Images in a feature of TFRecords."""
    folder = records.index_folder()
    files, indices = records.write_index(folder.name)
    order = _order(shuffle, shard_id, num_shards) | _buffer(shuffle, records.initial_fill)
    wanted = {feature: tfrecord.FixedLenFeature([], tfrecord.string, "")}
    found: Any = fn.readers.tfrecord(path=files, index_path=indices, features=wanted, **order)
    images = found[feature]
    return images, _index_of(images, records, folder)


def _index_of(images: DataNode, records: Records, folder: Any) -> DataNode:
    """Which samples these are, by what DALI says of where they are from."""

    def look_up(places: np.ndarray) -> tuple[np.ndarray]:
        folder.cleanup()  # what is in it was read when the pipeline was built; a process killed later leaves nothing
        texts = [bytes(place).rstrip(b"\0").decode() for place in places]
        return (records.indices_of(texts).astype(np.int32).reshape(-1, 1),)

    return op.host(look_up, fn.pad(fn.get_property(images, key="source_info")))[0]


def _buffer(shuffle: int | None, initial_fill: int) -> dict[str, Any]:
    """The shuffle within shards, beside that of whole shards."""
    return {} if shuffle is None else {"random_shuffle": True, "initial_fill": initial_fill, "seed": shuffle}


def _order(shuffle: int | None, shard_id: int, num_shards: int) -> dict[str, Any]:
    order = (
        {"stick_to_shard": True}
        if shuffle is None
        else {"shuffle_after_epoch": True, "shuffle_after_epoch_seed": shuffle}
    )
    # padded: every epoch then begins with a batch of its own
    return {"shard_id": shard_id, "num_shards": num_shards, "pad_last_batch": True, "name": "Reader", **order}
