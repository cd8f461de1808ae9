"""The mirror and resize kernels against NumPy and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data

from dali_tokenmix.runtime import mirror, resize
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


@pytest.mark.parametrize("size", [(224, 224), (17, 40), (1, 1), (64, 3)])
def test_resize_is_pillows(size):
    """Crops of all sizes, up and down, to within one level, and a good deal closer on the average."""
    rng = np.random.default_rng(0)
    photo = data.coffee()
    boxes = [(1, 1), (2, 300), (350, 2), (400, 600), (224, 224), *(tuple(rng.integers(3, 400, 2)) for _ in range(40))]
    crops = [np.ascontiguousarray(photo[:height, -width:]) for height, width in boxes]
    flips = rng.integers(0, 2, len(crops))
    ours = resize(crops, flips, size, threads=2)
    np.testing.assert_array_equal(ours, resize(crops, flips, size, threads=1))
    differences = []
    for crop, flip, image in zip(crops, flips, ours, strict=True):
        expected = np.asarray(Image.fromarray(crop).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
        difference = np.abs(image[:, ::-1] - expected) if flip else np.abs(image - expected)
        assert difference.max() <= 1
        differences.append(difference.ravel())
    assert np.concatenate(differences).mean() < 0.15


def test_resize_refuses_what_is_no_rgb():
    with pytest.raises(ValueError, match=r"images must be \(h, w, 3\) uint8 in C order, got \(4, 4, 1\) uint8"):
        resize([np.zeros((4, 4, 1), np.uint8)], np.zeros(1), (2, 2))
