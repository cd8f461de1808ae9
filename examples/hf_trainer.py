"""transformers.Trainer on Loaders: TrainerMixin in front of it; train_dataset and eval_dataset are Loaders.

A model for image classification takes the binary cross-entropy for soft labels, if its config says
problem_type="multi_label_classification"; with --loss ce the soft-target cross-entropy is given to the Trainer.
--resume goes on from the last checkpoint in --out, with the batch that would have come next. The model is then read by
from_pretrained(): transformers 5.24 stores a ViT's weights under older names, which its Trainer alone does not load.

    python examples/hf_trainer.py --root photos --epochs 2 --out runs/vit [--loss ce] [--resume]
"""

from __future__ import annotations

import argparse

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification
from transformers.trainer_utils import get_last_checkpoint

import dali_tokenmix as dtm


class LoaderTrainer(dtm.frameworks.TrainerMixin, Trainer):
    pass


def soft_cross_entropy(outputs, labels, num_items_in_batch=None):
    return cross_entropy(outputs.logits, labels)


def accuracy(prediction):
    correct = prediction.predictions.argmax(1) == prediction.label_ids.argmax(1)  # labels are one-hot rows
    return {"accuracy": correct.mean(), "images": len(correct)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--val-root", help="another such folder; left out, the same one")
    parser.add_argument("--out", required=True, help="a folder for checkpoints")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--loss", choices=("bce", "ce"), default="bce")
    parser.add_argument("--save-every", type=int, default=7, help="batches")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()

    # The batch size is the Loaders'. What TrainingArguments say of batches, workers and collators does nothing.
    arguments = TrainingArguments(
        output_dir=options.out,
        num_train_epochs=options.epochs,
        learning_rate=1e-3,
        eval_strategy="epoch",
        save_steps=options.save_every,
        logging_steps=1,
        report_to="none",
        use_cpu=options.device == "cpu",
    )
    shared = {"batch_size": options.batch_size, "image_size": options.image_size, "device": options.device}
    loader = dtm.Loader(options.root, mixer=dtm.TokenMix(patch_size=16), **shared)
    val_root = options.val_root or options.root
    val_loader = dtm.Loader(val_root, train=False, last_batch="partial", num_classes=loader.num_classes, **shared)
    config = ViTConfig(
        image_size=options.image_size,
        patch_size=16,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        id2label=dict(enumerate(loader.classes)),
        problem_type="multi_label_classification",
    )
    checkpoint = get_last_checkpoint(options.out) if options.resume else None
    model = ViTForImageClassification(config)
    if checkpoint:
        model = ViTForImageClassification.from_pretrained(checkpoint)
    trainer = LoaderTrainer(
        model,
        arguments,
        train_dataset=loader,
        eval_dataset=val_loader,
        compute_loss_func=soft_cross_entropy if options.loss == "ce" else None,
        compute_metrics=accuracy,
    )
    if checkpoint:
        print(f"again from {checkpoint.rpartition('/')[2]}")
    trainer.train(resume_from_checkpoint=checkpoint)
    for entry in trainer.state.log_history:
        if "eval_accuracy" in entry:
            print(f"epoch {entry['epoch']:g}: accuracy {entry['eval_accuracy']:.2f} of {entry['eval_images']} images")
    print(f"{trainer.state.global_step} steps, {len(trainer.get_train_dataloader())} batches an epoch")


if __name__ == "__main__":
    main()
