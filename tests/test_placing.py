"""Regions placed by maps: kernels against their definitions, bit for bit, label weights against the pixels."""

from __future__ import annotations

import numpy as np
import pytest

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.placing import placed
from dali_tokenmix.plan import Plan, packed, region_offsets, row_dtype
from dali_tokenmix.regions import (
    Box,
    PeakBox,
    PeakBoxShape,
    TokenGrid,
    Tokens,
    TopTokens,
    TopTokensShape,
    kinds,
    placed_shapes,
)
from dali_tokenmix.runtime import place
from dali_tokenmix.runtime.arrays import view
from tests.helpers import on_device, provenance, to_numpy, unplaced_plan

SIZES = ((32, 32), (23, 41), (7, 6))
MAPS = ((7, 5), (64, 48), (1, 1), (3, 11))


def some_maps(rng, n, shape, kind):
    """Of random numbers; of few values, so that many are highest; with values that are none."""
    maps = rng.normal(0, 1, (n, *shape))
    if kind == "ties":
        maps = np.round(maps)
    if kind == "nan":
        maps[rng.random(maps.shape) < 0.5] = np.nan
        maps[0] = np.nan
    return maps.astype(np.float32)


def placed_by_definition(plan, maps):
    """The plan that the definitions place; its weights are counted by Plan itself."""
    (region,) = plan.regions
    if isinstance(region, PeakBox):
        return Plan(
            plan.partner,
            (Box(reference.placed_at_peak(region.boxes, plan.partner, maps, plan.image_size)),),
            plan.image_size,
        )
    return Plan(plan.partner, (Tokens(reference.placed_on_top(region.bits, plan.partner, maps), 0),), plan.image_size)


def placed_by_kernel(plan, maps, device):
    """The rows of the plan, placed on that device."""
    shapes = tuple(region.shape for region in plan.regions)
    rows = on_device(plan.packed, "native", device)
    there = on_device(maps, "native", device)
    (offset,) = region_offsets(shapes)
    place(view("plan", rows), view("maps", there), shapes[0], offset, plan.image_size)
    return to_numpy(rows)


@pytest.mark.parametrize("values", ["any", "ties", "nan"])
@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", MAPS)
def test_boxes_are_placed_as_defined(shape, size, n, values, device):
    rng = np.random.default_rng(1)
    plan, maps = unplaced_plan("box", rng, n, size), some_maps(rng, n, shape, values)
    expected = placed_by_definition(plan, maps)
    np.testing.assert_array_equal(placed_by_kernel(plan, maps, device), expected.packed)


@pytest.mark.parametrize("values", ["any", "ties", "nan"])
@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [(7, 5), (1, 1), (2, 6), (7, 6)])
def test_tokens_are_placed_as_defined(grid, size, n, values, device):
    rng = np.random.default_rng(2)
    plan, maps = unplaced_plan("tokens", rng, n, size, grid), some_maps(rng, n, grid, values)
    expected = placed_by_definition(plan, maps)
    np.testing.assert_array_equal(placed_by_kernel(plan, maps, device), expected.packed)


def test_maps_of_another_size_are_averaged_on_the_tokens():
    """A map of 14 x 10 on a grid of 7 x 5: means of 2 x 2, whose order alone counts."""
    rng = np.random.default_rng(3)
    plan, maps = unplaced_plan("tokens", rng, 6, (35, 35)), some_maps(rng, 6, (14, 10), "any")
    means = maps.reshape(6, 7, 2, 5, 2).astype(float).mean((2, 4))
    np.testing.assert_array_equal(placed(plan, maps).rows(), placed_by_definition(plan, means).rows())


@pytest.mark.parametrize("kind", ["box", "tokens"])
def test_weights_are_those_of_the_pixels_that_show(kind):
    rng = np.random.default_rng(4)
    plan = placed(unplaced_plan(kind, rng, 9, (23, 41)), some_maps(rng, 9, (7, 5), "any"))
    images = dtm.apply(plan, provenance(9, 23, 41))
    for n in range(9):
        from_partner = (images[n, :, :, 0] == plan.partner[n]).mean() if plan.partner[n] != n else 0
        assert plan.other[n] == np.float32(from_partner)
        assert plan.own[n] == np.float32(1 - from_partner)
    np.testing.assert_array_equal(images[..., 1:], provenance(9, 23, 41)[..., 1:])  # rows and columns stay
    np.testing.assert_array_equal(images, reference.mixed(plan, provenance(9, 23, 41)))


