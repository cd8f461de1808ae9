"""AugMix: its operations those of DALI and PIL, its draws those of the paper, in any pipeline and in a Loader."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.auto_aug import augmentations as auto_aug
from PIL import Image, ImageOps
from scipy import stats
from skimage import data

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.mixers.augmix import AFFINE, IMAGENET_C, PAPER
from dali_tokenmix.reference.chains import operated
from dali_tokenmix.regions.chains import OPERATIONS

PHOTO = (data.coffee()[50:251, 100:342] // 2 + 20).astype(np.uint8)  # 20..147, so that a stretch shows
BLACK = 0.0


def parameters_of(name, level, size=PHOTO.shape[:2]):
    return (PAPER | IMAGENET_C)[name](np.array([level]), size)[0].astype(np.float32)


def of_ours(name, level):
    operation = "affine" if name in AFFINE else name
    return operated(PHOTO, operation, parameters_of(name, level), BLACK)


@pytest.fixture(scope="module")
def of_dali():
    """{(operation, level): the photograph by the function of nvidia.dali.auto_aug, on the CPU}."""
    height, width, _ = PHOTO.shape
    arguments = {
        "auto_contrast": lambda level: None,
        "equalize": lambda level: None,
        "posterize": lambda level: types.Constant(auto_aug.poster_mask_uint8(4 - np.floor(4 * abs(level)))),
        "solarize": lambda level: types.Constant(np.float32(256 - 256 * abs(level))),
        "rotate": lambda level: 30 * level,
        "shear_x": lambda level: [0.3 * level, 0],
        "shear_y": lambda level: [0, 0.3 * level],
        "translate_x": lambda level: [width / 3 * level, 0],
        "translate_y": lambda level: [0, height / 3 * level],
        **dict.fromkeys(("brightness", "contrast", "color"), lambda level: 1 + 0.9 * level),
        "sharpness": lambda level: types.Constant(auto_aug.sharpness_kernel(0.9 * level)),
    }
    asked = [(name, level) for name in arguments for level in (-0.9, -0.2, 0.35, 1.0)]

    def augmented(images, name, level):
        own = name + "_no_shape" * name.startswith("translate")  # offsets in pixels, not in sides
        fill = {"fill_value": BLACK} if name in AFFINE else {}
        return getattr(auto_aug, own).op(images, arguments[name](level), **fill)

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline():
        images = fn.external_source(lambda: [PHOTO], layout="HWC")
        return tuple(augmented(images, *case) for case in asked)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of DALI 2.4, about the place of its own equalize
        built = pipeline()
    built.build()
    return {case: np.array(out[0]) for case, out in zip(asked, built.run(), strict=True)}


EXACT = ("auto_contrast", "equalize", "posterize", "solarize", "contrast")


@pytest.mark.parametrize("name", [*PAPER, *IMAGENET_C])
def test_operations_are_those_of_dali(name, of_dali):
    """Tables byte for byte; where DALI computes otherwise a value that lies halfway may be rounded the other way."""
    for (which, level), theirs in of_dali.items():
        if which == name:
            off = np.abs(of_ours(name, level).astype(int) - theirs)
            assert off.max() <= (0 if name in EXACT else 1), level
            assert (off > 0).mean() < 0.1, level


@pytest.mark.parametrize("level", [-1.0, -0.3, 0.05, 0.7])
def test_operations_are_those_of_pil(level):
    """Which the paper's code uses: what is fixed exactly, what is bilinear to a step but for the image's edge."""
    image, (height, width, _) = Image.fromarray(PHOTO), PHOTO.shape
    bits = 4 - int(4 * abs(level))
    np.testing.assert_array_equal(of_ours("posterize", level), ImageOps.posterize(image, max(bits, 1)))
    threshold = 256 * (1 - abs(level))
    np.testing.assert_array_equal(of_ours("solarize", level), ImageOps.solarize(image, int(np.ceil(threshold))))
    for name, matrix in {
        "shear_x": (1, -0.3 * level, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, -0.3 * level, 1, 0),
        "translate_x": (1, 0, -level * width / 3, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, -level * height / 3),
    }.items():
        theirs = np.asarray(image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))
        inside = (theirs > 0).all(-1)  # they repeat the edge, half a pixel wide; we blend it with what is outside
        assert (np.abs(of_ours(name, level).astype(int) - theirs)[inside] <= 1).mean() > 0.98, name
        assert (of_ours(name, level)[~inside] == 0).sum() >= 3 * ((~inside).sum() - 2 * max(height, width)), name
    theirs = np.asarray(image.rotate(30 * level, Image.Resampling.BILINEAR))
    assert (np.abs(of_ours("rotate", level).astype(int) - theirs) <= 1).mean() > 0.97


# The draw ------------------------------------------------------------------------------------------------------------

SIZE = (90, 150)


def drawn(n=3000, size=SIZE, seed=0, **options):
    (region,) = dtm.draw(dtm.AugMix(**options), n, size, seed=seed).regions
    return region


def named(region):
    """(n, width, depth) names; affine ones are told apart by their matrices."""
    names = np.array(OPERATIONS, object)[region.operations]
    moved = region.parameters - np.float32([1, 0, 0, 0, 1, 0])
    only = lambda k: (moved[..., k] != 0) & (np.delete(moved, k, -1) == 0).all(-1)  # noqa: E731
    for name, k in (("translate_x", 2), ("translate_y", 5), ("shear_x", 1), ("shear_y", 3)):
        names[(names == "affine") & only(k)] = name
    return np.where(names == "affine", "rotate", names)


@pytest.mark.parametrize(("alpha", "width"), [(1.0, 3), (0.4, 3), (2.0, 2), (1.0, 8)])
def test_weights_are_beta_and_dirichlet(alpha, width):
    weights = drawn(alpha=alpha, width=width, depth=1).weights.astype(np.float64)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert stats.kstest(weights[:, 0], stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    seen = weights[:, 0] < 0.99  # where the chains weigh enough for a ratio in float32
    ratios = weights[seen, 1:] / weights[seen, 1:].sum(1, keepdims=True)
    for k in range(width):
        assert stats.kstest(ratios[:, k], stats.beta(alpha, (width - 1) * alpha).cdf).pvalue > 1e-3
    assert abs(stats.pearsonr(weights[seen, 0], ratios[:, 0]).statistic) < 0.08
    among = np.corrcoef(ratios.T)[0, 1]
    assert among == pytest.approx(-1 / (width - 1), abs=0.08)  # of a symmetric Dirichlet, whatever its alpha


def test_depth_is_one_two_or_three_equally_often_or_what_was_asked():
    lengths = (drawn().operations > 0).sum(-1)
    assert stats.chisquare(np.bincount(lengths.reshape(-1), minlength=4)[1:]).pvalue > 1e-3
    assert (drawn().operations[:, :, 0] > 0).all()
    joint = [np.count_nonzero((lengths[:, 0] == a) & (lengths[:, 1] == b)) for a in (1, 2, 3) for b in (1, 2, 3)]
    assert stats.chisquare(joint).pvalue > 1e-3  # of each chain for itself
    for depth in (1, 2, 8):
        assert (drawn(20, depth=depth).operations > 0).sum(-1).min() == depth


@pytest.mark.parametrize("all_ops", [False, True])
def test_operations_are_drawn_equally_often_and_only_those_asked_for(all_ops):
    region = drawn(all_ops=all_ops, depth=2)
    names, counts = np.unique(named(region).astype(str), return_counts=True)
    assert set(names) == set(PAPER) | (set(IMAGENET_C) if all_ops else set())
    assert stats.chisquare(counts).pvalue > 1e-3


def test_magnitudes_are_uniform_up_to_the_severity_and_signs_even():
    for severity in (3.0, 10.0):
        region = drawn(severity=severity, depth=3, all_ops=True)
        names, p = named(region), region.parameters.astype(np.float64)
        levels = {
            "shear_x": p[names == "shear_x"][:, 1] / -0.03,
            "shear_y": p[names == "shear_y"][:, 3] / -0.03,
            "translate_x": p[names == "translate_x"][:, 2] / (-SIZE[1] / 30),
            "translate_y": p[names == "translate_y"][:, 5] / (-SIZE[0] / 30),
            "rotate": np.rad2deg(np.arctan2(p[names == "rotate"][:, 3], p[names == "rotate"][:, 0])) / 3,
            **{name: (p[names == name][:, 0] - 1) / 0.09 for name in IMAGENET_C},
        }
        for name, level in levels.items():
            assert stats.kstest(np.abs(level), stats.uniform(0.1, severity - 0.1).cdf).pvalue > 1e-3, name
            assert stats.binomtest(int((level > 0).sum()), len(level)).pvalue > 1e-3, name
        threshold = p[names == "solarize"][:, 0]
        assert stats.kstest((256 - threshold) / 25.6, stats.uniform(0.1, severity - 0.1).cdf).pvalue > 1e-3
        kept, counts = np.unique(p[names == "posterize"][:, 0], return_counts=True)
        levels = np.linspace(0.1, severity, 100_000)
        expected = np.bincount(np.maximum(4 - (0.4 * levels).astype(int), 1), minlength=5) / len(levels)
        bits = np.array([bin(int(mask)).count("1") for mask in kept])
        assert stats.chisquare(counts, expected[bits] * counts.sum()).pvalue > 1e-3


def by_pil(image, name, parameters):
    """One drawn operation with Pillow, where it means the same; the two that look at the histogram by loops."""
    photo, first = Image.fromarray(image), float(parameters[0])
    if name == "affine":  # the edge once more around it, where Pillow would show black half a pixel too early
        return np.asarray(photo.transform(photo.size, Image.Transform.AFFINE, parameters, Image.Resampling.BILINEAR))
    if name == "posterize":
        return np.asarray(ImageOps.posterize(photo, bin(int(first)).count("1")))
    if name == "solarize":
        return np.asarray(ImageOps.solarize(photo, int(np.ceil(first))))
    out = np.empty_like(image)
    for channel in range(3):
        values = image[..., channel]
        low, high = values.min(), values.max()
        for value in np.unique(values):
            if name == "auto_contrast":
                to = 255 * (int(value) - int(low)) / (int(high) - int(low))
            else:
                to = 255 * ((values <= value).sum() - (values == low).sum()) / (values != low).sum()
            out[values == value, channel] = round(to)
    return out


def test_what_is_drawn_is_what_is_done():
    """A slow definition of the whole: chains by Pillow, one image after the other, and the sum of the paper."""
    size = PHOTO.shape[:2]
    plan = dtm.draw(dtm.AugMix(), 12, size, seed=3)
    mixed = dtm.apply(plan, np.repeat(PHOTO[None], 12, axis=0))
    (region,) = plan.regions
    for n in range(12):
        total = region.weights[n, 0] * PHOTO.astype(float)
        for k in range(3):
            chain = PHOTO
            for operation, parameters in zip(region.operations[n, k], region.parameters[n, k], strict=True):
                if operation:
                    chain = by_pil(chain, OPERATIONS[operation], parameters)
            total += region.weights[n, 1 + k] * chain
        off = np.abs(mixed[n] - total)
        assert (off < 1.5).mean() > 0.9  # a step where a bilinear value was rounded otherwise, more behind a table
        assert off.mean() < 1


@pytest.mark.parametrize("size", [(33, 70), (1, 1), (224, 31)])
@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("prob", [0.0, 0.5, 1.0])
def test_any_size_any_batch_any_probability(size, n, prob):
    images = np.random.default_rng(0).integers(0, 256, (n, *size, 3), np.uint8)
    plan = dtm.draw(dtm.AugMix(prob=prob, all_ops=True), n, size, seed=4)
    mixed = dtm.apply(plan, images.copy())
    np.testing.assert_array_equal(mixed, reference.mixed(plan, images))
    assert (plan.own == 1).all()
    assert (plan.partner == np.arange(n)).all()
    if prob == 0:
        np.testing.assert_array_equal(mixed, images)


def test_probability_is_of_each_sample_and_seeds_repeat():
    changed = drawn(prob=0.3).weights[:, 0] < 1
    assert stats.binomtest(int(changed.sum()), len(changed), 0.3).pvalue > 1e-3
    one, same, other = (drawn(20, seed=seed).pack() for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("mode", ["pair", "batch"])
def test_a_choice_of_it_and_others_mixes_each_sample_by_one_of_them(mode):
    mixer = dtm.Choice([dtm.AugMix(), dtm.TokenMix(8), dtm.MixUp()], mode=mode)
    images = np.random.default_rng(0).integers(0, 256, (10, 32, 40, 3), np.uint8)
    seen = set()
    for seed in range(12):
        plan = dtm.draw(mixer, 10, (32, 40), seed=seed)
        chains, tokens, blend = plan.regions
        augmented = chains.weights[:, 0] < 1
        mixed = np.stack([augmented, tokens.bits.any((1, 2)), blend.weight > 0])
        assert (mixed.sum(0) <= 1).all()
        assert (plan.own[augmented] == 1).all()
        np.testing.assert_array_equal(dtm.apply(plan, images.copy()), reference.mixed(plan, images))
        scored = dtm.scored(plan, np.ones((10, 4, 5), np.float32))
        np.testing.assert_allclose(scored.own, plan.own, atol=1e-6)
        seen |= set(np.flatnonzero(mixed.any(1)))
    assert seen == {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"severity": 0}, ValueError, "severity must be >= 0.1 and <= 10"),
        ({"severity": 11}, ValueError, "severity must be .* got 11"),
        ({"severity": "3"}, TypeError, "severity must be a number"),
        ({"width": 0}, ValueError, "width must be in 1..8, got 0"),
        ({"width": 9}, ValueError, "width must be in 1..8, got 9"),
        ({"depth": 0}, ValueError, "depth must be in 1..8, got 0"),
        ({"depth": -2}, ValueError, "depth must be in 1..8, got -2"),
        ({"depth": 1.5}, TypeError, "depth must be a whole number"),
        ({"alpha": 0}, ValueError, "alpha must be > 0"),
        ({"all_ops": 1}, ValueError, "all_ops must be one of False, True"),
        ({"fill_value": 256}, ValueError, "fill_value must be >= 0 and <= 255"),
        ({"prob": 1.1}, ValueError, "prob must be >= 0 and <= 1"),
        ({"seed": -1}, ValueError, "seed must be in 0"),
    ],
)
def test_impossible_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        dtm.AugMix(**options)


# In DALI -------------------------------------------------------------------------------------------------------------


def batches(photo_folder, function, count=3, seed=7, layout="NHWC", **options):
    """[(clean, *what function makes of them)] of real JPEGs, 6 a batch, in somebody's own pipeline."""

    @pipeline_def(batch_size=6, num_threads=2, device_id=None, seed=seed, **options)
    def pipeline():
        jpegs, labels = fn.readers.file(file_root=str(photo_folder), random_shuffle=True, seed=1)
        images = fn.resize(fn.decoders.image(jpegs), size=(40, 56))
        images = images if layout == "NHWC" else fn.transpose(images, perm=[2, 0, 1])
        return images, *function(images, labels)

    built = pipeline()
    built.build()
    return [[np.array(part.as_tensor()) for part in built.run()] for _ in range(count)]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("conditionals", [False, True])
