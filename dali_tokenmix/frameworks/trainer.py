"""TrainerMixin: Loaders as the data of transformers.Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .torch_loader import TorchLoader

STATE = "loader.pt"


class TrainerMixin:
    """Put in front of transformers.Trainer, it takes Loaders as train_dataset and eval_dataset.

        class LoaderTrainer(dtm.frameworks.TrainerMixin, transformers.Trainer): ...
        trainer = LoaderTrainer(model, args, train_dataset=loader, eval_dataset=val_loader)

    Batches are {"pixel_values": images, "labels": soft targets}; what they are called is the attribute `names`. A loss
    is a batch's mean, and the mean over what gradient accumulation adds up. Checkpoints hold where the loader stands:
    after resume_from_checkpoint the batches are those of an undisturbed run. The batch size is the Loader's:
    per_device_train_batch_size, workers and collators of the Trainer do nothing.
    Raises TypeError for data that is no Loader, ValueError for a checkpoint of another trainer or run.
    """

    names = ("pixel_values", "labels")
    loss_is_scaled_for_ga = False
    _train_loader: TorchLoader | None = None
    _checkpoint: str | None = None

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As the Trainer's own; a checkpoint's place in the data is restored as well."""
        if resume_from_checkpoint is True:
            from transformers.trainer_utils import get_last_checkpoint

            mine: Any = self  # of which the Trainer has args
            find: Any = get_last_checkpoint
            resume_from_checkpoint = find(mine.args.output_dir) or True
        self._checkpoint = resume_from_checkpoint if isinstance(resume_from_checkpoint, str) else None
        return super().train(resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]

    def get_train_dataloader(self) -> TorchLoader:
        """The Loader of training, where the checkpoint left it."""
        self._train_loader = self._loader(self.train_dataset)  # type: ignore[attr-defined]
        if self._checkpoint is not None:
            path = Path(self._checkpoint) / STATE
            if not path.exists():
                raise ValueError(f"resume_from_checkpoint must hold {STATE}, as a TrainerMixin saves it, not so {path}")
            self._train_loader.load_state_dict(torch.load(path, weights_only=True))
        return self._train_loader

    def get_eval_dataloader(self, eval_dataset: Any = None) -> TorchLoader:
        """The Loader of evaluation."""
        given: Any = self.eval_dataset  # type: ignore[attr-defined]
        if isinstance(eval_dataset, str):
            eval_dataset = given[eval_dataset]
        return self._loader(given if eval_dataset is None else eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> TorchLoader:
        """The Loader of a test."""
        return self._loader(test_dataset)

    def _loader(self, data: Any) -> TorchLoader:
        return data if isinstance(data, TorchLoader) else TorchLoader(data, names=self.names)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)  # type: ignore[misc]
        if self._train_loader is not None:
            state = self._train_loader.state_dict()  # of all processes
            if self.args.should_save:  # type: ignore[attr-defined]
                torch.save(state, Path(output_dir) / STATE)

    def _get_num_items_in_batch(self, *_: Any) -> None:
        """None: the Trainer counts each number of a soft target, and takes a loss to be a sum over what it counted."""
