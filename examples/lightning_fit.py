"""Lightning: a DataModule of Loaders, with its Trainer's shards, checkpoints in mid-epoch and validation.

Targets are soft: cross_entropy takes them as they are. The run is resumed from its checkpoint, which goes on with the
batch that would have come next.

    python examples/lightning_fit.py --root photos --epochs 2 [--device gpu]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import lightning.pytorch as pl
import timm
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy

import dali_tokenmix as dtm


class Classifier(pl.LightningModule):
    def __init__(self, num_classes: int, image_size: int, patch_size: int) -> None:
        super().__init__()
        self.model = timm.create_model(
            "vit_tiny_patch16_224", num_classes=num_classes, img_size=image_size, patch_size=patch_size, depth=2
        )

    def training_step(self, batch, number):
        images, targets = batch
        loss = cross_entropy(self.model(images), targets)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, number):
        images, targets = batch  # one-hot rows
        correct = self.model(images).argmax(1) == targets.argmax(1)
        self.log("accuracy", correct.float().mean(), batch_size=len(images), sync_dist=True)

    def on_train_epoch_end(self):
        metrics = self.trainer.callback_metrics
        print(
            f"epoch {self.current_epoch}: {self.trainer.num_training_batches} batches, loss {metrics['loss']:.4f}, "
            f"accuracy {metrics['accuracy']:.2f}"
        )

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--val-root", help="another such folder; left out, the same one")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=7, help="batches")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    num_classes = sum(folder.is_dir() for folder in Path(options.root).iterdir())
    # No shards and no device: the Trainer's own are taken.
    data = dtm.frameworks.LightningDataModule(
        options.root,
        options.val_root or options.root,
        batch_size=options.batch_size,
        image_size=options.image_size,
        mixer=dtm.TokenMix(patch_size=16),
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    with tempfile.TemporaryDirectory() as folder:
        model = Classifier(num_classes, options.image_size, patch_size=16)
        middle = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=options.save_every)
        trainer = pl.Trainer(
            accelerator=options.device, devices="auto", max_epochs=options.epochs, callbacks=[middle], **quiet
        )
        trainer.fit(model, datamodule=data)

        print(f"again from {Path(middle.best_model_path).stem}")
        quiet["enable_checkpointing"] = False
        again = pl.Trainer(accelerator=options.device, devices="auto", max_epochs=options.epochs, **quiet)
        again.fit(model, datamodule=data, ckpt_path=middle.best_model_path)


if __name__ == "__main__":
    main()
