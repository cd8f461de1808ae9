"""apply(): in place on any library's arrays, nothing else touched, mistakes refused, safe after a fork."""

from __future__ import annotations

import multiprocessing
import os

import numpy as np
import pytest
import torch

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.plan import untouched
from dali_tokenmix.runtime import host
from tests.helpers import LIBRARIES, on_device, provenance, random_plan, to_numpy


def a_plan(n=4, size=(6, 5), mixer=None):
    return dtm.draw(mixer or dtm.CutMix(), n, size, seed=1)


class DLPackOnly:
    """An array whose library we do not know: it offers DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("library", LIBRARIES)
def test_images_are_mixed_in_place_and_returned(library, device):
    images = provenance(4, 6, 5)
    there = on_device(images, library, device)
    assert dtm.apply(a_plan(), there) is there
    np.testing.assert_array_equal(to_numpy(there), reference.mixed(a_plan(), images))
    assert (to_numpy(there) != images).any()


def test_any_array_with_dlpack_is_mixed_in_place():
    images = provenance(4, 6, 5)
    mixed = images.copy()
    dtm.apply(a_plan(), DLPackOnly(mixed))
    np.testing.assert_array_equal(mixed, reference.mixed(a_plan(), images))


def test_a_plan_is_not_used_up():
    plan, images = a_plan(), provenance(4, 6, 5)
    rows = plan.rows().tobytes()
    once, again = dtm.apply(plan, images.copy()), dtm.apply(plan, images.copy())
    np.testing.assert_array_equal(once, again)
    assert plan.rows().tobytes() == rows


@pytest.mark.parametrize("kind", ["tokens", "box"])
def test_equal_regions_of_a_pair_are_a_swap_that_a_second_time_undoes(kind):
    """Pixels are neither lost nor doubled."""
    mixer = dtm.CutMix() if kind == "box" else dtm.TokenMix(1, mask="random")
    plan, images = a_plan(mixer=mixer), provenance(4, 6, 5)
    mixed = dtm.apply(plan, images.copy())
    assert (mixed != images).any()
    np.testing.assert_array_equal(np.sort(mixed.reshape(-1, 3), axis=0), np.sort(images.reshape(-1, 3), axis=0))
    np.testing.assert_array_equal(dtm.apply(plan, mixed), images)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("kind", ["tokens", "box", "blend"])
def test_self_partners_and_a_single_sample_stay_as_they_are(kind, dtype, device):
    rng = np.random.default_rng(2)
    for n in (1, 3):
        plan = random_plan(kind, rng, n, (5, 7))
        images = provenance(n, 5, 7, dtype=dtype)
        alone = plan.partner == np.arange(n)
        assert alone.any()
        mixed = to_numpy(dtm.apply(plan, on_device(images, "native", device)))
        np.testing.assert_array_equal(mixed[alone], images[alone])


@pytest.mark.parametrize("mixer", [dtm.TokenMix(2), dtm.CutMix(), dtm.MixUp()], ids=lambda m: type(m).__name__)
def test_probability_zero_and_untouched_plans_change_nothing(mixer):
    images = provenance(4, 6, 5, dtype="float32")
    never = dtm.draw(type(mixer)(prob=0.0), 4, 64, seed=3)
    np.testing.assert_array_equal(dtm.apply(untouched(4, (6, 5), mixer.shapes((6, 5))), images.copy()), images)
    big = provenance(4, 64, 64)
    np.testing.assert_array_equal(dtm.apply(never, big.copy()), big)


def test_layout_is_found_from_the_plan_where_the_channels_leave_it_open():
    images = provenance(4, 3, 4, channels=3).transpose(0, 3, 1, 2).copy()  # (4, 3, 3, 4): NHWC by its channels
    plan = a_plan(size=(3, 4))
    expected = reference.mixed(plan, images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(dtm.apply(plan, images), expected)


def strided(shape, strides):
    return np.lib.stride_tricks.as_strided(np.zeros(4096, np.uint8), shape, strides)


def read_only():
    images = np.zeros((4, 6, 5, 3), np.uint8)
    images.flags.writeable = False
    return images


def of_torch(build):
    def wanted():
        return build(pytest.importorskip("torch"))

    return wanted


ZEROS = np.zeros((4, 6, 5, 3), np.uint8)
REFUSED = {
    "float64": (lambda: ZEROS.astype("f8"), TypeError, "images must be uint8, float16, float32, got float64"),
    "int8": (lambda: ZEROS.astype("i1"), TypeError, "got int8"),
    "bool": (lambda: ZEROS.astype(bool), TypeError, "got bool"),
    "byte-swapped": (lambda: ZEROS.astype(">f4"), TypeError, "got byte-swapped float32"),
    "bfloat16": (of_torch(lambda t: t.zeros((4, 6, 5, 3), dtype=t.bfloat16)), TypeError, "got bfloat16"),
    "list": (lambda: ZEROS.tolist(), TypeError, "images must be a NumPy, CuPy or torch array .* got list"),
    "None": (lambda: None, TypeError, "images must be .* got NoneType"),
    "three axes": (lambda: ZEROS[0], ValueError, r"images must be \(N, H, W, C\) .* got shape \(6, 5, 3\)"),
    "no samples": (lambda: ZEROS[:0], ValueError, r"none of them 0, got shape \(0, 6, 5, 3\)"),
    "fewer samples": (lambda: ZEROS[:3], ValueError, "plan is for 4 samples, images are 3"),
    "other size": (lambda: np.zeros((4, 6, 6, 3), np.uint8), ValueError, r"\(4, 6, 6, 3\) are not 6 x 5"),
    "read-only": (read_only, ValueError, "images are read-only"),
    "rows backwards": (lambda: ZEROS[:, ::-1].copy()[:, ::-1], ValueError, "images must not run backwards, got"),
    "samples backwards": (lambda: ZEROS.copy()[::-1], ValueError, "images must not run backwards"),
    "columns backwards": (lambda: ZEROS.copy()[:, :, ::-1], ValueError, "images must have pixels side by side"),
    "channels backwards": (lambda: ZEROS.copy()[..., ::-1], ValueError, "images must have pixels side by side"),
    "column gaps": (lambda: np.zeros((4, 6, 10, 3), np.uint8)[:, :, ::2], ValueError, "pixels side by side"),
    "one sample four times": (lambda: strided((4, 6, 5, 3), (0, 15, 3, 1)), ValueError, "images must not share memory"),
    "one row six times": (lambda: strided((4, 6, 5, 3), (90, 0, 3, 1)), ValueError, "images must not share memory"),
    "gray as colour": (
        of_torch(lambda t: t.zeros((4, 1, 6, 5)).expand(4, 3, 6, 5)),
        ValueError,
        "images must not share memory",
    ),
    "requires grad": (
        of_torch(lambda t: t.zeros((4, 3, 6, 5), requires_grad=True)),
        ValueError,
        "images must not require grad",
    ),
    "meta device": (of_torch(lambda t: t.zeros((4, 3, 6, 5), device="meta")), TypeError, "images must be on .* meta"),
}


@pytest.mark.parametrize(("images", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_images_that_cannot_be_mixed_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        dtm.apply(a_plan(), images())


def test_a_shape_that_may_be_either_layout_is_refused_until_said():
    images = provenance(4, 3, 3)
    with pytest.raises(ValueError, match=r"\(4, 3, 3, 3\) may be NHWC or NCHW: say layout="):
        dtm.apply(a_plan(size=(3, 3)), images)
    plan = a_plan(size=(3, 3))
    np.testing.assert_array_equal(dtm.apply(plan, images.copy(), layout="NHWC"), reference.mixed(plan, images))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"plan": "plan"}, TypeError, "plan must be a Plan, got 'plan'"),
        ({"plan": None}, TypeError, "plan must be a Plan, got None"),
        ({"layout": "HWCN"}, ValueError, "layout must be one of .*, got 'HWCN'"),
        ({"layout": "NCHW"}, ValueError, "images are 5 x 3 as NCHW, the plan is for 6 x 5"),
        ({"threads": 0}, ValueError, "threads must be in 1.*, got 0"),
        ({"threads": -1}, ValueError, "threads must be in 1.*, got -1"),
        ({"threads": 1.5}, TypeError, "threads must be a whole number, got 1.5"),
        ({"threads": True}, TypeError, "threads must be a whole number, got True"),
    ],
)
def test_other_mistakes_are_refused(wrong, error, message):
    given = {"plan": a_plan(), "images": ZEROS.copy()} | wrong
    with pytest.raises(error, match=message):
        dtm.apply(given.pop("plan"), given.pop("images"), **given)


def test_a_refused_batch_is_not_half_mixed():
    images = provenance(4, 6, 5)
    with pytest.raises(ValueError, match="threads"):
        dtm.apply(a_plan(), images, threads=0)
    np.testing.assert_array_equal(images, provenance(4, 6, 5))


def mix_in_child(threads, queue):
    images = provenance(64, 64, 64)
    plan = dtm.draw(dtm.TokenMix(8), 64, 64, seed=5)
    dtm.apply(plan, images, threads=threads)
    queue.put(images.sum(dtype=np.int64) if (images == reference.mixed(plan, provenance(64, 64, 64))).all() else -1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_a_forked_child_of_a_process_that_mixed_with_threads_mixes_too(threads):
    """Threads do not survive a fork: a child that waits for its parent's waits for ever."""
    plan, images = dtm.draw(dtm.TokenMix(8), 64, 64, seed=5), provenance(64, 64, 64)
    dtm.apply(plan, images, threads=2)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=mix_in_child, args=(threads, queue))
    child.start()
    child.join(20)
    finished = child.exitcode
    child.kill()
    assert finished == 0
    assert queue.get() == images.sum(dtype=np.int64)


