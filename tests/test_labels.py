"""Soft targets: equal to the slow definition and to the peers', and never at odds with the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.labels import class_ids
from dali_tokenmix.plan import Plan
from dali_tokenmix.regions import Blend, Box
from tests.helpers import provenance, random_plan

MIXERS = {
    f"{name} {mode} {partner}": build(mode=mode, partner=partner)
    for mode in ("pair", "batch", "elem")
    for partner in ("flip", "random")
    for name, build in {
        "block": dtm.TokenMix,
        "official": lambda **options: dtm.TokenMix(compat="official", **options),
        "random tokens": lambda **options: dtm.TokenMix(mask="random", **options),
        "region tokens": lambda **options: dtm.TokenMix(mask="region", **options),
        "odd patches": lambda **options: dtm.TokenMix(37, min_tokens=2, ratio=0.3, **options),
        "cutmix": dtm.CutMix,
        "minmax": lambda **options: dtm.CutMix(minmax=(0.2, 0.9), **options),
        "choice": lambda **options: dtm.Choice([dtm.TokenMix(**options), dtm.CutMix(**options)]),
        "sometimes": lambda **options: dtm.TokenMix(prob=0.5, **options),
    }.items()
} | {
    "choice by pair": dtm.Choice([dtm.TokenMix(), dtm.CutMix(), dtm.TokenMix(mask="random")], mode="pair"),
}


def by_definition(plan, labels, classes, smoothing):
    """In exact enough numbers: each side's one-hot label by its weight, then smoothed."""
    own, other = np.eye(classes)[labels], np.eye(classes)[np.asarray(labels)[plan.partner]]
    hard = plan.own.astype(float)[:, None] * own + plan.other.astype(float)[:, None] * other
    return (1 - smoothing) * hard + smoothing / classes


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)
def test_weights_are_counted_from_the_pixels_that_were_pasted(mixer, n):
    """Pixels that say which sample they come from are mixed and counted; labels must say the same."""
    height, width = 233, 221
    plan = dtm.draw(mixer, n, (height, width), seed=n)
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, height, width, 1)).copy()
    dtm.apply(plan, images)
    counts = np.array([(images == source).sum(axis=(1, 2, 3)) for source in range(n)]).T  # (sample, source)
    assert (counts.sum(axis=1) == height * width).all()
    targets = dtm.soft_targets(plan, np.arange(n), n, smoothing=0)
    np.testing.assert_allclose(targets, counts / (height * width), rtol=0, atol=1e-6)
    foreign = height * width - counts[np.arange(n), np.arange(n)]
    np.testing.assert_array_equal(plan.other, (foreign / (height * width)).astype(np.float32))
    np.testing.assert_array_equal(plan.own, (1 - foreign / (height * width)).astype(np.float32))
    if n > 1 and getattr(mixer, "prob", 1) == 1:
        assert foreign.any()


@pytest.mark.parametrize("mode", ["pair", "batch", "elem"])
def test_blended_weights_are_those_of_the_pixels(mode):
    """A class a channel: images whose pixels are one-hot labels become the targets themselves."""
    n = 7
    plan = dtm.draw(dtm.MixUp(mode=mode), n, (3, 4), seed=2)
    images = np.broadcast_to(np.eye(n, dtype=np.float32)[:, None, None, :], (n, 3, 4, n)).copy()
    dtm.apply(plan, images)
    targets = dtm.soft_targets(plan, np.arange(n), n, smoothing=0)
    np.testing.assert_array_equal(images, np.broadcast_to(targets[:, None, None], images.shape))
    assert (plan.other > 0).sum() == n - 1


def test_sides_are_not_swapped():
    """One token of four from the partner: three quarters of the label are the sample's own."""
    plan = Plan([1, 0], (Box(np.array([[0, 0, 2, 2], [0, 0, 0, 0]], np.int32)),), (4, 4))
    assert dtm.soft_targets(plan, [2, 0], 3, smoothing=0).tolist() == [[0.25, 0, 0.75], [1, 0, 0]]
    np.testing.assert_allclose(
        dtm.soft_targets(plan, [2, 0], 3, smoothing=0.3), [[0.275, 0.1, 0.625], [0.8, 0.1, 0.1]], rtol=1e-6
    )


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(1, 9),
    classes=st.integers(1, 50),
    smoothing=st.floats(0, 1),
    kind=st.sampled_from(["tokens", "box", "blend"]),
    seed=st.integers(0, 2**32),
)
def test_targets_are_the_definition(n, classes, smoothing, kind, seed):
    rng = np.random.default_rng(seed)
    plan, labels = random_plan(kind, rng, n, (7, 9)), rng.integers(0, classes, n)
    targets = dtm.soft_targets(plan, labels, classes, smoothing)
    assert (targets.dtype, targets.shape) == (np.float32, (n, classes))
    np.testing.assert_array_equal(targets, reference.soft_targets(plan, labels, classes, smoothing))
    np.testing.assert_allclose(targets, by_definition(plan, labels, classes, smoothing), rtol=0, atol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-5)
    assert (targets >= 0).all()


