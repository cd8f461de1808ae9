"""The mirror, resize and normalise kernels against their definitions, Pillow and torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torchvision import transforms

from dali_tokenmix import reference
from dali_tokenmix.runtime import mirror, normalise, resize
from dali_tokenmix.runtime.arrays import view
from dali_tokenmix.runtime.images import images_of

RGB = np.zeros((4, 4, 3), np.uint8)


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


def crops_of_all_sizes(photo):
    """Views of a photograph's left edge, packed: narrow, flat, and as RandomResizedCrop has them."""
    rng = np.random.default_rng(0)
    boxes = [
        (1, 1),
        (2, 300),
        (350, 2),
        (400, 600),
        (224, 224),
        (400, 90),
        *(tuple(rng.integers(3, 400, 2)) for _ in range(40)),
    ]
    return [np.ascontiguousarray(photo[:height, :width]) for height, width in boxes]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [(224, 224), (17, 40), (1, 1), (64, 3), (2, 37), (300, 9)])
def test_resize_is_its_definition(size, threads):
    crops = crops_of_all_sizes(np.random.default_rng(1).integers(0, 256, (400, 600, 3), np.uint8))
    flips = np.arange(len(crops)) % 2
    found = resize(crops, flips, size, threads=threads)
    for crop, flip, image in zip(crops, flips, found, strict=True):
        expected = reference.resized(crop, size)
        np.testing.assert_array_equal(image, expected[:, ::-1] if flip else expected, err_msg=str(crop.shape))


@pytest.mark.parametrize("size", [(224, 224), (17, 40), (1, 1), (64, 3)])
def test_resize_is_pillows(size):
    """To within one level, and a good deal closer on the average."""
    crops = crops_of_all_sizes(data.coffee())
    differences = []
    for crop, image in zip(crops, resize(crops, np.zeros(len(crops)), size), strict=True):
        expected = np.asarray(Image.fromarray(crop).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
        differences.append(np.abs(image - expected).ravel())
    differences = np.concatenate(differences)
    assert differences.max() <= 1
    assert differences.mean() < 0.01


def test_resize_writes_where_it_is_told_and_nowhere_else():
    crops = crops_of_all_sizes(data.coffee())
    for width in range(1, 20):
        memory = np.full((len(crops) + 2, 6, width, 3), 77, np.uint8)
        out = memory[1:-1]
        assert resize(crops, np.zeros(len(crops)), (6, width), out=out) is out
        np.testing.assert_array_equal(out[7], reference.resized(crops[7], (6, width)))
        assert (memory[[0, -1]] == 77).all()


def test_even_areas_stay_as_they_are():
    for value in (0, 1, 127, 254, 255):
        crops = [np.full((height, width, 3), value, np.uint8) for height, width in ((1, 1), (500, 333), (60, 700))]
        assert (resize(crops, np.zeros(3), (97, 101)) == value).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 1, 1), (2, 33, 64), (2, 224, 224)])
def test_normalise_is_its_definition_and_torchvisions(shape, layout, dtype):
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    planar = layout == "NCHW"
    expected = reference.normalised(images, mean, std)
    theirs = transforms.functional.normalize(torch.from_numpy(images).permute(0, 3, 1, 2) / 255, mean, std)
    if planar:
        expected = expected.transpose(0, 3, 1, 2)
    for threads in (1, 2):
        found = normalise(images, mean, std, np.empty(expected.shape, dtype), planar=planar, threads=threads)
        np.testing.assert_array_equal(found, expected.astype(dtype))
    channels_first = found if planar else found.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(channels_first, theirs, rtol=0, atol=2e-6 if dtype == "float32" else 2e-3)


@pytest.mark.parametrize(
    ("images", "out", "error", "message"),
    [
        (np.zeros((2, 3, 4, 3), np.uint8), np.zeros((2, 3, 4, 3), "f4"), ValueError, r"out must be \(2, 3, 3, 4\)"),
        (np.zeros((2, 3, 4, 1), np.uint8), np.zeros((2, 1, 3, 4), "f4"), ValueError, r"images must be \(2, 3, 4, 3\)"),
        (np.zeros((2, 3, 4, 3), np.int8), np.zeros((2, 3, 3, 4), "f4"), TypeError, "images must be uint8"),
        (
            np.zeros((2, 3, 4, 3), np.uint8),
            np.zeros((2, 3, 3, 4)),
            TypeError,
            "out float32 or float16, got uint8 and float64",
        ),
    ],
)
def test_normalise_refuses(images, out, error, message):
    with pytest.raises(error, match=message):
        normalise(images, (0, 0, 0), (1, 1, 1), out, planar=True)


@pytest.mark.parametrize(
    ("images", "change", "message"),
    [
        ([np.zeros((4, 4, 1), np.uint8)], {}, r"images must be \(h, w, 3\) uint8 in C order, got \(4, 4, 1\) uint8"),
        ([np.zeros((0, 5, 3), np.uint8)], {}, r"images must have pixels, got shape \(0, 5, 3\)"),
        ([], {}, "images and size must not be empty, got 0 images"),
        ([RGB], {"size": (0, 4)}, r"images and size must not be empty, got 1 images and size \(0, 4\)"),
        ([RGB], {"flips": np.zeros(2)}, r"flips must be \(1,\), one an image, got shape \(2,\)"),
        (
            [RGB],
            {"out": np.zeros((1, 2, 3, 3), np.uint8)},
            r"out must be writable, \(1, 2, 2, 3\) uint8 .* \(1, 2, 3, 3\)",
        ),
        ([RGB], {"out": np.zeros((1, 2, 2, 3))}, "out must be .* float64"),
        ([RGB], {"out": np.zeros((1, 2, 2, 6), np.uint8)[..., ::2]}, "out must be writable, .* in C order"),
        ([RGB], {"out": np.broadcast_to(np.uint8(0), (1, 2, 2, 3))}, "out must be writable"),
    ],
)
def test_resize_refuses(images, change, message):
    with pytest.raises(ValueError, match=message):
        resize(images, **({"flips": np.zeros(len(images)), "size": (2, 2)} | change))
