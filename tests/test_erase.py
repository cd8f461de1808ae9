"""Erasing: a colour or noise where the plan says, bit for bit the definition, and noise that is noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.plan import Plan, read_rows
from dali_tokenmix.reference.erasing import noise, normal
from dali_tokenmix.regions import Box, ErasedBoxes, ErasedBoxesShape, ErasedCells, ErasedCellsShape, Fill, Tokens
from dali_tokenmix.runtime import host
from tests.helpers import ARRANGEMENTS, LIBRARIES, erased_region, on_device, provenance, spread, to_numpy

DTYPES = ("uint8", "float16", "float32")
KINDS = ("boxes", "cells")
FILLS = {"number": Fill("constant", 7), "black": Fill("constant"), "channels": None, "noise": Fill("noise")}
UNLIKELY = 1e-3


def fill_of(name, channels):
    return FILLS[name] or Fill("mean", [10.0 + c for c in range(channels)])


def plan_of(region, size):
    return Plan(np.arange(len(region.seeds)), (region,), size)


def check_erases_as_defined(plan, images, arrangement, library="native", device="cpu", threads=None):
    """apply() on images spread out as arranged gives reference.mixed() in the view and changes no byte beside it."""
    base = spread(images, arrangement)
    expected = spread(reference.mixed(plan, images), arrangement)
    there = on_device(base, library, device)
    dtm.apply(plan, arrangement.cut(there), layout=arrangement.layout, threads=threads)
    np.testing.assert_array_equal(to_numpy(there), expected)


def erased_by_loops(region, size):
    """(N, H, W) bool, pixel by pixel."""
    found = np.zeros((len(region.seeds), *size), bool)
    for i, y, x in np.ndindex(*found.shape):
        if isinstance(region, ErasedBoxes):
            found[i, y, x] = any(y0 <= y < y1 and x0 <= x < x1 for y0, x0, y1, x1 in region.boxes[i])
        elif side := region.sides[i]:
            found[i, y, x] = region.bits[i, y // side, x // side]
    return found


# --- the definition --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_definition_fills_the_pixels_that_the_region_says_and_no_other(kind):
    size = (11, 14)
    region = erased_region(kind, np.random.default_rng(1), 6, size, Fill("constant", [200, 201, 202]))
    shown = erased_by_loops(region, size)
    assert 0 < shown.mean() < 1
    images = provenance(6, *size)
    mixed = reference.mixed(plan_of(region, size), images)
    np.testing.assert_array_equal(mixed[shown], np.tile([200, 201, 202], (shown.sum(), 1)))
    np.testing.assert_array_equal(mixed[~shown], images[~shown])
    sources = plan_of(region, size).sources()
    np.testing.assert_array_equal(sources, np.where(shown, -1, np.arange(6)[:, None, None]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_is_philox_by_place(dtype):
    """Element e of row y comes of block (e // elements a block, y, 0, 0), as the scalar definition makes it."""
    seed, (height, width, channels) = 2**63 + 12345678901, (3, 11, 3)
    image = noise(seed, (height, width, channels), np.dtype(dtype))
    for y, x, c in np.ndindex(height, width, channels):
        e, each = x * channels + c, 16 if dtype == "uint8" else 4
        words = reference.philox4x32([e // each, y, 0, 0], [seed & 0xFFFFFFFF, seed >> 32])
        if dtype == "uint8":
            expected = words[e % 16 // 4] >> 8 * (e % 4) & 255
        else:
            expected = normal(np.array([words[e % 4]], np.uint32))[0].astype(dtype)
        assert image[y, x, c] == expected


def test_normal_is_the_inverse_of_the_distribution():
    words = np.concatenate([np.arange(1000), np.arange(0, 2**23, 97), np.arange(2**23 - 1000, 2**23)]).astype(np.uint32)
    exact = special.ndtri((words + 0.5) / 2**24)
    np.testing.assert_allclose(-normal(words), exact, rtol=2e-5)
    np.testing.assert_array_equal(normal(words | 1 << 31), -normal(words))
    assert np.abs(normal(words)).max() < 5.43


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floating_noise_is_normal_and_independent(dtype):
    images = np.stack([noise(seed, (64, 61, 3), np.dtype(dtype)) for seed in (1, 2)]).astype(float)
    assert stats.kstest(images.reshape(-1), "norm").pvalue > UNLIKELY
    whole = images.reshape(-1)
    neighbours = [(images[0], images[1]), (images[:, 1:], images[:, :-1]), (images[..., 1:], images[..., :-1])]
    neighbours += [(images[:, :, 1:], images[:, :, :-1]), (whole[4:], whole[:-4])]
    for one, other in neighbours:
        assert stats.pearsonr(one.reshape(-1), other.reshape(-1)).pvalue > UNLIKELY


def test_noise_of_bytes_is_uniform_and_independent():
    images = np.stack([noise(seed, (96, 97, 3), np.dtype("uint8")) for seed in (3, 4)])
    assert stats.chisquare(np.bincount(images.reshape(-1), minlength=256)).pvalue > UNLIKELY
    pairs = [(images[0], images[1]), (images[:, 1:], images[:, :-1]), (images[:, :, 1:], images[:, :, :-1])]
    for one, other in pairs:
        table = np.histogram2d((one >> 4).reshape(-1), (other >> 4).reshape(-1), bins=16)[0]
        assert stats.chi2_contingency(table).pvalue > UNLIKELY


# --- the kernel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_is_the_definition(kind, dtype, arrangement, library, device):
    rng = np.random.default_rng(3)
    for n, size in ((5, (13, 10)), (2, (9, 130)), (1, (5, 6))):
        for name in FILLS:
            region = erased_region(kind, rng, n, size, fill_of(name, 3))
            check_erases_as_defined(
                plan_of(region, size), provenance(n, *size, dtype=dtype), arrangement, library, device
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
def test_no_access_is_wider_than_its_address_allows(kind, arrangement, strict_library, monkeypatch, capfd):
    """As a GPU goes through it, and as UBSan, which reports on stderr, allows it."""
    monkeypatch.setattr(host, "kernels", lambda: strict_library)
    rng = np.random.default_rng(5)
    for dtype in DTYPES:
        for size in ((13, 10), (5, 64), (3, 97), (9, 1)):
            for name in FILLS:
                region = erased_region(kind, rng, 3, size, fill_of(name, 3))
                check_erases_as_defined(plan_of(region, size), provenance(3, *size, dtype=dtype), arrangement)
    assert capfd.readouterr().err == ""


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_shape_any_region(data):
    n, channels = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    size = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 400)))
    kind, dtype = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(DTYPES))
    fill = fill_of(data.draw(st.sampled_from(sorted(FILLS))), channels)
    arrangement = ARRANGEMENTS[data.draw(st.sampled_from(sorted(ARRANGEMENTS)))]
    region = erased_region(kind, np.random.default_rng(data.draw(st.integers(0, 2**32))), n, size, fill)
    check_erases_as_defined(plan_of(region, size), provenance(n, *size, channels, dtype), arrangement)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_nothing(kind, threads):
    region = erased_region(kind, np.random.default_rng(0), 20, (33, 35), Fill("noise"))
    check_erases_as_defined(plan_of(region, (33, 35)), provenance(20, 33, 35), ARRANGEMENTS["nhwc"], threads=threads)


def test_64_channels_are_filled_and_more_refused():
    for channels, layout in ((64, "nhwc"), (64, "nchw")):
        for fill in (Fill("mean", np.arange(channels)), Fill("noise")):
            region = erased_region("boxes", np.random.default_rng(0), 3, (6, 70), fill)
            check_erases_as_defined(
                plan_of(region, (6, 70)), provenance(3, 6, 70, channels, "float32"), ARRANGEMENTS[layout]
            )
    with pytest.raises(ValueError, match="at most 64 channels, got 65"):
        dtm.apply(plan_of(region, (6, 70)), provenance(3, 6, 70, 65), layout="NHWC")


def test_erasing_follows_mixing_in_one_plan(device):
    """Tokens and boxes are exchanged first, then erased; a pair and a sample without a partner alike."""
    rng, size = np.random.default_rng(2), (12, 14)
    bits, boxes = np.zeros((5, 3, 4), np.uint8), np.zeros((5, 4), np.int32)
    bits[0], bits[4, 1:], boxes[1], boxes[3] = 1, 1, (1, 2, 8, 9), (0, 0, 3, 9)
    holes = erased_region("boxes", rng, 5, size, Fill("noise"))
    cells = erased_region("cells", rng, 5, size, Fill("mean"))
    plan = Plan([4, 3, 2, 1, 0], (Tokens(bits, 4), Box(boxes), holes, cells), size)
    images = provenance(5, *size)
    check_erases_as_defined(plan, images, ARRANGEMENTS["nhwc"], device=device)
    mixed, sources = reference.mixed(plan, images), plan.sources()
    kept = sources >= 0
    np.testing.assert_array_equal(mixed[..., 0][kept], sources[kept])
    np.testing.assert_array_equal(sources < 0, erased_by_loops(holes, size) | erased_by_loops(cells, size))


# --- regions, rows and labels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rows_hold_all_of_a_region(kind):
    region = erased_region(kind, np.random.default_rng(4), 7, (20, 30), Fill("noise"))
    plan = plan_of(region, (20, 30))
    again = read_rows(plan.rows(), (region.shape,), (20, 30))
    assert again.rows().tobytes() == plan.rows().tobytes()
    for name, value in vars(region).items():
        np.testing.assert_array_equal(getattr(again.regions[0], name), value)


@pytest.mark.parametrize("shape", [ErasedBoxesShape(2, Fill("mean")), ErasedCellsShape((3, 4), Fill("noise"))], ids=str)
def test_a_neutral_region_erases_nothing(shape):
    region = shape.neutral(3)
    assert region.shape == shape
    assert not region.erased((7, 9)).any()
    images = provenance(3, 7, 9)
    np.testing.assert_array_equal(dtm.apply(plan_of(region, (7, 9)), images.copy()), images)


def test_what_is_erased_counts_for_no_label():
    """Weights, scores and token labels are those of the plan without the erased regions."""
    rng, size = np.random.default_rng(6), (32, 48)
    bits = np.zeros((4, 2, 3), np.uint8)
    bits[[0, 3], :, 1] = 1
    tokens = Tokens(bits, 16)
    holes = erased_region("boxes", rng, 4, size, Fill("noise"))
    cells = erased_region("cells", rng, 4, size, Fill("noise"))
    bare, cut = (Plan([3, 1, 2, 0], regions, size) for regions in ((tokens,), (tokens, holes, cells)))
    maps = rng.random((4, 2, 3))
    ids, scores = rng.integers(0, 9, (4, 5, 2, 3)), rng.random((4, 5, 2, 3))
    for one, other in ((bare, cut), (dtm.scored(bare, maps), dtm.scored(cut, maps))):
        np.testing.assert_array_equal(one.own, other.own)
        np.testing.assert_array_equal(one.other, other.other)
    for part, expected in zip(
        dtm.token_labels(cut, ids, scores, num_classes=9),
        dtm.token_labels(bare, ids, scores, num_classes=9),
        strict=True,
    ):
        np.testing.assert_array_equal(part, expected)
    alone = Plan(np.arange(4), (cells,), size)
    assert (alone.own == 1).all()
    assert not alone.other.any()
    np.testing.assert_allclose(dtm.scored(alone, maps).own, 1, rtol=1e-6)


# --- colours and mistakes --------------------------------------------------------------------------------------------


def test_the_mean_is_imagenet_s_for_bytes_and_0_for_floats():
    assert Fill("mean").pixel("uint8", 3).tolist() == [124, 116, 104]
    np.testing.assert_allclose(255 * np.array(dtm.IMAGENET_MEAN), Fill("mean").pixel("uint8", 3), atol=0.5)
    assert Fill("mean").pixel("float32", 5).tolist() == [0] * 5
    assert Fill("mean", (0.5, 1, 1.5)).pixel("float16", 3).tolist() == [0.5, 1, 1.5]
    assert Fill("constant").pixel("uint8", 4).tolist() == [0] * 4
    assert Fill("constant", 9.5).pixel("uint8", 2).tolist() == [10, 10]


BOXES, SEEDS = np.zeros((2, 1, 4), np.int32), np.zeros(2, np.uint64)
CELLS, SIDES = np.zeros((2, 3, 4), np.uint8), np.full(2, 3, np.int32)
ANY = Fill("noise")
REFUSED = {
    "kind": (lambda: Fill("black"), ValueError, "fill must be one of 'constant', 'mean', 'noise', got 'black'"),
    "value of noise": (lambda: Fill("noise", 1), ValueError, "value must be None with fill='noise', got 1"),
    "value a word": (lambda: Fill("constant", "red"), TypeError, "value must be a number, got 'red'"),
    "value of words": (lambda: Fill("constant", ["red"]), TypeError, r"value\[0\] must be a number, got 'red'"),
    "no values": (lambda: Fill("mean", []), ValueError, r"value must be a number, or one for each channel, got \[\]"),
    "nan": (lambda: Fill("mean", [0, np.nan]), ValueError, r"value\[1\] must be finite, got nan"),
    "above bytes": (
        lambda: Fill("constant", 256).pixel("uint8", 3),
        ValueError,
        "value must be in 0..255 for uint8 images, got 256",
    ),
    "beyond halves": (lambda: Fill("constant", 1e5).pixel("float16", 3), ValueError, "value must be in .* float16"),
    "channels": (
        lambda: Fill("mean", [1, 2]).pixel("uint8", 3),
        ValueError,
        "value must be one number or one for each of 3 channels, got 2",
    ),
    "mean of gray": (
        lambda: Fill("mean").pixel("uint8", 1),
        ValueError,
        "for each of 1 channels, got 3 of ImageNet: pass value=",
    ),
    "boxes outside": (
        lambda: plan_of(ErasedBoxes(BOXES + np.array([0, 0, 8, 1], np.int32), SEEDS, ANY), (7, 9)),
        ValueError,
        "erased boxes must lie inside the image of 7 x 9",
    ),
    "boxes of floats": (
        lambda: plan_of(ErasedBoxes(BOXES.astype(float), SEEDS, ANY), (7, 9)),
        TypeError,
        "erased boxes must be .* int32, got float64",
    ),
    "fewer boxes": (
        lambda: plan_of(ErasedBoxes(BOXES[:1], SEEDS, ANY), (7, 9)),
        ValueError,
        r"erased boxes must have shape \(2, 1, 4\), got \(1, 1, 4\)",
    ),
    "seeds": (
        lambda: plan_of(ErasedBoxes(BOXES, SEEDS.astype(np.int64), ANY), (7, 9)),
        TypeError,
        "seeds must be .* uint64, got int64",
    ),
    "too few cells": (
        lambda: plan_of(ErasedCells(SIDES, CELLS, SEEDS, ANY), (10, 9)),
        ValueError,
        r"erased cells must be at least \(4, 3\) for sides of 3, got \(2, 3, 4\)",
    ),
    "cells of 2": (
        lambda: plan_of(ErasedCells(SIDES, CELLS + 2, SEEDS, ANY), (9, 9)),
        ValueError,
        "erased cells 0 or 1, got .* and 2",
    ),
    "sides below 0": (
        lambda: plan_of(ErasedCells(-SIDES, CELLS, SEEDS, ANY), (9, 9)),
        ValueError,
        "sides must be >= 0",
    ),
}


@pytest.mark.parametrize(
    ("build", "error", "message"), REFUSED.values(), ids=[name.replace(" ", "_") for name in REFUSED]
)
def test_mistakes_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
