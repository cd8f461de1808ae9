"""What changes on the way: image size, probability of mixing, mixing; schedules; repeated augmentation; set_epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dali_tokenmix as dtm
from tests.photos import write_folder
from tests.slow_teacher import Slow

MIXER = dtm.TokenMix(patch_size=8)


def loader(root, **options):
    return dtm.Loader(root, **{"batch_size": 8, "image_size": 48, "mixer": MIXER, "device": "cpu", **options})


def taken(source, batches=None):
    """[(images, targets), ...] of so many batches, or of the rest of the epoch."""
    found = []
    for images, targets in source:
        found.append((images.clone(), targets.clone()))
        if len(found) == batches:
            break
    return found


def assert_equal(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


@pytest.fixture(scope="module")
def store(photo_folder, tmp_path_factory):
    """Maps and top-k labels of all photographs, by a linear head on colours."""
    out = tmp_path_factory.mktemp("labels") / "store.safetensors"
    return dtm.make_labels(photo_folder, Slow(0), out, topk=2)


SUPERVISIONS = ("imagenet", "tokenmix", "relabel")


@pytest.mark.parametrize("supervision", SUPERVISIONS)
@pytest.mark.parametrize("size", [64, (40, 72)])
def test_a_new_image_size_holds_from_the_next_batch_on(photo_folder, store, supervision, size):
    """And changes nothing else: the batches are those of a loader that had this size from the start."""
    options = {"supervision": supervision, "label_maps": None if supervision == "imagenet" else store}
    source = loader(photo_folder, **options)
    small, large = taken(loader(photo_folder, **options)), taken(loader(photo_folder, image_size=size, **options))
    found = []
    for number, (images, targets) in enumerate(source):
        found.append((images.clone(), targets.clone()))
        if number == 1:
            source.set_image_size(size)
    assert source.image_size == (size if isinstance(size, tuple) else (size, size))
    assert_equal(found, small[:2] + large[2:])


def test_token_labels_follow_the_image_size(photo_folder, store):
    source = loader(photo_folder, supervision="tokenlabeling", label_maps=store)
    first = next(iter(source))[1]
    source.set_image_size(64)
    second = next(iter(source))[1]
    assert first.token_ids.shape[1] == 36
    assert second.token_ids.shape[1] == 64


def test_evaluation_changes_its_size_too(photo_folder):
    source = loader(photo_folder, train=False, mixer=None)
    iterator = iter(source)
    next(iterator)
    source.set_image_size(64)
    again = next(iterator)
    expected = taken(loader(photo_folder, train=False, mixer=None, image_size=64))[1]
    assert_equal([again], [expected])


@pytest.mark.parametrize(
    "mixer", [MIXER, dtm.CutMix(), dtm.Choice([dtm.MixUp(), dtm.Choice([MIXER, dtm.CutMix()])], mode="pair")]
)
def test_prob_is_the_mixers_from_the_next_batch_on(photo_folder, mixer):
    def with_prob(one, prob):
        if isinstance(one, dtm.Choice):
            return dtm.Choice([with_prob(k, prob) for k in one.mixers], one.weights, mode=one.mode)
        return type(one)(**{**vars(one), "prob": prob})

    source = loader(photo_folder, mixer=mixer)
    always = taken(loader(photo_folder, mixer=mixer))
    seldom = taken(loader(photo_folder, mixer=with_prob(mixer, 0.3)))
    found = []
    for number, (images, targets) in enumerate(source):
        found.append((images.clone(), targets.clone()))
        source.prob = {0: 0.3, 3: None}.get(number, source.prob)
    assert source.prob is None
    assert_equal(found, always[:1] + seldom[1:4] + always[4:])


def test_prob_zero_is_no_mixing(photo_folder):
    one, other = loader(photo_folder), loader(photo_folder)
    one.prob, other.mixing = 0, False
    assert_equal(taken(one), taken(other))


def plan_of_epochs(epoch):
    return {
        0: {"image_size": 32, "prob": 0.5},
        1: {},
        2: {"image_size": (40, 56)},
        3: {"mixing": False},
    }.get(epoch, {})


def by_hand(root, epochs):
    """The same schedule, written out in the training loop."""
    source, found = loader(root), []
    for epoch in epochs:
        wanted = plan_of_epochs(epoch)
        source.set_image_size(wanted.get("image_size", 48))
        source.prob, source.mixing = wanted.get("prob"), wanted.get("mixing", True)
        found.append(taken(source))
    return found


def test_a_schedule_does_what_one_would_do_by_hand(photo_folder):
    source = loader(photo_folder, schedule=plan_of_epochs)
    found = [taken(source) for _ in range(5)]
    for one, other in zip(found, by_hand(photo_folder, range(5)), strict=True):
        assert_equal(one, other)
    assert [epoch[0][0].shape[2:] for epoch in found] == [(32, 32), (48, 48), (40, 56), (48, 48), (48, 48)]
    assert found[3][0][1].max() > 0.9  # the last epochs are not mixed: labels are one-hot, smoothed
    assert found[1][0][1].max() < 0.9 or len(set(found[1][0][1].argmax(1).tolist())) < 4


@pytest.mark.parametrize("stop", [2, 5, 7, 11])
def test_a_scheduled_run_resumes(photo_folder, stop):
    source = loader(photo_folder, schedule=plan_of_epochs)
    whole = [batch for _ in range(4) for batch in taken(source)]
    first, found = loader(photo_folder, schedule=plan_of_epochs), []
    while len(found) < stop:
        found += taken(first, min(stop - len(found), 5))
    other = loader(photo_folder, schedule=plan_of_epochs)
    other.load_state_dict(first.state_dict())
    assert other.image_size == first.image_size
    while len(found) < len(whole):
        found += taken(other)
    assert_equal(found, whole)


def test_what_was_set_by_hand_is_part_of_the_state(photo_folder):
    one = loader(photo_folder)
    next(iter(one))
    one.set_image_size((32, 40))
    one.prob = 0.25
    other = loader(photo_folder)
    other.load_state_dict(one.state_dict())
    assert (other.image_size, other.prob, other.mixing) == ((32, 40), 0.25, True)


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        (3, TypeError, "schedule must be a function of the epoch's number, got 3"),
        (
            lambda epoch: {"size": 3},
            ValueError,
            r"schedule must return a dict of some of image_size, prob, mixing, got",
        ),
        (lambda epoch: None, ValueError, r"schedule must return a dict .* got None for epoch 0"),
        (lambda epoch: {"prob": 2}, ValueError, "prob must be >= 0 and <= 1, got 2"),
        (lambda epoch: {"image_size": 0}, ValueError, "image_size must be in 1"),
        (lambda epoch: {"mixing": 3}, ValueError, "mixing must be one of True, False, got 3"),
    ],
)
def test_a_wrong_schedule_is_refused(photo_folder, schedule, error, message):
    with pytest.raises(error, match=message):
        loader(photo_folder, schedule=schedule)


def test_wrong_changes_are_refused_and_change_nothing(photo_folder):
    source = loader(photo_folder)
    for name, value, error in (("prob", 1.5, ValueError), ("prob", "often", TypeError), ("mixing", "no", ValueError)):
        with pytest.raises(error, match=name):
            setattr(source, name, value)
    for size in (0, (3, 4, 5), "large"):
        with pytest.raises((ValueError, TypeError), match="image_size must be"):
            source.set_image_size(size)
    assert_equal(taken(source), taken(loader(photo_folder)))
    with pytest.raises(ValueError, match=r"prob is how often the mixer mixes, and there is no mixer: pass mixer="):
        loader(photo_folder, mixer=None).prob = 0.5


@pytest.mark.parametrize("repeats", [2, 4, 8])
def test_every_image_is_repeated_in_its_batch_with_crops_of_its_own(photo_folder, repeats):
    source = loader(photo_folder, repeats=repeats, mixer=None)
    assert len(source) == 5
    seen = []
    for images, _ in source:
        unique, counts = np.unique(source.indices, return_counts=True)
        assert counts.tolist() == [repeats] * (8 // repeats) == [repeats] * len(unique)
        for index in unique:
            same = images[torch.from_numpy(source.indices == index)]
            assert not any(torch.equal(same[0], other) for other in same[1:])
        assert repeats == 8 or (source.indices != source.indices[::-1]).all()  # flipped partners are others
        seen += unique.tolist()
    assert len(set(seen)) == len(seen) == 40 // repeats
    taken(source)
    assert source.epoch == 2


def test_repeats_show_all_images_in_the_end_and_resume(photo_folder):
    source, seen = loader(photo_folder, repeats=2), set()
    for _ in range(12):
        for _ in source:
            seen |= set(source.indices.tolist())
    assert len(seen) == 40
    one, other = loader(photo_folder, repeats=2), loader(photo_folder, repeats=2)
    taken(one, 3)
    other.load_state_dict(one.state_dict())
    assert_equal(taken(other), taken(loader(photo_folder, repeats=2))[3:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 3}, "batch_size must divide by repeats, got 8 and repeats=3"),
        ({"repeats": 0}, r"repeats must be in 1\.\."),
        ({"repeats": 2, "last_batch": "partial"}, "repeats is for training with last_batch='drop', got repeats=2"),
        ({"repeats": 2, "train": False, "mixer": None}, "repeats is for training"),
    ],
)
def test_repeats_that_cannot_be_are_refused(photo_folder, options, message):
    with pytest.raises(ValueError, match=message):
        loader(photo_folder, **options)


def test_set_epoch_before_every_loop_changes_nothing(photo_folder):
    plain, told = loader(photo_folder), loader(photo_folder)
    for epoch in range(3):
        told.set_epoch(epoch)
        assert_equal(taken(told), taken(plain))


def test_set_epoch_jumps_repeatably_and_starts_an_epoch_again(photo_folder):
    one, other = loader(photo_folder), loader(photo_folder)
    one.set_epoch(7)
    assert (one.epoch, one.batch) == (7, 0)
    jumped = taken(one)
    assert one.epoch == 8
    taken(other, 2)
    other.set_epoch(7)
    assert_equal(taken(other), jumped)
    taken(other, 2)
    assert other.epoch == 8
    other.set_epoch(8)  # left early: from its first batch
    assert other.batch == 0
    assert len(taken(other)) == 5


def test_set_epoch_leaves_a_resumed_epoch_where_it_is(photo_folder):
    whole = taken(loader(photo_folder))
    one, other = loader(photo_folder), loader(photo_folder)
    taken(one, 3)
    other.load_state_dict(one.state_dict())
    other.set_epoch(0)
    assert_equal(taken(other), whole[3:])
    with pytest.raises(ValueError, match="epoch must be in 0"):
        other.set_epoch(-1)


def test_set_epoch_asks_the_schedule(photo_folder):
    source = loader(photo_folder, schedule=plan_of_epochs)
    source.set_epoch(2)
    assert source.image_size == (40, 56)


def test_shards_are_torchruns_where_nothing_else_is_said(photo_folder, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    second = loader(photo_folder)
    assert len(second) == 2
    assert_equal(taken(second), taken(loader(photo_folder, shard_id=1, num_shards=2)))
    assert len(loader(photo_folder, shard_id=0, num_shards=1)) == 5
    assert len(loader(photo_folder, num_shards=4, batch_size=4)) == 2
    with pytest.raises(ValueError, match=r"shard_id must be in 0\.\.0, got 1"):
        loader(photo_folder, shard_id=1)


def test_odd_folders_too(tmp_path):
    root = write_folder(tmp_path / "odd", {"chelsea": 2, "coffee": 5, "rocket": 6})
    source = loader(root, last_batch="partial", batch_size=4, schedule=plan_of_epochs)
    for epoch in range(4):
        sizes = [len(images) for images, _ in source]
        assert sizes == [4, 4, 4, 1], epoch


def test_a_schedule_need_not_know_what_comes_after_the_last_epoch(photo_folder):
    """It is asked when an epoch begins: a table of just the epochs of a training does."""
    sizes = [32, 40]

    def table(epoch):
        return {"image_size": sizes[epoch]}

    source = loader(photo_folder, schedule=table)
    first = taken(source)
    middle = source.state_dict()
    second = taken(source)
    assert [len(first), len(second)] == [5, 5]
    assert source.state_dict()["epoch"] == 2
    other = loader(photo_folder, schedule=table)
    other.load_state_dict(middle)
    assert other.image_size == (40, 40)
    assert_equal(taken(other), second)
    other.load_state_dict(source.state_dict())
    for end in (source, other):
        for _ in range(2):  # nothing has happened: the same again
            with pytest.raises(IndexError):
                taken(end)
            assert (end.epoch, end.batch) == (2, 0)


def test_the_state_after_an_error_has_the_next_epochs_schedule(photo_folder):
    fail = {"at": 3}

    def teacher(images, labels):
        fail["at"] -= 1
        if fail["at"] == 0:
            raise ArithmeticError("once")
        return images.float().mean((1, 2, 3))[:, None, None]

    options = {"supervision": "tokenmix", "teacher": teacher, "schedule": plan_of_epochs, "prefetch": 1}
    source = loader(photo_folder, **options)
    with pytest.raises(RuntimeError, match="once"):
        taken(source)
    other = loader(photo_folder, **options)
    other.load_state_dict(source.state_dict())
    assert (other.epoch, other.image_size, other.prob) == (1, (48, 48), None)
    assert_equal(taken(other), taken(source))
