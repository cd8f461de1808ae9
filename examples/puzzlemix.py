"""PuzzleMix or CoMixup in a training loop: the student's own gradient says what each image must keep.

The Loader gives clean images and one-hot rows (mixer=None). Each step asks the student where it looks, mixes, and
trains on what was mixed: two backward passes instead of one, and the optimisation on the CPU in between.

    python examples/puzzlemix.py --root photos --steps 20 [--method comixup] [--device gpu] [--out mixed.png]
"""

from __future__ import annotations

import argparse
import time
from itertools import chain, islice, repeat

import timm
import torch
from strip import as_uint8, save_strip

import dali_tokenmix as dtm
from dali_tokenmix.losses import soft_target_cross_entropy

METHODS = {"puzzlemix": dtm.PuzzleMix, "comixup": dtm.CoMixup}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--method", choices=METHODS, default="puzzlemix")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", help="a picture of the last batch")
    options = parser.parse_args(argv)

    torch.manual_seed(0)
    loader = dtm.Loader(
        options.root,
        batch_size=options.batch_size,
        image_size=options.image_size,
        device=options.device,
        mixer=None,
        smoothing=0.0,  # the mixer smooths
    )
    model = timm.create_model(options.model, num_classes=loader.num_classes)
    model.to("cuda" if options.device == "gpu" else "cpu").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    mixer = METHODS[options.method]()

    for step, (images, rows) in enumerate(islice(chain.from_iterable(repeat(loader)), options.steps)):
        saliency = dtm.input_saliency(model, images, rows)
        begin = time.perf_counter()
        mixed, targets = mixer(images, rows, saliency, num_classes=loader.num_classes, seed=step, smoothing=0.1)
        took = time.perf_counter() - begin
        loss = soft_target_cross_entropy(model(mixed), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown = (targets > 0.1 / loader.num_classes + 1e-6).sum(1).float().mean()
        print(
            f"step {step + 1}: loss {loss.item():.3f}, {shown:.1f} classes an image, "
            f"mixed in {1000 * took / len(images):.1f} ms an image"
        )
    if options.out:
        mean, std = ([255 * value for value in values] for values in (dtm.IMAGENET_MEAN, dtm.IMAGENET_STD))
        pixels = as_uint8(mixed.cpu().numpy(), mean, std)
        save_strip(options.out, options.method, pixels, targets.cpu().numpy(), loader.classes)
        print(f"picture: {options.out}")


if __name__ == "__main__":
    main()
