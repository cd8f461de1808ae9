"""Resized: what shows in the box is the whole partner made smaller, held against loops, torch, and integers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.plan import Plan, read_rows
from dali_tokenmix.reference.bilinear import bilinear
from dali_tokenmix.regions import Resized, ResizedShape
from dali_tokenmix.runtime import host
from tests.helpers import provenance, resized_plan, shown_by_loops, some_pairs

SIZE = (21, 34)
PLACES = {  # top, left, height, width on an image of SIZE
    "inside": (4, 6, 11, 17),
    "whole": (0, 0, 21, 34),
    "over the top left": (-5, -9, 14, 20),
    "over the bottom right": (15, 25, 13, 18),
    "larger than the image": (-7, -8, 50, 60),
    "one pixel": (20, 33, 1, 1),
    "a line": (3, 0, 1, 34),
    "a column": (0, 33, 21, 1),
    "beyond": (30, 2, 4, 4),
    "no height": (2, 2, 0, 5),
    "no width": (2, 2, 5, 0),
}


def noise(n=2, size=SIZE, channels=3, dtype="uint8", seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (n, *size, channels))
    return values.astype(dtype) if dtype == "uint8" else (values / 255).astype(dtype)


def pair(place, size=SIZE):
    """Sample 0 shows sample 1 in the box, sample 1 shows nothing of 0."""
    return Plan([1, 0], (Resized(np.array([place, [0] * 4], np.int32)),), size)


def shown_by_hand(image, partner, place):
    """In exact arithmetic, pixel by pixel: each looks at the point of the partner that lies under its centre."""
    height, width, channels = image.shape
    top, left, h, w = place
    out = image.astype(np.float64)
    for y, x in np.ndindex(height, width):
        if not (top <= y < top + h and left <= x < left + w):
            continue
        at_y = min(max((y - top + 0.5) * height / h - 0.5, 0), height - 1)
        at_x = min(max((x - left + 0.5) * width / w - 0.5, 0), width - 1)
        y0, x0 = int(at_y), int(at_x)
        y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
        for c in range(channels):
            a, b, d, e = (float(partner[v, u, c]) for v in (y0, y1) for u in (x0, x1))
            upper, lower = a + (b - a) * (at_x - x0), d + (e - d) * (at_x - x0)
            out[y, x, c] = upper + (lower - upper) * (at_y - y0)
    return out


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_the_part_of_the_partner_shows_that_lies_there(place, device):
    for dtype, tolerance in (("uint8", 0.51), ("float16", 6e-4), ("float32", 1e-5)):
        images = noise(dtype=dtype)
        mixed = reference.mixed(pair(place), images)
        np.testing.assert_allclose(mixed[0].astype(float), shown_by_hand(*images, place), rtol=0, atol=tolerance)
        np.testing.assert_array_equal(mixed[1], images[1])
        np.testing.assert_array_equal(dtm.apply(pair(place), images.copy()), mixed)


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (128, 5), (40, 33), (97, 13)])
def test_bilinear_is_torch_s(size):
    for new in ((1, 1), (3, 80), (40, 33), (64, 2), (9, 9)):
        image = noise(1, size, dtype="float32")[0]
        planar = torch.from_numpy(image).permute(2, 0, 1)[None]
        theirs = torch.nn.functional.interpolate(planar, new, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
        np.testing.assert_allclose(bilinear(image, new), theirs.numpy(), rtol=0, atol=1e-5)
        whole = (image * 255).round().astype(np.uint8)
        np.testing.assert_allclose(bilinear(whole, new), 255 * theirs.numpy(), rtol=0, atol=0.51)


def test_two_bytes_mix_to_the_nearest_of_every_weight():
    """uint8 in whole numbers: all pairs of bytes, at weights between 0 and 1, are within 0.51 of exact."""
    columns = np.array(np.meshgrid(np.arange(256), np.arange(256))).reshape(2, -1).T.astype(np.uint8)
    images = columns[:, None, :, None]  # an image of 1 x 2 for each pair of bytes
    for width in (3, 7, 50):
        at = np.clip((np.arange(width) + 0.5) * 2 / width - 0.5, 0, 1)
        exact = columns[:, :1] * (1 - at) + columns[:, 1:] * at
        ours = np.stack([bilinear(image, (1, width))[0, :, 0] for image in images[::97]])
        assert np.abs(ours - exact[::97]).max() <= 0.51


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_kernels_are_the_definition_on_noise(dtype, channels, device):
    """Widths around what a CPU does together: 4 pixels, and 256 columns."""
    rng = np.random.default_rng(channels)
    for size in ((9, 5), (30, 41), (6, 300), (300, 4)):
        images = noise(6, size, channels, dtype, seed=channels)
        plan = resized_plan(rng, some_pairs(rng, 6), size)
        np.testing.assert_array_equal(dtm.apply(plan, images.copy(), layout="NHWC"), reference.mixed(plan, images))


@pytest.mark.parametrize("width", range(1, 14))
def test_boxes_of_few_columns_write_nothing_beside_them(width, device):
    for left in (-3, 0, 5, 24 - width):
        images = noise(2, (12, 24), seed=width)
        plan = pair((2, left, 7, width), (12, 24))
        np.testing.assert_array_equal(dtm.apply(plan, images.copy()), reference.mixed(plan, images))


def test_a_gpu_s_two_launches_and_a_cpu_s_one_give_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    images = noise(9, (50, 61))
    plan = resized_plan(rng, some_pairs(rng, 9), (50, 61))
    by_pairs = dtm.apply(plan, images.copy())
    monkeypatch.setattr(host, "VECTOR_ALIGNMENT", 16)
    np.testing.assert_array_equal(dtm.apply(plan, images.copy()), by_pairs)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_both_of_a_pair_see_the_other_as_it_was(threads):
    images = provenance(40, 33, 35)
    boxes = np.tile(np.int32([5, 6, 20, 25]), (40, 1))
    plan = Plan(np.arange(40)[::-1], (Resized(boxes),), (33, 35))
    mixed = dtm.apply(plan, images.copy(), threads=threads)
    np.testing.assert_array_equal(mixed[..., 0], plan.sources())
    assert (mixed[:, 5:25, 6:31, 0] == np.arange(40)[::-1, None, None]).all()


@pytest.mark.parametrize("seed", range(4))
def test_weights_and_sources_are_what_shows(seed):
    rng = np.random.default_rng(seed)
    plan = resized_plan(rng, some_pairs(rng, 7), SIZE)
    shown = shown_by_loops(plan)
    np.testing.assert_array_equal(plan.pixel_mask(), shown)
    np.testing.assert_array_equal(plan.other, (shown.sum(axis=(1, 2)) / math.prod(SIZE)).astype(np.float32))
    np.testing.assert_array_equal(plan.sources()[shown], np.repeat(plan.partner, shown.sum(axis=(1, 2))))
    mixed = dtm.apply(plan, provenance(7, *SIZE))
    np.testing.assert_array_equal(mixed[..., 0], plan.sources())


def test_rows_are_read_back_as_they_were_packed():
    rng = np.random.default_rng(0)
    plan = resized_plan(rng, some_pairs(rng, 6), SIZE)
    again = read_rows(plan.rows(), (ResizedShape(),), SIZE)
    assert again.rows().tobytes() == plan.rows().tobytes()
    assert not ResizedShape().neutral(6).shares(6, SIZE).any()


FAR = 2**24 + 1
REFUSED = {
    "negative height": ([[0, 0, -1, 3], [0] * 4], ValueError, "resized boxes must have sides >= 0"),
    "too far": ([[0, FAR, 1, 3], [0] * 4], ValueError, r"lie within 2\*\*24 pixels"),
    "the least number": ([[-(2**31), 0, 1, 3], [0] * 4], ValueError, r"lie within 2\*\*24 pixels"),
    "three numbers": ([[0, 0, 1]] * 2, ValueError, r"resized boxes must have shape \(2, 4\), got \(2, 3\)"),
    "fractions": (np.full((2, 4), 0.5), TypeError, "resized boxes must be .* int32, got float64"),
}


@pytest.mark.parametrize(("boxes", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_boxes_that_make_no_sense_are_refused(boxes, error, message):
    array = boxes if isinstance(boxes, np.ndarray) else np.array(boxes, np.int32)
    with pytest.raises(error, match=message):
        Plan([1, 0], (Resized(array),), SIZE)