@pytest.mark.parametrize("weights", [([0.2, 0.9], [0.3, 0.4]), ([0, 0], [0, 0]), ([3, 1], [2, 0])])
def test_weights_that_do_not_sum_to_one_are_kept(weights):
    own, other = (np.array(w, np.float32) for w in weights)
    plan = random_plan("box", np.random.default_rng(0), 2, (7, 9)).with_weights(own, other)
    targets = dtm.soft_targets(plan, [1, 2], 4, smoothing=0.1)
    np.testing.assert_allclose(targets, by_definition(plan, [1, 2], 4, 0.1), rtol=0, atol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 0.9 * (own + other) + 0.1, rtol=1e-6)


def test_two_of_the_same_class_add_up():
    plan = dtm.draw(dtm.TokenMix(), 4, 224, seed=0)
    targets = dtm.soft_targets(plan, [5, 3, 3, 5], 10, smoothing=0)
    np.testing.assert_array_equal(targets, np.eye(10, dtype=np.float32)[[5, 3, 3, 5]])


def test_class_ids_beyond_what_half_precision_holds():
    labels = np.array([2049, 20_999, 4097, 0])
    plan = dtm.draw(dtm.MixUp(), 4, 8, seed=3)
    targets = dtm.soft_targets(plan, labels, 21_000, smoothing=0)
    expected = {(i, int(labels[j])) for i in range(4) for j in (i, int(plan.partner[i]))}
    assert {(int(i), int(c)) for i, c in np.argwhere(targets)} == expected


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "uint64"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_of_every_integer_dtype_stay_as_they_are(dtype, shape):
    labels = np.array([3, 0, 2, 1], dtype).reshape(shape)
    before = labels.copy()
    plan = dtm.draw(dtm.CutMix(), 4, 32, seed=0)
    targets = dtm.soft_targets(plan, labels, 4)
    np.testing.assert_array_equal(targets, dtm.soft_targets(plan, [3, 0, 2, 1], 4))
    np.testing.assert_array_equal(labels, before)
    assert not np.shares_memory(class_ids(labels, 4), targets)


def test_labels_may_be_a_torch_tensor_or_a_view_with_gaps():
    torch = pytest.importorskip("torch")
    plan = dtm.draw(dtm.CutMix(), 4, 32, seed=0)
    expected = dtm.soft_targets(plan, [3, 0, 2, 1], 4)
    np.testing.assert_array_equal(dtm.soft_targets(plan, torch.tensor([3, 0, 2, 1]), 4), expected)
    np.testing.assert_array_equal(dtm.soft_targets(plan, np.array([3, 9, 0, 9, 2, 9, 1, 9])[::2], 4), expected)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"plan": "plan"}, TypeError, "plan must be a Plan, got 'plan'"),
        ({"labels": [0, 1, 2, 5]}, ValueError, r"labels must be in \[0, num_classes=5\), got 5"),
        ({"labels": [0, -1, 2, 3]}, ValueError, r"labels must be in \[0, num_classes=5\), got -1"),
        ({"labels": np.array([0, 1, 2, 2**32])}, ValueError, "got 4294967296"),
        ({"labels": np.array([0, 1, 2, 2**63], np.uint64)}, ValueError, "got 9223372036854775808"),
        ({"labels": [0.0, 1, 2, 3]}, TypeError, "labels must be whole numbers, got float64"),
        ({"labels": [True, False, True, True]}, TypeError, "labels must be whole numbers, got bool"),
        ({"labels": ["a", "b", "c", "d"]}, TypeError, "labels must be whole numbers, got <U1"),
        ({"labels": np.eye(4, 3, dtype=int)}, ValueError, r"labels must be class ids, .* got shape \(4, 3\)"),
        ({"labels": 3}, ValueError, r"labels must be class ids, \(N,\) or \(N, 1\), or rows \(N, num_classes=5\)"),
        ({"labels": [0, 1, 2]}, ValueError, r"labels must be \(4,\), one for each sample of the plan, got 3"),
        ({"num_classes": 0}, ValueError, "num_classes must be in 1.*, got 0"),
        ({"num_classes": 2.0}, TypeError, "num_classes must be a whole number, got 2.0"),
        ({"smoothing": -0.1}, ValueError, "smoothing must be >= 0 and <= 1, got -0.1"),
        ({"smoothing": 1.1}, ValueError, "smoothing must be >= 0 and <= 1, got 1.1"),
        ({"smoothing": float("nan")}, ValueError, "smoothing must be .*nan"),
        ({"smoothing": "0.1"}, TypeError, "smoothing must be a number, got '0.1'"),
    ],
)
def test_mistakes_are_refused(wrong, error, message):
    plan = dtm.draw(dtm.CutMix(), 4, 32, seed=0)
    with pytest.raises(error, match=message):
        dtm.soft_targets(**({"plan": plan, "labels": [0, 1, 2, 3], "num_classes": 5} | wrong))


