"""Exchange and blend: bit for bit the definition, whatever the dtype, the layout, the gaps and the width of access."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.plan import Plan
from dali_tokenmix.regions import Blend, Box, Tokens
from dali_tokenmix.runtime import host
from dali_tokenmix.runtime.arrays import view
from dali_tokenmix.runtime.images import Images, images_of
from tests.helpers import (
    ARRANGEMENTS,
    LIBRARIES,
    on_device,
    permuted,
    provenance,
    random_plan,
    shown_by_loops,
    some_pairs,
    spread,
    to_numpy,
    token_plan,
)

DTYPES = ("uint8", "float16", "float32")
KINDS = ("tokens", "box", "blend", "quarters", "resized")


def check_mixes_as_defined(plan, images, arrangement, library="native", device="cpu"):
    """apply() on images spread out as arranged gives reference.mixed() in the view and changes no byte beside it."""
    base = spread(images, arrangement)
    expected = spread(reference.mixed(plan, images), arrangement)
    there = on_device(base, library, device)
    seen = arrangement.cut(there)
    assert dtm.apply(plan, seen, layout=arrangement.layout) is seen
    np.testing.assert_array_equal(to_numpy(there), expected)


@pytest.fixture
def narrow_accesses(monkeypatch):
    """The CPU launcher picks accesses as narrow as a GPU needs them."""
    monkeypatch.setattr(host, "VECTOR_ALIGNMENT", 16)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("kind", "patch_size"), [("tokens", 2), ("tokens", 3), ("box", 1)])
def test_definition_takes_each_pixel_from_where_the_region_says(seed, kind, patch_size):
    rng = np.random.default_rng(seed)
    plan = random_plan(kind, rng, 5, (7, 8), patch_size)
    images = provenance(5, 7, 8)
    shown = shown_by_loops(plan)
    mixed = reference.mixed(plan, images)
    sources_expected = np.where(shown, plan.partner[:, None, None], np.arange(5)[:, None, None])
    np.testing.assert_array_equal(mixed[..., 0], sources_expected)
    np.testing.assert_array_equal(mixed[..., 1:], images[..., 1:])  # rows and columns stay where they were
    assert shown.any()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_is_the_definition(kind, dtype, arrangement, library, device):
    rng = np.random.default_rng(3)
    for n, size in ((5, (13, 10)), (2, (32, 32)), (1, (5, 6))):
        images = provenance(n, *size, dtype=dtype)
        check_mixes_as_defined(random_plan(kind, rng, n, size), images, arrangement, library, device)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
def test_kernel_is_the_definition_with_narrow_accesses(kind, arrangement, narrow_accesses):
    rng = np.random.default_rng(4)
    for dtype in DTYPES:
        for size in ((13, 10), (32, 32), (9, 1), (1, 9)):
            check_mixes_as_defined(random_plan(kind, rng, 5, size), provenance(5, *size, dtype=dtype), arrangement)


@pytest.mark.parametrize("patch_size", range(1, 41))
def test_tokens_of_every_size(patch_size, device):
    rng = np.random.default_rng(patch_size)
    size = (61, 67)  # primes: no patch size but 1 divides them; at 1 a row of tokens is longer than two words of bits
    plan = token_plan(rng, some_pairs(rng, 4), size, patch_size)
    check_mixes_as_defined(plan, provenance(4, *size), ARRANGEMENTS["nhwc"], device=device)


@pytest.mark.parametrize(
    ("size", "grid"), [((7, 7), (7, 7)), ((61, 40), (7, 7)), ((13, 97), (5, 70)), ((9, 8), (1, 3))]
)
def test_cells_of_one_size(size, grid, device):
    """patch_size 0: cell k of a side begins at pixel k * side // cells."""
    rng = np.random.default_rng(7)
    partner = some_pairs(rng, 4)
    bits = rng.integers(0, 2, (4, *grid)).astype(np.uint8) * (partner != np.arange(4))[:, None, None].astype(np.uint8)
    plan, images = Plan(partner, (Tokens(bits, 0),), size), provenance(4, *size)
    expected = images.copy()
    for n, y, x in np.ndindex(bits.shape):
        rows, columns = (
            slice(k * side // cells, (k + 1) * side // cells) for k, side, cells in zip((y, x), size, grid, strict=True)
        )
        if bits[n, y, x]:
            expected[n, rows, columns] = images[partner[n], rows, columns]
    np.testing.assert_array_equal(reference.mixed(plan, images), expected)
    np.testing.assert_allclose(plan.other, (expected[..., 0] != np.arange(4)[:, None, None]).mean((1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(plan.sources(), expected[..., 0])
    check_mixes_as_defined(plan, images, ARRANGEMENTS["nhwc"], device=device)


@pytest.mark.parametrize("columns", [1, 31, 32, 33, 63, 64, 65, 96, 130])
def test_rows_of_tokens_across_the_words_of_a_mask(columns, device):
    rng = np.random.default_rng(columns)
    partner, size = some_pairs(rng, 4), (5, columns)
    for density in (0.05, 0.5, 0.95, 1.0):
        bits = (rng.random((4, 5, columns)) < density).astype(np.uint8)
        plan = Plan(partner, (Tokens(bits, 1),), size)
        check_mixes_as_defined(plan, provenance(4, *size), ARRANGEMENTS["nhwc"], device=device)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_shape_any_region(data):
    side = st.integers(1, 40)
    n, size, channels = data.draw(st.integers(1, 9)), data.draw(st.tuples(side, side)), data.draw(st.integers(1, 5))
    kind, dtype = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(DTYPES))
    arrangement = ARRANGEMENTS[data.draw(st.sampled_from(sorted(ARRANGEMENTS)))]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    plan = random_plan(kind, rng, n, size, patch_size=data.draw(st.integers(1, 40)))
    check_mixes_as_defined(plan, provenance(n, *size, channels, dtype), arrangement)


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(1, 9),
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    seed=st.integers(0, 2**64 - 1),
    mode=st.sampled_from(["pair", "batch", "elem"]),
    partner=st.sampled_from(["flip", "random"]),
    prob=st.sampled_from([0.0, 0.5, 1.0]),
    drawn=st.sampled_from(["block", "random", "cutmix", "mixup", "choice"]),
    dtype=st.sampled_from(DTYPES),
)
def test_whatever_a_mixer_draws_is_applied_as_defined(n, size, seed, mode, partner, prob, drawn, dtype):
    options = {"mode": mode, "partner": partner, "prob": prob}
    mixer = {
        "block": lambda: dtm.TokenMix(1, **options),
        "random": lambda: dtm.TokenMix(1, mask="random", **options),
        "cutmix": lambda: dtm.CutMix(**options),
        "mixup": lambda: dtm.MixUp(**options),
        "choice": lambda: dtm.Choice([dtm.MixUp(**options), dtm.CutMix(**options), dtm.TokenMix(1, **options)]),
    }[drawn]()
    plan = dtm.draw(mixer, n, size, seed=seed)
    check_mixes_as_defined(plan, provenance(n, *size, dtype=dtype), ARRANGEMENTS["nchw"])


def test_regions_of_several_kinds_in_one_plan(device):
    partner = np.array([5, 4, 3, 2, 1, 0])
    bits, boxes, weight = np.zeros((6, 3, 3), np.uint8), np.zeros((6, 4), np.int32), np.zeros(6, np.float32)
    bits[0, 1:], bits[5, :, 0], boxes[1], boxes[4], weight[2], weight[3] = 1, 1, (1, 2, 8, 9), (0, 0, 3, 9), 0.25, 1
    plan = Plan(partner, (Tokens(bits, 3), Box(boxes), Blend(weight)), (8, 9))
    check_mixes_as_defined(plan, provenance(6, 8, 9), ARRANGEMENTS["nhwc"], device=device)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_nothing(kind, threads):
    plan = random_plan(kind, np.random.default_rng(0), 40, (33, 35))
    images = provenance(40, 33, 35)
    np.testing.assert_array_equal(dtm.apply(plan, images.copy(), threads=threads), reference.mixed(plan, images))


@pytest.mark.parametrize("sample_gap", [0, 1, 4, 8])
@pytest.mark.parametrize("row_gap", [0, 1, 2, 4, 8, 16])
@pytest.mark.parametrize("offset", [0, 1, 2, 4, 6, 8, 12])
def test_widest_access_that_address_and_strides_allow(offset, row_gap, sample_gap, narrow_accesses):
    n, height, width, channels = 3, 5, 16, 3  # rows of 48 bytes, samples of 240
    row = width * channels + row_gap
    sample = height * row + sample_gap
    memory = np.zeros(n * sample + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    images = np.lib.stride_tricks.as_strided(memory[start:], (n, height, width, channels), (sample, row, channels, 1))
    assert images_of(view("images", images)).widest(1) == math.gcd(16, offset, row, sample)
    images[...] = provenance(n, height, width)
    plan = random_plan("tokens", np.random.default_rng(0), n, (height, width))
    wanted, before = reference.mixed(plan, images), memory.copy()
    dtm.apply(plan, images)
    np.testing.assert_array_equal(images, wanted)
    images[...] = provenance(n, height, width)
    np.testing.assert_array_equal(memory, before)  # nothing was written into the gaps


@pytest.mark.parametrize(
    ("dtype", "width", "layout", "widest"),
    [
        ("uint8", 16, "NHWC", 16),
        ("uint8", 224, "NCHW", 16),
        ("uint8", 7, "NHWC", 1),
        ("float16", 7, "NHWC", 2),
        ("float32", 7, "NCHW", 4),
        ("float32", 2, "NCHW", 8),
        ("uint8", 10, "NCHW", 2),
    ],
)
def test_widest_access_on_packed_images(dtype, width, layout, widest, narrow_accesses):
    shape = (2, 3, 3, width) if layout == "NCHW" else (2, 3, width, 3)
    images = np.zeros(shape, dtype)
    assert images.ctypes.data % 16 == 0
    assert images_of(view("images", images), layout=layout).widest(1) == widest


def test_one_row_or_one_sample_has_no_stride_to_mind(narrow_accesses):
    images = np.zeros((1, 1, 7, 3), np.uint8)
    assert images_of(view("images", images), layout="NHWC").widest(1) == 16


@pytest.mark.parametrize("kind", ["tokens", "box", "quarters", "resized"])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
def test_no_access_is_wider_than_its_address_allows(kind, arrangement, strict_library, monkeypatch, capfd):
    """Fails if UBSan reports, which it does on stderr: that access would be an error on a GPU."""
    monkeypatch.setattr(host, "kernels", lambda: strict_library)
    rng = np.random.default_rng(5)
    for dtype in DTYPES:
        for size in ((13, 10), (16, 32), (8, 7), (1, 16)):
            for _ in range(3):
                check_mixes_as_defined(random_plan(kind, rng, 5, size), provenance(5, *size, dtype=dtype), arrangement)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("kind", ["tokens", "box", "quarters", "resized"])
def test_all_widths_of_access_exchange_the_same(width, kind, strict_library, monkeypatch, capfd):
    """Rows of 64 bytes take every width; tokens and boxes begin and end where it does not divide."""
    monkeypatch.setattr(host, "kernels", lambda: strict_library)
    monkeypatch.setattr(Images, "widest", lambda self, least: width)
    for seed in range(20):
        plan = random_plan(kind, np.random.default_rng(seed), 4, (6, 64), patch_size=5)
        images = provenance(4, 6, 64, channels=1)
        memory = np.zeros(images.size + 64, np.uint8)
        aligned = memory[-memory.ctypes.data % 64 :][: images.size].reshape(images.shape)
        aligned[...] = images
        np.testing.assert_array_equal(dtm.apply(plan, aligned, layout="NHWC"), reference.mixed(plan, images))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("library", LIBRARIES)
def test_blend_of_all_bytes_rounds_halves_to_even(library, device):
    one, other = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    images = np.stack([one, other])[..., None].astype(np.uint8)
    plan = Plan([1, 0], (Blend(np.array([0.5, 0.5], np.float32)),), (256, 256))
    mixed = to_numpy(dtm.apply(plan, on_device(images, library, device)))
    half, odd = np.divmod(one + other, 2)
    expected = half + (odd & half)  # integers only: x.5 goes up where the whole part is odd
    np.testing.assert_array_equal(mixed[..., 0], [expected, expected])


@pytest.mark.parametrize("weight", [0.0, 0.1, 1 / 3, 0.25, 0.499999, 0.9, 1.0])
def test_blend_of_all_bytes_is_within_half_a_step_of_the_exact_sum(weight, device):
    one, other = np.meshgrid(np.arange(256.0), np.arange(256.0), indexing="ij")
    images = np.stack([one, other])[..., None].astype(np.uint8)
    w = np.float32(weight)
    plan = Plan([1, 0], (Blend(np.array([w, 0], np.float32)),), (256, 256))
    mixed = to_numpy(dtm.apply(plan, on_device(images, "native", device)))
    exact = (1 - np.float64(w)) * one + np.float64(w) * other
    assert np.abs(mixed[0, ..., 0] - exact).max() < 0.5 + 1e-4
    np.testing.assert_array_equal(mixed[1, ..., 0], other)  # weight 0: untouched


def all_halves() -> np.ndarray:
    return np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(1, 256, 256, 1)


def bits_of(halves: np.ndarray) -> np.ndarray:
    """Their bits, with all NaNs alike."""
    return np.where(np.isnan(halves), 0x7E00, halves.view(np.uint16))


@pytest.mark.parametrize("weight", [0.25, 0.5, 1 / 3, 1.0, 2**-12, 1 - 2**-11, 0.7])
@pytest.mark.parametrize("partner_is", ["shuffled", "next", "zero"])
def test_blend_of_all_halves_is_numpy_s(weight, partner_is, device):
    own = all_halves()
    other = {
        "shuffled": np.random.default_rng(0).permutation(own.reshape(-1)).reshape(own.shape),
        "next": np.roll(own.reshape(-1), 1).reshape(own.shape),  # halfway between neighbours lies a tie
        "zero": np.zeros_like(own),
    }[partner_is]
    images = np.concatenate([own, other])
    plan = Plan([1, 0], (Blend(np.array([weight, 0.5], np.float32)),), (256, 256))
    mixed = to_numpy(dtm.apply(plan, on_device(images, "native", device), layout="NHWC"))
    w, half, a, b = np.float32(weight), np.float32(0.5), own.astype(np.float32), other.astype(np.float32)
    with np.errstate(invalid="ignore"):
        first = ((np.float32(1) - w) * a + w * b).astype(np.float16)
        second = (half * b + half * a).astype(np.float16)
    np.testing.assert_array_equal(bits_of(mixed), bits_of(np.concatenate([first, second])))


def test_ties_between_neighbouring_halves_go_to_the_even_one():
    own = np.arange(0x7BFF - 31 * 1023, 0x7BFF, dtype=np.uint16).reshape(1, 31, 1023, 1)
    images = np.concatenate([own, own + 1]).view(np.float16)
    plan = Plan([1, 0], (Blend(np.full(2, 0.5, np.float32)),), (31, 1023))
    mixed = dtm.apply(plan, images, layout="NHWC").view(np.uint16)
    np.testing.assert_array_equal(mixed[0], own[0] + (own[0] & 1))
    np.testing.assert_array_equal(mixed[1], mixed[0])


def test_halves_survive_a_whole_swap_bit_for_bit():
    """A box moves bytes: NaN payloads, subnormals and signs of zero arrive as they left."""
    images = np.concatenate([all_halves(), all_halves()[:, ::-1, ::-1]])
    before = images.view(np.uint16).copy()
    boxes = np.array([[0, 0, 256, 256]] * 2, np.int32)
    dtm.apply(Plan([1, 0], (Box(boxes),), (256, 256)), images, layout="NHWC")
    np.testing.assert_array_equal(images.view(np.uint16), before[::-1])


@pytest.mark.parametrize("kind", ["tokens", "box"])
def test_float32_is_moved_bit_for_bit(kind, device):
    rng = np.random.default_rng(6)
    images = rng.integers(0, 2**32, (4, 9, 11, 3), np.uint32)
    plan = random_plan(kind, rng, 4, (9, 11))
    expected = np.where(shown_by_loops(plan)[..., None], images[plan.partner], images)
    mixed = to_numpy(dtm.apply(plan, on_device(images.view(np.float32), "native", device)))
    np.testing.assert_array_equal(mixed.view(np.uint32), expected)


def test_channels_last_is_seen_as_one_plane_of_whole_pixels():
    images = permuted(np.zeros((2, 8, 9, 3), np.float32), 0, 3, 1, 2)
    seen = images_of(view("images", images), layout="NCHW")
    assert (seen.planes, seen.pixel_bytes) == (1, 12)
