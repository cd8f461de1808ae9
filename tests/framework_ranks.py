"""Run by torchrun on two processes: each framework trains, stops in mid-epoch, goes on; prints what each rank saw.

For each framework a line of JSON: {"framework", "ranks": [{"seen": [[indices of a batch], ...], "sums": [of its
pixels], "again": the sums after going on from batch AT}]}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

import dali_tokenmix as dtm

OPTIONS = {"batch_size": 4, "image_size": 32, "mixer": dtm.TokenMix(8), "num_threads": 1}  # 20 of 40: five batches
EPOCHS, AT = 2, 7


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 4))


class Seen:
    def __init__(self) -> None:
        self.indices: list[list[int]] = []
        self.sums: list[float] = []

    def note(self, loader: dtm.Loader, images: torch.Tensor) -> None:
        self.indices.append(loader.indices.tolist())
        self.sums.append(float(images.double().sum()))


def with_accelerate(root: str, folder: Path) -> tuple[Seen, Seen]:
    from accelerate import Accelerator

    def train(resume: bool) -> Seen:
        accelerator, seen = Accelerator(cpu=True), Seen()
        loader = dtm.Loader(root, device="cpu", **OPTIONS)
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model, optimizer, batches = accelerator.prepare(model, optimizer, dtm.frameworks.TorchLoader(loader))
        if resume:
            accelerator.load_state(folder)
        for _ in range(loader.epoch, EPOCHS):
            for images, targets in batches:
                accelerator.backward(cross_entropy(model(images), targets))
                optimizer.step()
                optimizer.zero_grad()
                seen.note(loader, images)
                if len(seen.sums) == AT and not resume:
                    accelerator.save_state(folder)
        accelerator.free_memory()
        return seen

    return train(False), train(True)


def with_lightning(root: str, folder: Path) -> tuple[Seen, Seen]:
    import lightning.pytorch as pl

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.seen, self.validated = net(), Seen(), 0

        def training_step(self, batch, number):
            self.seen.note(self.trainer.datamodule.train_loader, batch[0])
            return cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, number):
            self.validated += len(batch[0])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def train(resume: str | None) -> Seen:
        each = pl.callbacks.ModelCheckpoint(folder, every_n_train_steps=AT, filename="at", enable_version_counter=False)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_epochs=EPOCHS, num_sanity_val_steps=0, **quiet,
            **({"enable_checkpointing": False} if resume else {"callbacks": [each]}),
        )  # fmt: skip
        model = Model()
        trainer.fit(model, datamodule=dtm.frameworks.LightningDataModule(root, root, **OPTIONS), ckpt_path=resume)
        assert model.validated == 20 * (EPOCHS if resume is None else 1)
        return model.seen

    return train(None), train(str(folder / "at.ckpt"))


def with_trainer(root: str, folder: Path) -> tuple[Seen, Seen]:
    from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

    class Recording(dtm.frameworks.TrainerMixin, Trainer):
        def training_step(self, model, inputs, *arguments, **options):
            self.seen.note(self.train_dataset, inputs["pixel_values"])
            with torch.no_grad():
                logits = model(pixel_values=inputs["pixel_values"]).logits
            expected = binary_cross_entropy_with_logits(logits, inputs["labels"])
            loss = super().training_step(model, inputs, *arguments, **options)
            torch.testing.assert_close(loss, expected)  # not times the number of processes
            return loss

    def train(resume: str | None) -> Seen:
        shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        config = ViTConfig(
            image_size=32, patch_size=8, num_labels=4, problem_type="multi_label_classification", **shape
        )
        arguments = TrainingArguments(
            str(folder), num_train_epochs=EPOCHS, save_steps=AT, use_cpu=True, report_to="none", disable_tqdm=True,
            logging_strategy="no",
        )  # fmt: skip
        loader = dtm.Loader(root, device="cpu", **OPTIONS)
        trainer = Recording(ViTForImageClassification(config), arguments, train_dataset=loader)
        trainer.seen = Seen()
        trainer.train(resume_from_checkpoint=resume)
        return trainer.seen

    return train(None), train(str(folder / f"checkpoint-{AT}"))


def main() -> None:
    root, folder, *names = sys.argv[1:]
    for name in names:
        first, again = globals()[f"with_{name}"](root, Path(folder) / name)
        ranks = [None, None]
        torch.distributed.all_gather_object(ranks, {"seen": first.indices, "sums": first.sums, "again": again.sums})
        if torch.distributed.get_rank() == 0:
            print(json.dumps({"framework": name, "ranks": ranks}), flush=True)


if __name__ == "__main__":
    main()
