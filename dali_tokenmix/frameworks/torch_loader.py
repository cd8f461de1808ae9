"""TorchLoader: a Loader as a torch.utils.data.DataLoader, for what insists on one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from ..checks import integer
from ..loader import Loader
from . import accelerate


class TorchLoader(DataLoader[Any]):
    """A Loader as a DataLoader: the same batches, the same length, no workers, no collate function, no copy.

    Accelerator.prepare(), Lightning, Fabric and Trainer take it as it is. None of them shards it again: its part of
    the data is the Loader's. With Accelerate batches are moved to the accelerator's device; accelerator.save_state()
    holds where it stands.

    Args:
        loader: a Loader. loader.indices, prob, mixing and so on work as ever.
        names: of images and targets, for batches that are dicts, as models of transformers take them:
            ("pixel_values", "labels"). None: batches are tuples (images, targets).

    An iterator begins with its first batch, not when it is made. set_epoch() holds from the next loop on.
    Raises TypeError for anything but a Loader, ValueError for names that are not two.
    """

    # What Accelerate asks for: it is sharded and on its device, and its state is to be saved.
    _is_accelerate_prepared = True
    use_stateful_dataloader = True
    end_of_dataloader = False
    remainder = -1

    def __init__(self, loader: Loader, *, names: Sequence[str] | None = None) -> None:
        if not isinstance(loader, Loader):
            raise TypeError(f"loader must be a dali_tokenmix.Loader, got {type(loader).__name__}")
        if names is not None and (isinstance(names, str) or len(names) != 2):
            raise ValueError(f"names must be two, of images and targets, got {names!r}")
        self.loader, self.names = loader, names
        self._epoch: int | None = None  # asked for by set_epoch(), for the next loop
        self._offset, self._loaded = 0, False
        order = _Order(self)
        super().__init__(_Batches(self), batch_sampler=order, collate_fn=_as_it_is)
        # DataLoader guards both after __init__ and has none where there is a batch sampler.
        object.__setattr__(self, "batch_size", loader.batch_size)
        object.__setattr__(self, "sampler", order)

    def __len__(self) -> int:
        """Batches in an epoch of this shard."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._begin()
        with accelerate.running(self) as placed:
            for batch in self.loader:
                self.end_of_dataloader = self.loader.batch == 0  # it counts before it yields
                yield placed(self._named(batch))

    def set_epoch(self, epoch: int) -> None:
        """The next loop runs this epoch; where it stands there already, also in mid-epoch, nothing changes.

        A framework may count from 0 in a process that has loaded a state (Fabric does): its number is then taken as
        that of the epoch the state stands in.
        """
        self._epoch = integer("epoch", epoch, at_least=0)

    def state_dict(self) -> dict[str, Any]:
        """Where the run is. In a run of more processes each must call it, and each gets the state of all."""
        state = self.loader.state_dict()
        if not self._gathers():
            return state
        states: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(states, state)
        return {"shards": {str(state["run"]["shard_id"]): state for state in states}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where state_dict() was taken; of all shards' states it takes its own.

        Raises ValueError for a state of another number of shards, or of another run, naming what differs.
        """
        if isinstance(state, dict) and "shards" in state:
            shards, own = state["shards"], str(self.loader.state_dict()["run"]["shard_id"])
            if own not in shards:
                raise ValueError(f"state is of shards {', '.join(shards)}, this loader is shard {own}")
            state = shards[own]
        self.loader.load_state_dict(state)
        self._epoch, self._offset, self._loaded = None, 0, True

    def _begin(self) -> None:
        """The epoch that set_epoch() asked for, if it did."""
        epoch, self._epoch, loaded, self._loaded = self._epoch, None, self._loaded, False
        if epoch is None:
            return
        if loaded:
            self._offset = max(self.loader.epoch - epoch, 0)
        self.loader.set_epoch(epoch + self._offset)

    def _named(self, batch: Any) -> Any:
        return batch if self.names is None else dict(zip(self.names, batch, strict=True))

    def _gathers(self) -> bool:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        shards = int(self.loader.state_dict()["run"]["num_shards"]) if distributed else 1
        return shards > 1 and shards == torch.distributed.get_world_size()


class _Batches(Dataset[Any]):
    """The loader's batches by number, one after the other: for a DataLoader that others build around it.

    accelerate.skip_first_batches() does, as Trainer does when it resumes. What is skipped is made only if the loader
    does not stand behind it already.
    """

    def __init__(self, owner: TorchLoader) -> None:
        self._owner = owner
        self._batches: Iterator[Any] | None = None

    def __len__(self) -> int:
        """Samples in an epoch of this shard, at most."""
        return len(self._owner) * self._owner.loader.batch_size

    def __getitems__(self, numbers: list[int]) -> Any:
        (number,) = numbers
        loader = self._owner.loader
        if self._batches is None or number < loader.batch:
            self._owner._begin()
            self._batches = iter(loader)
        while loader.batch < number:
            next(self._batches)
        batch = self._owner._named(next(self._batches))
        if loader.batch == 0:
            self._batches = None
        return batch

    def __getitem__(self, number: int) -> Any:
        raise TypeError("a TorchLoader has batches, not samples: loop over it")


class _Order(DistributedSampler[Any]):
    """The numbers of the batches. It is a DistributedSampler because the data is sharded: none is put in its place."""

    def __init__(self, owner: TorchLoader) -> None:
        self._owner = owner
        self.batch_size, self.drop_last = 1, False

    def __len__(self) -> int:
        return len(self._owner)

    def __iter__(self) -> Iterator[Any]:
        return iter([number] for number in range(len(self)))

    def set_epoch(self, epoch: int) -> None:
        self._owner.set_epoch(epoch)


def _as_it_is(batch: Any) -> Any:
    return batch
