"""Sequence: a mixer, then cutters; the mixer's labels, in one plan."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.mixing import Batch, generator
from tests.helpers import provenance

SIZE = (64, 96)
MIXERS = {
    "tokens": dtm.TokenMix(16),
    "box": dtm.CutMix(minmax=(0.3, 0.7), partner="random", mode="elem"),
    "blend": dtm.MixUp(1.0, prob=0.5),
    "choice": dtm.Choice([dtm.MixUp(), dtm.TokenMix(8), dtm.CutMix()], mode="pair"),
    "four": dtm.RICAP(),
}
CUTS = [dtm.Cutout(20, fill="noise"), dtm.HideAndSeek(sizes=(0, 8, 12), prob=0.7)]
mixers = pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)


@mixers
@pytest.mark.parametrize("n", [1, 2, 7])
def test_what_is_drawn_is_what_each_draws_and_labels_are_the_mixer_s(mixer, n):
    plan = dtm.draw(dtm.Sequence([mixer, *CUTS]), n, SIZE, seed=4)
    rng, batch = generator(4), Batch(n, SIZE, n)
    first, *cuts = (one.draw(rng, batch) for one in (mixer, *CUTS))
    for name in ("partner", "own", "other", "further", "further_weights"):
        np.testing.assert_array_equal(getattr(plan, name), getattr(first, name))
    regions = [region for each in (first, *cuts) for region in each.regions]
    assert [region.pack().tobytes() for region in plan.regions] == [region.pack().tobytes() for region in regions]
    labels = np.arange(n)
    np.testing.assert_array_equal(dtm.soft_targets(plan, labels, 9), dtm.soft_targets(first, labels, 9))


@mixers
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_are_mixed_then_cut(mixer, dtype, device):
    for seed in range(4):
        plan = dtm.draw(dtm.Sequence([mixer, *CUTS]), 6, SIZE, seed=seed)
        images = provenance(6, *SIZE, dtype=dtype)
        mixed = dtm.apply(plan, images.copy())
        np.testing.assert_array_equal(mixed, reference.mixed(plan, images))
        alone = dtm.apply(dtm.draw(mixer, 6, SIZE, seed=seed), images.copy())
        cut = plan.sources() < 0
        assert 0 < cut.mean() < 1
        np.testing.assert_array_equal(mixed[~cut], alone[~cut])


def test_provenance_of_what_is_left():
    """Of the pixels that are not cut, as many as the plan's sources say are each sample's."""
    plan = dtm.draw(dtm.Sequence([dtm.TokenMix(16), dtm.Cutout(30)]), 8, SIZE, seed=1)
    shown = dtm.apply(plan, provenance(8, *SIZE))[..., 0]
    sources = plan.sources()
    for i in range(8):
        for sample in range(8):
            assert ((shown[i] == sample) & (sources[i] >= 0)).sum() == (sources[i] == sample).sum()
        uncut = dtm.draw(dtm.TokenMix(16), 8, SIZE, seed=1).sources()[i]
        assert (uncut == i).mean() == plan.own[i]
        assert (uncut == plan.partner[i]).mean() == plan.other[i]


def test_a_choice_may_hold_sequences_and_a_sequence_a_choice_of_cuts():
    inner = dtm.Sequence([dtm.CutMix(), dtm.Choice([dtm.Cutout(9), dtm.RandomErasing()], mode="pair")])
    mixer = dtm.Choice([inner, dtm.MixUp(), dtm.Cutout(5)], mode="pair")
    for seed in range(6):
        plan = dtm.draw(mixer, 9, SIZE, seed=seed)
        images = provenance(9, *SIZE)
        np.testing.assert_array_equal(dtm.apply(plan, images.copy()), reference.mixed(plan, images))
        np.testing.assert_allclose(plan.own + plan.other, 1)
    assert dtm.Sequence([dtm.Cutout(5), dtm.HideAndSeek()]).partner == "flip"
    assert dtm.Sequence([dtm.MixUp(partner="random"), dtm.Cutout(5)]).partner == "random"


def test_scores_and_token_labels_are_the_mixer_s():
    mixer = dtm.TokenMix(16, mode="elem")
    both = [dtm.draw(one, 6, SIZE, seed=3) for one in (mixer, dtm.Sequence([mixer, *CUTS]))]
    rng = np.random.default_rng(0)
    maps, ids, scores = rng.random((6, 4, 6)), rng.integers(0, 9, (6, 5, 4, 6)), rng.random((6, 5, 4, 6))
    one, other = (dtm.scored(plan, maps) for plan in both)
    np.testing.assert_array_equal(one.own, other.own)
    np.testing.assert_array_equal(one.other, other.other)
    one, other = (dtm.token_labels(plan, ids, scores, num_classes=9) for plan in both)
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def test_content_is_placed_first_and_then_cut():
    plan = dtm.draw(
        dtm.Sequence([dtm.SaliencyMix(), dtm.Cutout(20, fill="noise")]),
        6,
        SIZE,
        seed=2,
        maps=np.random.default_rng(1).random((6, 8, 12)).astype(np.float32),
    )
    images = provenance(6, *SIZE)
    np.testing.assert_array_equal(dtm.apply(plan, images.copy()), reference.mixed(plan, images))
    assert (plan.other > 0).any()
    assert (plan.sources() < 0).any(axis=(1, 2)).all()


def test_a_loader_resumes_with_a_sequence(photo_folder):
    def loader(mixer=None, **options):
        return dtm.Loader(photo_folder, batch_size=8, image_size=(40, 56), mixer=mixer, device="cpu", **options)

    def batches(source):
        return [(images.clone(), targets.clone()) for images, targets in source]

    mixer = dtm.Sequence([dtm.TokenMix(8), dtm.RandomErasing(prob=1.0)])
    whole = batches(loader(mixer))
    for (images, targets), (bare, same) in zip(whole, batches(loader(dtm.TokenMix(8))), strict=True):
        assert torch.equal(targets, same)
        assert 0.01 < (images != bare).any(dim=1).float().mean() < 0.4
    source = loader(mixer, num_threads=1)
    iterator = iter(source)
    next(iterator), next(iterator)
    resumed = loader(mixer, prefetch=3)
    resumed.load_state_dict(json.loads(json.dumps(source.state_dict())))
    for one, other in zip(whole[2:], batches(resumed), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([], ValueError, "mixers must hold at least one mixer, got none"),
        (dtm.CutMix(), TypeError, r"mixers must be a list, got CutMix\("),
        (["mixup"], TypeError, r"mixers\[0\] must be a mixer .* got 'mixup'"),
        ([dtm.MixUp(), dtm.Cutout], TypeError, r"mixers\[1\] must be a mixer .* got <class"),
        ([dtm.Cutout(3), dtm.MixUp()], ValueError, r"mixers\[1\] must only cut, such as Cutout .* got MixUp\("),
        (
            [dtm.MixUp(), dtm.Choice([dtm.Cutout(3), dtm.CutMix()])],
            ValueError,
            r"mixers\[1\] must only cut, .* got Choice\(",
        ),
    ],
    ids=["none", "no list", "a word", "a class", "mixes", "a choice that mixes"],
)
def test_mistakes_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        dtm.Sequence(given)
