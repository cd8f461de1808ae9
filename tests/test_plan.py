"""Plan: what it refuses, what it counts, and how it travels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dali_tokenmix as dtm
from dali_tokenmix.plan import Plan, read_rows, row_dtype, untouched
from dali_tokenmix.regions import Blend, BlendShape, Box, BoxShape, TokenGrid, Tokens
from tests.helpers import blend_plan, box_plan, random_plan, shown_by_loops, some_pairs, token_plan

SIZE = (7, 9)
PAIRS = np.array([1, 0, 3, 2])


def tokens(*cells, n=4, size=SIZE, patch_size=3):
    bits = np.zeros((n, *TokenGrid.of(patch_size, size).grid), np.uint8)
    for cell in cells:
        bits[cell] = 1
    return Tokens(bits, patch_size)


def boxes(*rows):
    return Box(np.array(rows, np.int32))


def several_regions():
    return Plan(
        [1, 0, 3, 2, 5, 4, 6],
        (
            tokens((0, 0, 0), (1, 2, 2), n=7),
            boxes(*[[0] * 4] * 2, [1, 2, 7, 9], [0, 0, 1, 1], *[[0] * 4] * 3),
            Blend(np.array([0, 0, 0, 0, 0.25, 1, 0], np.float32)),
        ),
        SIZE,
    )


def test_fields_are_what_they_say():
    plan = Plan([1, 0, 2], (boxes([0, 0, 7, 9], [0, 0, 0, 0], [0, 0, 0, 0]),), [7, 9])
    assert (plan.partner.dtype, plan.own.dtype, plan.other.dtype) == (np.int32, np.float32, np.float32)
    assert (plan.partner.tolist(), plan.image_size, len(plan)) == ([1, 0, 2], (7, 9), 3)
    assert (plan.own.tolist(), plan.other.tolist()) == ([0, 1, 1], [1, 0, 0])
    assert Plan([0], (), 224).image_size == (224, 224)


def test_a_plan_cannot_be_changed():
    with pytest.raises(AttributeError):
        untouched(2, SIZE, ()).partner = np.array([1, 0])


@pytest.mark.parametrize("kind", ["tokens", "box"])
@pytest.mark.parametrize("seed", range(8))
def test_weights_are_the_share_of_pixels_that_the_partner_shows(kind, seed):
    plan = random_plan(kind, np.random.default_rng(seed), 6, SIZE)
    share = shown_by_loops(plan).sum(axis=(1, 2)) / (SIZE[0] * SIZE[1])
    np.testing.assert_array_equal(plan.other, share.astype(np.float32))
    np.testing.assert_array_equal(plan.own, (1 - share).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 8),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    patch_size=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_rows_are_read_back_as_they_were_packed(n, size, patch_size, seed):
    rng = np.random.default_rng(seed)
    partner = some_pairs(rng, n)
    plans = (token_plan(rng, partner, size, patch_size), box_plan(rng, partner, size), blend_plan(rng, partner, size))
    for plan in plans:
        rows = plan.rows()
        shapes = tuple(region.shape for region in plan.regions)
        assert rows.dtype == row_dtype(shapes)
        assert rows.shape == (n,)
        again = read_rows(np.frombuffer(rows.tobytes(), rows.dtype), shapes, size)
        assert again.rows().tobytes() == rows.tobytes()
        for name in ("partner", "own", "other"):
            np.testing.assert_array_equal(getattr(again, name), getattr(plan, name))
        np.testing.assert_array_equal(again.pixel_mask(), plan.pixel_mask())
        np.testing.assert_array_equal(again.blend(), plan.blend())


def test_rows_of_several_regions_are_read_back():
    plan = several_regions()
    again = read_rows(plan.rows(), tuple(region.shape for region in plan.regions), SIZE)
    for one, other in zip(plan.regions, again.regions, strict=True):
        assert one.shape == other.shape
        np.testing.assert_array_equal(one.pack(), other.pack())
    assert plan.rows().dtype.itemsize == 4 * (4 + 1 + 4 + 1)  # head, nine tokens in a word, box, weight


@pytest.mark.parametrize(("tokens_a_row", "words"), [(1, 1), (31, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_tokens_travel_as_bits(tokens_a_row, words):
    plan = token_plan(np.random.default_rng(0), PAIRS, (1, tokens_a_row), 1)
    packed = plan.rows()["region0"]
    assert packed.shape == (4, words)
    numbers = [sum(int(word) << 32 * k for k, word in enumerate(row)) for row in packed]
    expected = [sum(int(bit) << k for k, bit in enumerate(mask[0])) for mask in plan.mask()]
    assert numbers == expected


def test_label_weights_by_hand_travel_too():
    plan = box_plan(np.random.default_rng(0), PAIRS, SIZE).with_weights(
        np.array([0.3, 0, 2, 1]), np.array([0, 0, 1, 5])
    )
    again = read_rows(plan.rows(), (BoxShape(),), SIZE)
    np.testing.assert_array_equal(again.own, np.array([0.3, 0, 2, 1], np.float32))
    np.testing.assert_array_equal(again.other, np.array([0, 0, 1, 5], np.float32))


def test_mask_of_tokens_is_on_the_token_grid_and_pixel_mask_on_the_pixels():
    plan = Plan(PAIRS, (tokens((0, 2, 0), (1, 0, 1)),), SIZE)
    assert plan.mask().shape == (4, 3, 3)
    assert plan.mask().dtype == np.uint8
    assert np.argwhere(plan.mask()).tolist() == [[0, 2, 0], [1, 0, 1]]
    np.testing.assert_array_equal(plan.pixel_mask(), shown_by_loops(plan))
    assert plan.pixel_mask().sum(axis=(1, 2)).tolist() == [3, 9, 0, 0]  # the last row of tokens is one pixel high


def test_mask_of_boxes_is_on_the_pixels():
    plan = Plan(PAIRS, (boxes([1, 2, 4, 9], [0, 0, 0, 5], [6, 8, 7, 9], [0, 0, 7, 9]),), SIZE)
    np.testing.assert_array_equal(plan.mask(), shown_by_loops(plan))
    np.testing.assert_array_equal(plan.mask(), plan.pixel_mask())
    assert plan.mask().sum(axis=(1, 2)).tolist() == [21, 0, 1, 63]


def test_mask_of_blends_is_empty_and_blend_tells_the_weights():
    plan = Plan(PAIRS, (Blend(np.array([0.25, 0, 1, 0.5], np.float32)),), SIZE)
    assert plan.mask().tolist() == [[[0]]] * 4
    assert not plan.pixel_mask().any()
    assert plan.pixel_mask().shape == (4, *SIZE)
    assert plan.blend().tolist() == [0.25, 0, 1, 0.5]
    assert plan.other.tolist() == [0.25, 0, 1, 0.5]


def test_masks_of_several_regions_come_together_on_the_pixels():
    plan = several_regions()
    np.testing.assert_array_equal(plan.mask(), shown_by_loops(plan))
    np.testing.assert_array_equal(plan.pixel_mask(), shown_by_loops(plan))
    assert plan.blend().tolist() == [0, 0, 0, 0, 0.25, 1, 0]
    np.testing.assert_allclose(plan.other, [9 / 63, 3 / 63, 42 / 63, 1 / 63, 0.25, 1, 0], rtol=1e-6)


def test_mask_stays_on_the_token_grid_beside_blends():
    plan = Plan(PAIRS, (Blend(np.array([0.5, 0.5, 0, 0], np.float32)), tokens((2, 1, 1))), SIZE)
    assert plan.mask().shape == (4, 3, 3)
    assert np.argwhere(plan.mask()).tolist() == [[2, 1, 1]]


def test_untouched_changes_nothing_and_has_the_layout_of_a_plan_that_does():
    mixer = dtm.Choice([dtm.TokenMix(3), dtm.CutMix(), dtm.MixUp()])
    plan = untouched(4, SIZE, mixer.shapes(SIZE))
    assert plan.rows().dtype == dtm.draw(mixer, 4, SIZE).rows().dtype
    assert (plan.own.tolist(), plan.other.tolist(), plan.partner.tolist()) == ([1] * 4, [0] * 4, [0, 1, 2, 3])
    assert not plan.pixel_mask().any()
    assert not plan.blend().any()


@pytest.mark.parametrize(("patch_size", "grid"), [(16, (14, 14)), (15, (15, 15)), (224, (1, 1)), (300, (1, 1))])
def test_a_grid_covers_the_image(patch_size, grid):
    assert TokenGrid.of(patch_size, (224, 224)).grid == grid


ANY = boxes([0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0])
REFUSED = {
    "no involution": (lambda: Plan([1, 2, 0, 3], (), SIZE), ValueError, r"partner must pair samples up.*\[1 2 0 3\]"),
    "one-sided": (lambda: Plan([1, 1], (), SIZE), ValueError, "partner must pair samples up"),
    "partner too large": (lambda: Plan([0, 2], (), SIZE), ValueError, r"partner must pair samples up.*\[0 2\]"),
    "partner negative": (lambda: Plan([-1, 0], (), SIZE), ValueError, "partner must pair samples up"),
    "partner of two axes": (lambda: Plan([[0, 1]], (), SIZE), ValueError, r"partner must be \(N,\).*\(1, 2\)"),
    "nobody": (lambda: Plan([], (), SIZE), ValueError, r"partner must be \(N,\) with N >= 1"),
    "something of itself": (
        lambda: Plan([0, 1, 3, 2], (ANY,), SIZE),
        ValueError,
        "Box touches a sample that is its own",
    ),
    "two boxes": (lambda: Plan(PAIRS, (ANY, ANY), SIZE), ValueError, "Box touches a pair that another region touches"),
    "one for each side of a pair": (
        lambda: Plan(PAIRS, (tokens((0, 0, 0)), boxes([0] * 4, [0, 0, 1, 1], [0] * 4, [0] * 4)), SIZE),
        ValueError,
        "Box touches a pair that another region touches",
    ),
    "image_size of one axis": (lambda: Plan(PAIRS, (), (7,)), ValueError, r"image_size must be .* got \(7,\)"),
    "image_size 0": (lambda: Plan(PAIRS, (), (0, 7)), ValueError, "image_size must be in 1.*, got 0"),
    "image_size a fraction": (
        lambda: Plan(PAIRS, (), (7.5, 7)),
        TypeError,
        "image_size must be a whole number, got 7.5",
    ),
    "own alone": (lambda: Plan(PAIRS, (), SIZE, own=np.ones(4)), ValueError, "own and other are given together"),
    "own negative": (lambda: Plan(PAIRS, (), SIZE, [1, 1, -1, 1], [0] * 4), ValueError, "own must be .* finite .*-1"),
    "other nan": (
        lambda: Plan(PAIRS, (), SIZE, [1] * 4, [0, np.nan, 0, 0]),
        ValueError,
        "other must be .* finite .*nan",
    ),
    "own too short": (lambda: Plan(PAIRS, (), SIZE, [1] * 3, [0] * 4), ValueError, r"own must be \(4,\)"),
    "grid of another patch size": (
        lambda: Plan(PAIRS, (Tokens(np.zeros((4, 2, 2), np.uint8), 3),), SIZE),
        ValueError,
        r"token mask .*\(4, 3, 3\), got \(4, 2, 2\)",
    ),
    "mask of 2": (
        lambda: Plan(PAIRS, (Tokens(np.full((4, 3, 3), 2, np.uint8), 3),), SIZE),
        ValueError,
        "0 or 1, got 2",
    ),
    "mask of bool": (
        lambda: Plan(PAIRS, (Tokens(np.ones((4, 3, 3), bool), 3),), SIZE),
        TypeError,
        "token mask .*uint8, got bool",
    ),
    "mask a list": (lambda: Plan(PAIRS, (Tokens([[[1]]], 3),), SIZE), TypeError, "token mask must be a NumPy array"),
    "patch_size -1": (
        lambda: Plan(PAIRS, (Tokens(np.zeros((4, 1, 1), np.uint8), -1),), SIZE),
        ValueError,
        "patch_size .* got -1",
    ),
    "fewer boxes": (lambda: Plan([1, 0], (ANY,), SIZE), ValueError, r"boxes must have shape \(2, 4\), got \(4, 4\)"),
    "box of fractions": (
        lambda: Plan([1, 0], (Box(np.full((2, 4), 0.5)),), SIZE),
        TypeError,
        "boxes .*int32, got float64",
    ),
    "box outside": (
        lambda: Plan([1, 0], (boxes([0, 0, 8, 9], [0] * 4),), SIZE),
        ValueError,
        "boxes must lie inside the image of 7 x 9",
    ),
    "box before the edge": (
        lambda: Plan([1, 0], (boxes([-1, 0, 2, 2], [0] * 4),), SIZE),
        ValueError,
        "boxes must lie inside",
    ),
    "box the wrong way": (
        lambda: Plan([1, 0], (boxes([3, 0, 2, 2], [0] * 4),), SIZE),
        ValueError,
        "boxes must lie inside",
    ),
    "blend above 1": (
        lambda: Plan([1, 0], (Blend(np.array([1.5, 0], "f4")),), SIZE),
        ValueError,
        r"blend weight must be in \[0, 1\].*1.5",
    ),
    "blend nan": (
        lambda: Plan([1, 0], (Blend(np.array([np.nan, 0], "f4")),), SIZE),
        ValueError,
        "blend weight must be in .*nan",
    ),
    "blend of float64": (
        lambda: Plan([1, 0], (Blend(np.zeros(2)),), SIZE),
        TypeError,
        "blend weight .*float32, got float64",
    ),
    "more blends": (
        lambda: Plan([1, 0], (Blend(np.zeros(3, "f4")),), SIZE),
        ValueError,
        r"blend weight .*\(2,\), got \(3,\)",
    ),
}


@pytest.mark.parametrize(("build", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_plans_that_make_no_sense_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize("shape", [TokenGrid(3, (3, 3)), BoxShape(), BlendShape()], ids=lambda s: type(s).__name__)
def test_a_neutral_region_shows_no_partner(shape):
    region = shape.neutral(4)
    assert region.shape == shape
    assert not region.shares(4, SIZE).any()
