"""AugMix's chains: the kernels bit for bit their definition, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.plan import Plan, read_rows
from dali_tokenmix.reference.chains import operated
from dali_tokenmix.regions import Chains
from dali_tokenmix.regions.chains import OPERATIONS
from dali_tokenmix.runtime import host
from tests.chains import chains_plan
from tests.helpers import ARRANGEMENTS, LIBRARIES, on_device, spread, to_numpy


def check(plan, images, arrangement=ARRANGEMENTS["nhwc"], library="native", device="cpu", threads=None):
    """apply() on images spread out as arranged gives reference.mixed() in the view and changes no byte beside it."""
    there = on_device(spread(images, arrangement), library, device)
    dtm.apply(plan, arrangement.cut(there), layout=arrangement.layout, threads=threads)
    np.testing.assert_array_equal(to_numpy(there), spread(reference.mixed(plan, images), arrangement))


def noise(rng, n, size):
    """Bytes of which every second sample has few values, and one channel of the first has but one."""
    images = rng.integers(0, 256, (n, *size, 3), np.uint8)
    images[::2] = images[::2] // 40 * 7 + 30
    images[0, ..., 1] = 9
    return images


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
def test_kernels_are_the_definition(arrangement, library, device):
    rng = np.random.default_rng(3)
    for n, size in ((5, (13, 10)), (2, (32, 33)), (1, (5, 6)), (3, (1, 7)), (3, (7, 1)), (2, (1, 1))):
        check(chains_plan(rng, n, size), noise(rng, n, size), arrangement, library, device)


@pytest.mark.parametrize("name", OPERATIONS[1:])
def test_every_operation_is_its_definition(name, device):
    rng = np.random.default_rng(4)
    for size in ((13, 10), (2, 2), (1, 9), (40, 33)):
        check(chains_plan(rng, 12, size, 1, 1, only=name), noise(rng, 12, size), device=device)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 5),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    width=st.integers(1, 8),
    depth=st.integers(1, 8),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_any_number_of_chains_of_any_length(n, size, width, depth, threads, seed):
    rng = np.random.default_rng(seed)
    check(chains_plan(rng, n, size, width, depth), noise(rng, n, size), threads=threads)


def test_no_access_is_wider_than_its_address_allows(strict_library, monkeypatch, capfd):
    """Fails if UBSan reports, which it does on stderr."""
    monkeypatch.setattr(host, "kernels", lambda: strict_library)
    rng = np.random.default_rng(5)
    for arrangement in ARRANGEMENTS.values():
        check(chains_plan(rng, 3, (9, 11)), noise(rng, 3, (9, 11)), arrangement)
    assert capfd.readouterr().err == ""


def test_a_weight_of_one_leaves_every_bit_and_equal_chains_are_no_mixture():
    images = noise(np.random.default_rng(0), 4, (9, 8))
    plan = chains_plan(np.random.default_rng(1), 4, (9, 8))
    (region,) = plan.regions
    clean = np.zeros_like(region.weights)
    clean[:, 0] = 1
    untouched = Plan(plan.partner, (Chains(clean, region.operations, region.parameters, 0.0),), (9, 8))
    np.testing.assert_array_equal(dtm.apply(untouched, images.copy()), images)
    one_step = chains_plan(np.random.default_rng(1), 4, (9, 8), 3, 1, only="equalize")
    only_chains = one_step.regions[0].weights.copy()
    only_chains[:, 0], only_chains[:, 1:] = 0, (0.5, 0.25, 0.25)
    equal = Plan(plan.partner, (Chains(only_chains, *(getattr(one_step.regions[0], n) for n in PARTS)),), (9, 8))
    expected = [operated(image, "equalize", np.zeros(6, np.float32), 0.0) for image in images]
    np.testing.assert_array_equal(dtm.apply(equal, images.copy()), expected)


PARTS = ("operations", "parameters", "fill")


def test_sums_lie_between_the_least_and_the_greatest_of_what_is_summed():
    rng = np.random.default_rng(6)
    images, plan = noise(rng, 6, (15, 17)), chains_plan(rng, 6, (15, 17), depth=1)
    (region,) = plan.regions
    mixed = dtm.apply(plan, images.copy())
    for n, image in enumerate(images):
        steps = zip(region.operations[n, :, 0], region.parameters[n, :, 0], strict=True)
        ends = [operated(image, OPERATIONS[k], p, region.fill) if k else image for k, p in steps]
        assert (mixed[n] >= np.min([image, *ends], axis=0)).all()
        assert (mixed[n] <= np.max([image, *ends], axis=0)).all()


def test_rows_hold_what_a_plan_holds():
    plan = chains_plan(np.random.default_rng(7), 5, (8, 9), 2, 4)
    (region,) = plan.regions
    read = read_rows(plan.rows(), (region.shape,), plan.image_size).regions[0]
    assert read.shape == region.shape
    for name in ("weights", "operations", "parameters"):
        np.testing.assert_array_equal(getattr(read, name), getattr(region, name))
    assert not region.shape.neutral(3).shares(3, (8, 9)).any()
    assert (plan.sources() == np.arange(5)[:, None, None]).all()
    some = region.only(np.array([True, False, True, False, False]))
    np.testing.assert_array_equal(some.weights[0], region.weights[0])
    assert some.weights[1, 0] == 1
    assert not some.operations[1].any()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"weights": np.ones((2, 4), np.float32)}, ValueError, "weights must be >= 0 and of sum 1"),
        ({"weights": np.float32([[2, -1, 0, 0]] * 2)}, ValueError, "weights must be >= 0 and of sum 1"),
        ({"weights": np.ones((2, 3), np.float32) / 3}, ValueError, r"weights must have shape \(2, 4\)"),
        ({"weights": np.ones((2, 4)) / 4}, TypeError, "weights must be a NumPy array of float32"),
        ({"operations": np.full((2, 3, 2), 10, np.int32)}, ValueError, r"operations must be in \[0, 10\)"),
        ({"operations": np.zeros((2, 9, 2), np.int32)}, ValueError, "1 to 8 chains of 1 to 8, got 9 of 2"),
        ({"operations": np.zeros((2, 3), np.int32)}, ValueError, r"must be \(N, width, depth\)"),
        ({"parameters": np.full((2, 3, 2, 6), np.inf, np.float32)}, ValueError, "finite and below"),
        ({"parameters": np.zeros((2, 3, 2, 5), np.float32)}, ValueError, "parameters must have shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed, error, message):
    right = {
        "weights": np.full((2, 4), 0.25, np.float32),
        "operations": np.ones((2, 3, 2), np.int32),
        "parameters": np.zeros((2, 3, 2, 6), np.float32),
    }
    with pytest.raises(error, match=message):
        Plan([0, 1], (Chains(**right | changed, fill=0.0),), (8, 8))


def test_images_that_do_not_fit_are_refused():
    plan = chains_plan(np.random.default_rng(0), 2, (8, 9))
    for dtype in ("float32", "float16"):
        with pytest.raises(TypeError, match=f"images must be uint8 for AugMix, .*, got {dtype}: put it before"):
            dtm.apply(plan, np.zeros((2, 8, 9, 3), dtype))
    for channels in (1, 4):
        with pytest.raises(ValueError, match=f"must have 3 channels for AugMix, .*, got {channels}"):
            dtm.apply(plan, np.zeros((2, 8, 9, channels), np.uint8))