@pytest.mark.parametrize(
    ("variable", "threads"), [("3", 3), (" 2 ", 2), ("4,2", 4), ("0", None), ("", None), ("many", None)]
)
def test_default_threads_follow_openmp_s_variable(variable, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert host.default_threads() == (threads or len(os.sched_getaffinity(0)))


def test_images_that_overlap_in_memory_are_refused():
    base = np.zeros(4 * 224 * 672, np.uint8)
    sliding = np.lib.stride_tricks.as_strided(base, (4, 224, 224, 3), (300, 672, 3, 1))
    with pytest.raises(ValueError, match="images must not share memory"):
        dtm.apply(dtm.draw(dtm.TokenMix(), 4, 224), sliding)


def test_a_checked_plan_cannot_be_changed():
    plan = dtm.draw(dtm.TokenMix(), 4, 64)
    for array in (plan.partner, plan.own, plan.other):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9


def test_torch_keeps_its_threads():
    """A launch on another number of threads must not change anybody else's."""
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        plan = dtm.draw(dtm.TokenMix(8), n=4, image_size=32)
        dtm.apply(plan, np.zeros((4, 32, 32, 3), np.uint8), threads=threads)
        dtm.soft_targets(plan, [0, 1, 2, 3], 4)
        assert torch.get_num_threads() == before
