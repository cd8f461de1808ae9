"""JAX: DALI's iterator for it around fn.token_mix, and a Loader by DLPack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'dali_tokenmix[frameworks]'")

import jax.numpy as jnp  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402
from nvidia.dali import fn, pipeline_def  # noqa: E402
from nvidia.dali.plugin.jax import DALIGenericIterator, data_iterator  # noqa: E402

import dali_tokenmix as dtm  # noqa: E402
from dali_tokenmix.devices import gpu_problem  # noqa: E402

ROOT = Path(__file__).parent.parent
NAMES = ["images", "targets", "labels", "clean", "partner", "mask", "own", "other"]
SIZE = (48, 64)


def graph(root, shard_id=0, num_shards=1):
    """Mixed images, and all that is needed to mix them once more."""
    shard = {"shard_id": shard_id, "num_shards": num_shards, "stick_to_shard": True}
    jpegs, labels = fn.readers.file(file_root=str(root), name="reader", random_shuffle=True, seed=1, **shard)
    clean = fn.resize(fn.decoders.image_random_crop(jpegs, seed=2), size=SIZE)
    images, targets, plan = dtm.fn.token_mix(
        clean, labels, num_classes=4, mixer=dtm.TokenMix(patch_size=8), seed=shard_id, return_plan=True, smoothing=0.0
    )
    return images, targets, labels, clean, *(plan[name] for name in NAMES[4:])


def iterator(root, decorator=data_iterator, **options):
    given = {"batch_size": 8, "num_threads": 2, "device_id": None, **options}
    return decorator(graph, output_map=NAMES, reader_name="reader", auto_reset=True)(root, **given)


def shards(root):
    define = pipeline_def(graph)
    return [define(root, k, 2, batch_size=4, num_threads=1, device_id=None) for k in range(2)]


def test_the_iterator_gives_jax_what_the_pipeline_gives(photo_folder):
    pipeline = pipeline_def(graph)(photo_folder, batch_size=8, num_threads=2, device_id=None)
    pipeline.build()
    batches = iterator(photo_folder)
    seen = [*batches, *batches]  # all are held: two epochs of five batches
    assert len(batches) == 5
    assert len(seen) == 10
    for batch in seen:
        for name, output in zip(NAMES, pipeline.run(), strict=True):
            assert isinstance(batch[name], jax.Array)
            np.testing.assert_array_equal(batch[name], output.as_array())
    assert not np.array_equal(seen[0]["images"], seen[1]["images"])


def test_jax_sees_partners_where_the_mask_says_and_their_labels(photo_folder):
    for batch in iterator(photo_folder):
        shown = jnp.repeat(jnp.repeat(batch["mask"], 8, axis=1), 8, axis=2)[..., None] == 1
        assert shown.shape == (8, *SIZE, 1)
        np.testing.assert_array_equal(
            batch["images"], jnp.where(shown, batch["clean"][batch["partner"]], batch["clean"])
        )
        assert not np.array_equal(batch["images"], batch["clean"])
        one_hot = jax.nn.one_hot(batch["labels"][:, 0], 4)
        area = shown.mean((1, 2))
        expected = (1 - area) * one_hot + area * one_hot[batch["partner"]]
        np.testing.assert_allclose(batch["targets"], expected, atol=1e-6)


def test_a_peekable_iterator(photo_folder):
    clu = pytest.importorskip("nvidia.dali.plugin.jax.clu", reason="peekable_data_iterator needs the package clu")
    batches = iterator(photo_folder, clu.peekable_data_iterator)
    ahead = batches.peek()
    np.testing.assert_array_equal(ahead["images"], next(batches)["images"])
    assert not np.array_equal(ahead["images"], next(batches)["images"])


def test_sharding_over_one_device(photo_folder):
    split = NamedSharding(Mesh(jax.devices("cpu")[:1], ("data",)), PartitionSpec("data"))
    batch = next(DALIGenericIterator(shards(photo_folder)[:1], NAMES, reader_name="reader", sharding=split))
    assert batch["images"].sharding == split
    assert batch["images"].shape == (4, *SIZE, 3)


def test_two_pipelines_are_two_shards_drawn_for_differently(photo_folder):
    batch = next(DALIGenericIterator(shards(photo_folder), NAMES, reader_name="reader"))
    first, second = (next(iterator_of_one)["images"] for iterator_of_one in map(single, shards(photo_folder)))
    np.testing.assert_array_equal(batch["images"], np.stack([first, second]))
    assert not np.array_equal(batch["clean"][0], batch["clean"][1])
    assert not np.array_equal(batch["mask"][0], batch["mask"][1])


def single(pipeline):
    return DALIGenericIterator([pipeline], NAMES, reader_name="reader")


@pytest.mark.skipif(
    gpu_problem() is None, reason="there is a GPU, which the iterator takes if it is not told otherwise"
)
def test_without_a_gpu_dali_asks_for_device_id_none(photo_folder):
    with pytest.raises(RuntimeError, match="set `device_id = None`"):
        data_iterator(graph, output_map=NAMES, reader_name="reader")(photo_folder, batch_size=8)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_images_of_a_loader_become_jax_arrays_without_a_copy(photo_folder, dtype, layout):
    options = {"batch_size": 8, "image_size": SIZE, "mixer": dtm.TokenMix(patch_size=8), "device": "cpu"}
    held = []
    for _ in range(2):
        for images, targets in dtm.Loader(photo_folder, dtype=dtype, layout=layout, **options):
            given = jnp.from_dlpack(images, copy=False)
            assert given.unsafe_buffer_pointer() == images.data_ptr()
            assert given.dtype == dtype
            held.append((given, images.numpy().copy(), jnp.from_dlpack(targets), targets.numpy().copy()))
    assert len(held) == 10
    for given, images, targets, expected in held:  # memory is used again, but not while JAX holds it
        np.testing.assert_array_equal(given, images)
        np.testing.assert_array_equal(targets, expected)


@pytest.mark.parametrize("source", [[], ["--loader"]], ids=["iterator", "loader"])
def test_the_example_trains_on_two_devices(photo_folder, source):
    script = ROOT / "examples" / "jax_iterator.py"
    command = [sys.executable, script, "--root", photo_folder, "--device", "cpu", "--epochs", "3", *source]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"loss (\d\.\d+)", done.stdout)]
    assert len(losses) == 3
    assert losses[2] < losses[0]
    assert "images (8, 64, 64, 3) float32, targets (8, 4), on 2 devices" in done.stdout
