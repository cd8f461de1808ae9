"""The same DALI graph feeds JAX: nvidia.dali.plugin.jax.data_iterator around it, and a jitted training step.

Batches are dicts of jax.Array; images are mixed and targets are soft before JAX sees them. The step is data parallel
over all JAX devices. With --loader a dtm.Loader takes the iterator's place: its torch tensors become jax.Arrays by
DLPack, without a copy.

    python examples/jax_iterator.py --root photos --epochs 4 [--loader] [--device gpu]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from nvidia.dali import fn, types
from nvidia.dali.plugin.jax import data_iterator

import dali_tokenmix as dtm

BACKEND = "gpu" if jax.default_backend() == "gpu" else "cpu"
Params = dict[str, jax.Array]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="a folder with a folder of images for each class")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "gpu"), default=BACKEND)
    parser.add_argument("--loader", action="store_true", help="feed JAX from a dtm.Loader")
    options = parser.parse_args()

    make = loader_batches if options.loader else iterator_batches
    num_classes = sum(folder.is_dir() for folder in Path(options.root).iterdir())
    epoch_of_batches = make(options, num_classes)
    split = NamedSharding(Mesh(jax.devices(), ("data",)), PartitionSpec("data"))
    params = initial(jax.random.key(0), num_classes)
    momentum = jax.tree.map(jnp.zeros_like, params)
    for epoch in range(options.epochs):
        losses = []
        for images, targets in epoch_of_batches():
            images, targets = jax.device_put((images, targets), split)  # a part of the batch to each device
            params, momentum, loss = step(params, momentum, images, targets)
            losses.append(loss)
        print(f"epoch {epoch}: {len(losses)} batches, loss {jnp.stack(losses).mean():.4f}")
    kind = f"{type(images).__module__}.{type(images).__name__}"
    print(f"{kind}: images {images.shape} {images.dtype}, targets {targets.shape}, on {len(images.devices())} devices")


def iterator_batches(options: argparse.Namespace, num_classes: int):
    """Epochs of (images, targets) of DALI's iterator for JAX."""

    @data_iterator(output_map=["images", "targets"], reader_name="reader", auto_reset=True)
    def batches():
        jpegs, labels = fn.readers.file(file_root=options.root, random_shuffle=True, name="reader")
        images = fn.decoders.image_random_crop(jpegs, device="mixed" if options.device == "gpu" else "cpu")
        images = fn.resize(images, size=(options.image_size, options.image_size))
        mixer = dtm.TokenMix(patch_size=8)
        images, targets = dtm.fn.token_mix(images, labels, num_classes=num_classes, mixer=mixer, inplace=True)
        mean, std = ([255 * value for value in values] for values in (dtm.IMAGENET_MEAN, dtm.IMAGENET_STD))
        return fn.crop_mirror_normalize(images, dtype=types.FLOAT, mean=mean, std=std, output_layout="HWC"), targets

    # device_id=None: no GPU. Left out, DALI's iterator takes GPU 0.
    device_id = 0 if options.device == "gpu" else None
    iterator = batches(batch_size=options.batch_size, num_threads=2, device_id=device_id, seed=0)

    def epoch() -> Iterator[tuple[jax.Array, jax.Array]]:
        for batch in iterator:
            yield batch["images"], batch["targets"]

    return epoch


def loader_batches(options: argparse.Namespace, num_classes: int):
    """Epochs of (images, targets) of a Loader."""
    loader = dtm.Loader(
        options.root,
        batch_size=options.batch_size,
        image_size=options.image_size,
        mixer=dtm.TokenMix(patch_size=8),
        num_classes=num_classes,
        layout="NHWC",
        device=options.device,
    )

    def epoch() -> Iterator[tuple[jax.Array, jax.Array]]:
        for images, targets in loader:
            yield jnp.from_dlpack(images), jnp.from_dlpack(targets)

    return epoch


def initial(key: jax.Array, num_classes: int) -> Params:
    """Two convolutions and a classifier."""
    keys = jax.random.split(key, 3)
    shapes = {"first": (5, 5, 3, 16), "second": (5, 5, 16, 32), "last": (32, num_classes)}
    scales = {"first": 75, "second": 400, "last": 32}
    return {
        name: jax.random.normal(k, shape) * (2 / scales[name]) ** 0.5
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def loss_of(params: Params, images: jax.Array, targets: jax.Array) -> jax.Array:
    """Cross-entropy with soft targets."""
    hidden = images
    for name in ("first", "second"):
        hidden = jax.lax.conv_general_dilated(
            hidden, params[name], (4, 4), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        hidden = jax.nn.relu(hidden)
    logits = hidden.mean((1, 2)) @ params["last"]
    return -(targets * jax.nn.log_softmax(logits)).sum(1).mean()


@jax.jit
def step(params: Params, momentum: Params, images: jax.Array, targets: jax.Array) -> tuple[Params, Params, jax.Array]:
    loss, gradients = jax.value_and_grad(loss_of)(params, images, targets)
    momentum = jax.tree.map(lambda moving, new: 0.9 * moving + new, momentum, gradients)
    return jax.tree.map(lambda value, moving: value - 0.02 * moving, params, momentum), momentum, loss


if __name__ == "__main__":
    main()
