"""The mirror kernel against NumPy, and inside the training graph."""

from __future__ import annotations

import numpy as np
import pytest

import dali_tokenmix as dtm
from dali_tokenmix.runtime import mirror
from dali_tokenmix.runtime.arrays import view
from dali_tokenmix.runtime.mix import images_of


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (5, 7, 8, 3), (4, 9, 13, 1), (3, 224, 225, 4), (64, 33, 2, 3)])
def test_flipped_samples_are_mirrored_and_no_other(shape, layout, dtype):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 250, shape).astype(dtype)
    flips = rng.integers(0, 2, shape[0]).astype(np.int32) * 3  # anything but 0 counts
    expected = np.where(flips[:, None, None, None] != 0, images[:, :, ::-1], images)
    given = images.copy() if layout == "NHWC" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    mirror(images_of(view("images", given), shape[1:3], layout), view("flips", flips), threads=2)
    np.testing.assert_array_equal(given if layout == "NHWC" else given.transpose(0, 2, 3, 1), expected)


def test_a_training_image_is_its_crop_or_that_crop_mirrored(photo_folder):
    """Seeds fix the crop, not the side: some images of a batch come mirrored, exactly."""
    from nvidia.dali import fn
    from nvidia.dali.pipeline import Pipeline

    options = {"batch_size": 40, "image_size": 48, "dtype": "uint8", "layout": "NHWC", "mixer": None}
    loader = dtm.Loader(photo_folder, **options)
    ((images, _),) = loader
    pipeline = Pipeline(40, 2, None, enable_checkpointing=True)
    graph = loader._graph.__class__(**{**vars(loader._graph), "seeds": loader._planner.graph.seeds})
    with pipeline:
        jpegs, _ = graph._read()
        _, crop = graph._images(jpegs)
        crops = fn.decoders.image_slice(jpegs, start=crop["start"], shape=crop["size"], axes=[0, 1])
        pipeline.set_outputs(fn.resize(crops, size=(48, 48), antialias=True), crop["mirrored"])
    pipeline.build()
    plain, mirrored = (output.as_array() for output in pipeline.run())
    mirrored = mirrored.reshape(-1) != 0
    assert 8 < mirrored.sum() < 32
    expected = np.where(mirrored[:, None, None, None], plain[:, :, ::-1], plain)
    np.testing.assert_array_equal(images.numpy(), expected)
