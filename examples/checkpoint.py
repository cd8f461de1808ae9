"""DALI's own checkpoints with token_mix in the graph: a run that is broken off goes on bit for bit.

The draws come from DALI's random operators, whose state is in the checkpoint, and token_mix keeps none of its own. The
first run takes a checkpoint half way and goes on to the end. The second is made from the file, in a new iterator.

    python examples/checkpoint.py --root photos --steps 10 --file run.dali [--device gpu]
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from itertools import chain, islice, repeat
from pathlib import Path

import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIGenericIterator

import dali_tokenmix as dtm

MEAN, STD = [0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]


@pipeline_def(enable_checkpointing=True)
def pipeline(root: str, size: int, device: str, num_classes: int):
    jpegs, labels = fn.readers.file(file_root=root, random_shuffle=True, pad_last_batch=True, name="Reader")
    images = fn.decoders.image_random_crop(jpegs, device="mixed" if device == "gpu" else "cpu")
    images = fn.resize(images, size=(size, size))
    mixer = dtm.Choice([dtm.MixUp(alpha=0.8), dtm.TokenMix(patch_size=8)])
    images, targets = dtm.fn.token_mix(images, labels, num_classes=num_classes, mixer=mixer, inplace=True)
    images = fn.crop_mirror_normalize(
        images, dtype=types.FLOAT, output_layout="CHW", mean=MEAN, std=STD, mirror=fn.random.coin_flip()
    )
    return images, targets


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--file", required=True, help="the checkpoint that is written, and read again")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)

    half = options.steps // 2
    batches = iterator(options)
    first = digests(ahead := endless(batches), half)
    (state,) = batches.checkpoints()  # one for each pipeline
    Path(options.file).write_bytes(state)
    undisturbed = digests(ahead, options.steps - half)

    resumed = digests(endless(iterator(options, checkpoint=Path(options.file).read_bytes())), options.steps - half)
    for step, (one, other) in enumerate(zip(undisturbed, resumed, strict=True), half + 1):
        print(f"step {step}: {one} and {other}, {'the same' if one == other else 'NOT the same'}")
    again = digests(endless(iterator(options)), half)
    print(
        f"{len(state)} bytes of state; a new run {'repeats' if again == first else 'does NOT repeat'} the first steps"
    )


def iterator(options: argparse.Namespace, **checkpoint: bytes) -> DALIGenericIterator:
    """The batches from the beginning, or from a checkpoint."""
    num_classes = sum(folder.is_dir() for folder in Path(options.root).iterdir())
    graph = pipeline(
        options.root,
        options.image_size,
        options.device,
        num_classes,
        batch_size=options.batch_size,
        num_threads=2,
        device_id=0 if options.device == "gpu" else None,
        seed=0,
        **checkpoint,
    )
    return DALIGenericIterator(
        graph,
        ["images", "targets"],
        reader_name="Reader",
        auto_reset=True,
        last_batch_policy=LastBatchPolicy.PARTIAL,
    )


def endless(batches: DALIGenericIterator) -> Iterable:
    """Epoch after epoch."""
    return chain.from_iterable(repeat(batches))


def digests(batches: Iterable, steps: int) -> list[str]:
    """What identifies the bytes of the next batches."""
    found = []
    for (batch,) in islice(batches, steps):
        content = b"".join(batch[name].cpu().numpy().tobytes() for name in ("images", "targets"))
        found.append(hashlib.sha256(content).hexdigest()[:12])
    return found


if __name__ == "__main__":
    main()