def foreign_box(before, after):
    """(4,) y0, x0, y1, x1 of the pixels that changed, which must be a whole box; zeros where none did."""
    changed = (before != after).any(axis=0)
    if not changed.any():
        return [0, 0, 0, 0]
    y, x = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    box = [y[0], x[0], y[-1] + 1, x[-1] + 1]
    assert changed[box[0] : box[2], box[1] : box[3]].all()
    return box


def unlike_images(n, size):
    """(N, 3, H, W) float32, no two samples alike anywhere."""
    return (provenance(n, *size, dtype="float32") + np.float32(0.5)).transpose(0, 3, 1, 2).copy()


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("seed", range(5))
def test_cutmix_is_timm_s_given_its_boxes(mode, seed):
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm.data.mixup")
    np.random.seed(seed)  # noqa: NPY002  timm draws from the global generator
    images, labels = unlike_images(6, (29, 31)), np.array([4, 0, 3, 3, 1, 4])
    theirs = timm.Mixup(mixup_alpha=0.0, cutmix_alpha=1.0, mode=mode, label_smoothing=0.1, num_classes=5)
    mixed, targets = theirs(torch.from_numpy(images.copy()), torch.from_numpy(labels))
    boxes = [foreign_box(before, after) for before, after in zip(images, mixed.numpy(), strict=True)]
    plan = Plan(np.arange(6)[::-1], (Box(np.array(boxes, np.int32)),), (29, 31))
    np.testing.assert_array_equal(dtm.apply(plan, images.copy()), mixed.numpy())
    np.testing.assert_allclose(dtm.soft_targets(plan, labels, 5, 0.1), targets.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_timm_s_given_its_lambda(seed):
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm.data.mixup")
    images, labels = unlike_images(6, (9, 11)), np.array([4, 0, 3, 3, 1, 4])
    theirs = timm.Mixup(mixup_alpha=0.8, mode="batch", label_smoothing=0.1, num_classes=5)
    np.random.seed(seed)  # noqa: NPY002
    lam, _ = theirs._params_per_batch()
    np.random.seed(seed)  # noqa: NPY002
    mixed, targets = theirs(torch.from_numpy(images.copy()), torch.from_numpy(labels))
    plan = Plan(np.arange(6)[::-1], (Blend(np.full(6, 1 - lam, np.float32)),), (9, 11))
    np.testing.assert_allclose(dtm.apply(plan, images.copy()), mixed.numpy(), rtol=1e-6)
    np.testing.assert_allclose(dtm.soft_targets(plan, labels, 5, 0.1), targets.numpy(), rtol=0, atol=1e-6)
    by_hand = timm.mixup_target(torch.from_numpy(labels), 5, lam, 0.1)
    np.testing.assert_allclose(dtm.soft_targets(plan, labels, 5, 0.1), by_hand.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["CutMix", "MixUp"])
@pytest.mark.parametrize("seed", range(5))
def test_both_are_torchvision_s_given_its_parameters(name, seed):
    """Of two samples, because torchvision's pairing (the one before) is ours only there."""
    torch = pytest.importorskip("torch")
    v2 = pytest.importorskip("torchvision.transforms.v2")
    images, labels = unlike_images(2, (29, 31)), np.array([3, 1])
    theirs = getattr(v2, name)(num_classes=5)
    torch.manual_seed(seed)
    params = theirs.make_params([torch.from_numpy(images)])
    torch.manual_seed(seed)
    mixed, targets = theirs(torch.from_numpy(images.copy()), torch.from_numpy(labels))
    if name == "CutMix":
        x0, y0, x1, y1 = params["box"]
        region = Box(np.array([[y0, x0, y1, x1]] * 2, np.int32))
    else:
        region = Blend(np.full(2, 1 - params["lam"], np.float32))
    plan = Plan([1, 0], (region,), (29, 31))
    np.testing.assert_allclose(dtm.apply(plan, images.copy()), mixed.numpy(), rtol=0 if name == "CutMix" else 1e-6)
    np.testing.assert_allclose(dtm.soft_targets(plan, labels, 5, 0), targets.numpy(), rtol=0, atol=1e-6)


def test_lambda_does_not_take_the_images_dtype():
    """uint8 and float16 images are mixed with the same weight as float32, and labels stay float32."""
    plan = Plan([1, 0], (Blend(np.array([0.3, 0.7], np.float32)),), (4, 4))
    for dtype in ("uint8", "float16", "float32"):
        images = np.stack([np.full((4, 4, 1), 100), np.full((4, 4, 1), 200)]).astype(dtype)
        dtm.apply(plan, images, layout="NHWC")
        assert images[:, 0, 0, 0].tolist() == pytest.approx([130, 130], abs=0.1)
    np.testing.assert_array_equal(dtm.soft_targets(plan, [0, 1], 2, 0)[0], np.array([0.7, 0.3], np.float32))