def test_it_is_a_function_of_nodes_in_any_pipeline(photo_folder, conditionals, layout):
    twice = lambda images, labels: (dtm.AugMix()(images), dtm.AugMix()(images))  # noqa: E731
    found = batches(photo_folder, twice, enable_conditionals=conditionals, layout=layout)
    clean = batches(photo_folder, lambda images, labels: (), layout=layout)
    for (images, one, other), (untouched,) in zip(found, clean, strict=True):
        np.testing.assert_array_equal(images, untouched)
        assert one.dtype == np.uint8
        assert one.shape == images.shape
        assert all((a != b).any((1, 2, 3)).all() for a, b in ((one, images), (other, images), (one, other)))
    again = batches(photo_folder, twice, enable_conditionals=conditionals, layout=layout)
    assert all(
        np.array_equal(a, b) for one, two in zip(found, again, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_a_seed_of_its_own_holds_whatever_the_pipeline_s_is(photo_folder):
    seeded = lambda images, labels: (dtm.AugMix(seed=3)(images),)  # noqa: E731
    one, other = (batches(photo_folder, seeded, seed=seed) for seed in (1, 2))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(one, other, strict=True))
    assert not any(np.array_equal(a[0], a[1]) for a in one)


def test_token_mix_takes_it_as_a_mixer_and_labels_stay(photo_folder):
    def both(images, labels):
        images, targets, plan = dtm.fn.token_mix(
            images, labels, num_classes=4, mixer=dtm.AugMix(), smoothing=0.0, seed=5, return_plan=True
        )
        return images, targets, labels, plan["own"], plan["partner"]

    for clean, mixed, targets, labels, own, partner in batches(photo_folder, both):
        assert (mixed != clean).any((1, 2, 3)).all()
        np.testing.assert_array_equal(targets, np.eye(4, dtype=np.float32)[labels.reshape(-1)])
        assert (own == 1).all()
        np.testing.assert_array_equal(partner.reshape(-1), np.arange(6))


def test_images_of_other_kinds_are_refused_by_name(photo_folder):
    floating = lambda images, labels: (dtm.AugMix()(fn.cast(images, dtype=types.FLOAT)),)  # noqa: E731
    with pytest.raises(RuntimeError, match=r"images must be uint8 for AugMix, .*, got float32"):
        batches(photo_folder, floating)
    gray = lambda images, labels: (dtm.AugMix()(fn.reductions.max(images, axes=[2], keep_dims=True)),)  # noqa: E731
    with pytest.raises(RuntimeError, match="images must have 3 channels for AugMix"):
        batches(photo_folder, gray)
    with pytest.raises(TypeError, match="images must be a DALI node, got ndarray"):
        dtm.AugMix()(np.zeros((2, 8, 8, 3), np.uint8))


def loader(root, **options):
    plain = {"batch_size": 8, "image_size": (40, 56), "device": "cpu", "dtype": "uint8", "layout": "NHWC"}
    return dtm.Loader(root, **plain | {"mixer": dtm.AugMix()} | options)


def epochs(source, count=1):
    return [(images.clone(), targets.clone()) for _ in range(count) for images, targets in source]


def equal(one, two):
    return len(one) == len(two) > 0 and all(
        torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize(
    "options", [{}, {"mixer": None, "augment": dtm.AugMix()}, {"mixer": dtm.TokenMix(8), "augment": dtm.AugMix()}]
)
@pytest.mark.parametrize("stop", [3, 5])
def test_a_resumed_run_equals_the_uninterrupted_one(photo_folder, options, stop):
    whole = epochs(loader(photo_folder, **options), 2)
    source = loader(photo_folder, num_threads=1, **options)
    taken = (batch for _ in range(2) for batch in source)
    for _ in range(stop):
        next(taken)
    resumed = loader(photo_folder, prefetch=3, **options)
    resumed.load_state_dict(source.state_dict())
    assert equal(whole[stop:], epochs(resumed, 2 - resumed.epoch))
    assert not equal(whole, epochs(loader(photo_folder, seed=1, **options), 2))


def test_in_a_loader_labels_stay_and_the_switches_work(photo_folder):
    clean = epochs(loader(photo_folder, mixer=None))
    source = loader(photo_folder)
    for (images, targets), (own, labels) in zip(source, clean, strict=True):
        assert (images != own).flatten(1).any(1).sum() > 6  # a stretch of what is stretched changes nothing
        assert torch.equal(targets, labels)
    switched = loader(photo_folder)
    switched.mixing = False
    assert equal(epochs(switched), clean)
    seldom = loader(photo_folder)
    seldom.prob = 0.0
    assert equal(epochs(seldom), clean)


def test_before_a_mixer_images_are_augmented_and_then_mixed(photo_folder):
    """Every token of a mixed image is one of the two that were only augmented."""
    augment = dtm.AugMix(seed=2)
    mixed = loader(photo_folder, mixer=dtm.TokenMix(8), augment=augment)
    for (images, _), (own, _) in zip(mixed, loader(photo_folder, mixer=None, augment=augment), strict=True):
        token = lambda batch: batch.unfold(1, 8, 8).unfold(2, 8, 8).flatten(3)  # noqa: E731
        from_own, from_other = ((token(images) == token(side)).all(-1) for side in (own, own.flip(0)))
        assert (from_own | from_other).all()
