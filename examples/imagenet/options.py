"""The options of train_imagenet.py; what they are by default is DeiT's recipe (arXiv 2012.12877)."""

from __future__ import annotations

import argparse
from pathlib import Path

from timm.utils import ParseKwargs

# What may differ when a run goes on: it changes no batch and no step.
FREE = ("out", "root", "threads", "checkpoint_every", "log")


def count(text: str) -> int:
    """A number of things, at least one."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def count_or_none(text: str) -> int:
    """The same; 0 switches off."""
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {number}")
    return number


def parser(description: str | None) -> argparse.ArgumentParser:
    """All options."""
    options = argparse.ArgumentParser(
        description=description,
        formatter_class=type("", (argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter), {}),
    )
    add = options.add_argument
    add("--root", type=Path, required=True, help="train/ and val/ in it hold a folder for each class")
    add("--out", type=Path, default=Path("run"), help="checkpoint.pt and log.csv; a run that is there goes on")
    add("--device", choices=("cpu", "gpu"), help="the GPU if there is one")
    add("--threads", type=count, help="CPU threads of this process: of DALI, and on a CPU of torch")
    add("--seed", type=int, default=0)

    model = options.add_argument_group("model")
    model.add_argument("--model", default="deit_small_patch16_224", help="any of timm")
    model.add_argument("--pretrained", action="store_true", help="start from timm's weights, fetched over the network")
    model.add_argument("--model-kwargs", nargs="*", default={}, action=ParseKwargs, metavar="KEY=VALUE")
    model.add_argument("--drop-path", type=float, default=0.1)
    model.add_argument("--ema", type=float, default=0.99996, help="decay of the averaged weights; 0: none")

    data = options.add_argument_group("data")
    data.add_argument(
        "--image-size", type=int, nargs="+", default=[224], help="several: one after the other, the last for evaluation"
    )
    data.add_argument(
        "--mixer",
        default="mixup-tokenmix",
        choices=("mixup-tokenmix", "mixup-cutmix", "tokenmix", "cutmix", "mixup", "none"),
    )
    data.add_argument("--mixing-off-epochs", type=count_or_none, default=0, help="so many at the end without mixing")
    data.add_argument("--augment", default="rand-augment", choices=("rand-augment", "trivial-augment", "none"))
    data.add_argument("--repeats", type=int, default=1, help="repeated augmentation; DeiT: 3. Must divide --batch-size")
    data.add_argument("--smoothing", type=float, default=0.1)
    data.add_argument("--supervision", default="imagenet", choices=("imagenet", "tokenmix", "relabel", "tokenlabeling"))
    data.add_argument("--label-maps", type=Path, help="a store that `dali-tokenmix make-labels` made of root/train")
    data.add_argument("--teacher", help="instead of a store: timm:<model>, torchvision:<model> or efficientnet-lite0")
    data.add_argument(
        "--teacher-classes",
        type=Path,
        help="a file with a line '<class folder> <class of the teacher>' for each folder",
    )
    data.add_argument("--teacher-checkpoint", type=Path, help="a local file with its weights")

    training = options.add_argument_group("training")
    training.add_argument("--epochs", type=count, default=300)
    training.add_argument("--batch-size", type=int, default=128, help="of a process")
    training.add_argument("--loss", default="bce", choices=("bce", "soft-ce"))
    training.add_argument("--lr", type=float, default=5e-4, help="for 512 images a step, scaled to those there are")
    training.add_argument("--min-lr", type=float, default=0.01, help="at the end, as a share of --lr")
    training.add_argument("--warmup-epochs", type=float, default=5)
    training.add_argument("--weight-decay", type=float, default=0.05)
    training.add_argument("--clip-grad", type=float, default=0, help="norm; 0: none")
    training.add_argument("--amp", default="none", choices=("none", "bfloat16", "float16"))
    training.add_argument(
        "--deterministic", action="store_true", help="on GPUs, and on three processes and more: no sums that vary"
    )

    run = options.add_argument_group("run")
    run.add_argument(
        "--checkpoint-every",
        type=count_or_none,
        default=0,
        metavar="STEPS",
        help="besides every epoch's end; 0: only there",
    )
    run.add_argument("--log", default="csv", choices=("csv", "tensorboard"), help="tensorboard: besides the CSV")
    run.add_argument(
        "--log-every", type=count, default=50, metavar="STEPS", help="the loss is the mean of so many steps"
    )
    run.add_argument(
        "--limit",
        type=count_or_none,
        default=0,
        metavar="STEPS",
        help="a try: only so many batches of an epoch; 0: all",
    )
    return options


def saved(given: argparse.Namespace) -> dict[str, str]:
    """What a run that goes on must have in common with the one that was saved."""
    return {name: repr(value) for name, value in sorted(vars(given).items()) if name not in FREE}