def test_rows_are_rows_and_columns_columns():
    maps = np.zeros((2, 10, 20), np.float32)
    maps[0, 1, 18] = maps[1, 8, 2] = 1
    plan = placed(Plan([1, 0], (PeakBox(np.array([[0, 0, 10, 6], [0, 0, 4, 8]], np.int32), None),), (100, 400)), maps)
    # peaks at row 85, column 50 and at row 15, column 370: each takes its partner's
    assert plan.regions[0].boxes.tolist() == [[80, 47, 90, 53], [13, 366, 17, 374]]


@pytest.mark.parametrize("peak", [0, 99])
def test_boxes_are_cut_off_at_the_border_and_hold_the_peak(peak):
    maps = np.zeros((2, 100, 100), np.float32)
    maps[:, peak, peak] = 1
    for length in (1, 2, 7, 100):
        plan = placed(
            Plan([1, 0], (PeakBox(np.array([[0, 0, length, length]] * 2, np.int32), None),), (100, 100)), maps
        )
        y0, x0, y1, x1 = plan.regions[0].boxes[0]
        assert 0 <= y0 <= peak < y1 <= 100
        assert (y0, y1) == (x0, x1)
        assert plan.other[0] == np.float32((y1 - y0) ** 2 / 100**2)


def test_each_region_of_several_is_placed_by_its_own_maps_and_the_rest_of_a_row_stays():
    rng = np.random.default_rng(5)
    n, size = 8, (30, 40)
    partner = np.arange(n)[::-1]
    mine = np.minimum(np.arange(n), partner)
    whole = np.array([[0, 0, 10, 12]] * n, np.int32)
    tokens = TopTokens((np.arange(35) < 6).astype(np.uint8).reshape(1, 7, 5).repeat(n, axis=0), 0)
    regions = (Box(whole).only(mine == 0), PeakBox(whole, None).only(mine == 1), tokens.only(mine == 2))
    plan = Plan(partner, regions, size)
    maps = {kind: some_maps(rng, n, (7, 5), "any") for kind in ("saliency", "attention")}
    done = placed(plan, maps)
    assert [type(region) for region in done.regions] == [Box, Box, Tokens]
    np.testing.assert_array_equal(done.regions[0].boxes, regions[0].boxes)
    for which, kind in ((1, "saliency"), (2, "attention")):
        alone = placed_by_definition(Plan(partner, regions[which : which + 1], size), maps[kind])
        np.testing.assert_array_equal(done.regions[which].pack(), alone.regions[0].pack())
        np.testing.assert_array_equal(done.other[mine == which], alone.other[mine == which])
    np.testing.assert_array_equal(done.other[mine == 3], 0)
    assert done.other[0] == np.float32(120 / 1200)


def test_shapes_say_which_maps_they_need_and_what_they_become():
    shapes = (TopTokensShape(0, (7, 7)), PeakBoxShape("maker"), TokenGrid(16, (14, 14)), PeakBoxShape("other"))
    assert kinds(shapes) == ("attention", "saliency")
    assert kinds(shapes[2:3]) == ()
    after = placed_shapes(shapes)
    assert [type(shape).__name__ for shape in after] == ["TokenGrid", "BoxShape", "TokenGrid", "BoxShape"]
    assert row_dtype(after) == row_dtype(shapes)
    for shape in shapes[:2]:
        neutral = shape.neutral(3)
        assert neutral.shape == shape
        assert not neutral.pack().any()
        assert shape.unpack(neutral.pack()).shape == shape
        assert neutral.only(np.array([True, False, True])).shape == shape


def test_what_is_not_placed_is_not_applied():
    plan = unplaced_plan("box", np.random.default_rng(0), 4, (20, 20))
    with pytest.raises(TypeError, match="no kernel mixes a PeakBoxShape"):
        dtm.apply(plan, np.zeros((4, 20, 20, 3), np.uint8))


def test_maps_have_to_be_of_the_rows_samples():
    plan = unplaced_plan("box", np.random.default_rng(0), 4, (20, 20))
    (shape,) = (region.shape for region in plan.regions)
    rows, maps = packed(plan.rows()), np.zeros((3, 5, 5), np.float32)
    with pytest.raises(ValueError, match="maps must be of 4 samples on the cpu, got 3 on the cpu"):
        place(view("plan", rows), view("maps", maps), shape, 12, (20, 20))
