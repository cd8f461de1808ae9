"""Mixing images that are float16 and NCHW already, at the end of a pipeline whose other steps stay as they are.

Tokens are moved as bytes, so dtype and layout make no difference to what comes out: every value is bit for bit that of
the image itself or of its partner. Mixing uint8 before the normalisation moves half the bytes, see resnet50_dali.py.

    python examples/float16_nchw.py --root photos --steps 3 [--device gpu] [--out mixed.png]
"""

from __future__ import annotations

import argparse
from itertools import chain, islice, repeat
from pathlib import Path

import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.pytorch import DALIGenericIterator
from strip import as_uint8, save_strip

import dali_tokenmix as dtm

MEAN, STD = [0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]
NAMES = ["images", "targets", "clean", "labels", "partner", "mask"]
PATCH = 16


@pipeline_def
def pipeline(root: str, size: int, device: str, num_classes: int):
    """float16 (3, size, size) images, mixed; and what is needed to check them."""
    jpegs, labels = fn.readers.file(file_root=root, random_shuffle=True, pad_last_batch=True, name="Reader")
    images = fn.decoders.image_random_crop(jpegs, device="mixed" if device == "gpu" else "cpu")
    images = fn.resize(images, size=(size, size))
    clean = fn.crop_mirror_normalize(
        images, dtype=types.FLOAT16, output_layout="CHW", mean=MEAN, std=STD, mirror=fn.random.coin_flip()
    )
    # inplace=False, the default: `clean` is an output as well, so it must not change.
    images, targets, plan = dtm.fn.token_mix(
        clean, labels, num_classes=num_classes, mixer=dtm.TokenMix(patch_size=PATCH), return_plan=True
    )
    return images, targets, clean, labels, plan["partner"], plan["mask"]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", help="a picture of the last batch")
    options = parser.parse_args(argv)

    classes = sorted(folder.name for folder in Path(options.root).iterdir() if folder.is_dir())
    graph = pipeline(
        options.root,
        options.image_size,
        options.device,
        len(classes),
        batch_size=options.batch_size,
        num_threads=2,
        device_id=0 if options.device == "gpu" else None,
        seed=0,
    )
    batches = DALIGenericIterator(graph, NAMES, reader_name="Reader", auto_reset=True)
    endless = chain.from_iterable(repeat(batches))  # epoch after epoch
    for step, (batch,) in enumerate(islice(endless, options.steps)):
        images, clean = batch["images"], batch["clean"]
        partner, mask = batch["partner"].long().to(images.device), batch["mask"].to(images.device)
        shown = mask.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)[:, None].bool()
        shown = shown[..., : images.shape[2], : images.shape[3]]
        same = torch.equal(images.view(torch.int16), torch.where(shown, clean[partner], clean).view(torch.int16))
        print(
            f"step {step + 1}: {images.dtype} {tuple(images.shape)}, {shown.float().mean():.1%} from partners, "
            f"every bit {'is' if same else 'is NOT'} where it belongs"
        )
    if options.out:
        pixels = as_uint8(images.cpu().numpy(), MEAN, STD)
        save_strip(options.out, "float16 NCHW, mixed", pixels, batch["targets"].cpu().numpy(), classes)
        print(f"picture: {options.out}")


if __name__ == "__main__":
    main()
