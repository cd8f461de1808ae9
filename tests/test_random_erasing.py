"""RandomErasing: areas, aspects and places, against the rule written out, torchvision and timm."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from scipy import stats
from timm.data.random_erasing import RandomErasing as OfTimm
from torchvision.transforms import RandomErasing as OfTorchvision

import dali_tokenmix as dtm

UNLIKELY = 1e-3  # what a p-value may fall to; the seeds are fixed
SIZE = (60, 90)
MEASURES = {
    "height": lambda b: b[:, 2] - b[:, 0],
    "width": lambda b: b[:, 3] - b[:, 1],
    "area": lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]),
    "aspect": lambda b: (b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1]),
    "top": lambda b: b[:, 0],
    "left": lambda b: b[:, 1],
    "bottom": lambda b: b[:, 2],
    "right": lambda b: b[:, 3],
}


def drawn(count, size=SIZE, seed=0, **options):
    """(count, 4) int64 boxes, empty where no try fitted."""
    return (
        dtm.draw(dtm.RandomErasing(**{"prob": 1.0} | options), count, size, seed=seed)
        .regions[0]
        .boxes[:, 0]
        .astype(int)
    )


def by_rule(rng, count, size, area, aspect, tries, logarithmic):
    """The rule, one box and one try at a time."""
    height, width = size
    found = []
    for _ in range(count):
        box = [0, 0, 0, 0]
        for _ in range(tries):
            pixels = rng.uniform(*area) * height * width
            least, most = map(math.log, aspect)
            ratio = math.exp(rng.uniform(least, most)) if logarithmic else rng.uniform(*aspect)
            h, w = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
            if h < height and w < width:
                y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
                box = [y, x, y + h, x + w]
                break
        found.append(box)
    return np.array(found)


def check_alike(one, other):
    """Two sets of boxes are empty as often, and of the others all measures are distributed alike."""
    empty = [(boxes[:, 2] == boxes[:, 0]).sum() for boxes in (one, other)]
    if sum(empty):
        table = [[e, len(b) - e] for e, b in zip(empty, (one, other), strict=True)]
        assert stats.fisher_exact(table).pvalue > UNLIKELY
    one, other = (boxes[boxes[:, 2] > boxes[:, 0]] for boxes in (one, other))
    for name, measure in MEASURES.items():
        assert stats.ks_2samp(measure(one), measure(other)).pvalue > UNLIKELY, name


@pytest.mark.parametrize("size", [(60, 90), (90, 60), (40, 200)])
@pytest.mark.parametrize("dialect", ["torchvision", "original"])
def test_boxes_are_those_of_the_rule(dialect, size):
    rule = {
        "torchvision": ((0.02, 0.33), (0.3, 3.3), 10, True),
        "original": ((0.02, 0.4), (0.3, 1 / 0.3), 100, False),
    }[dialect]
    check_alike(drawn(4000, size, dialect=dialect), by_rule(np.random.default_rng(5), 4000, size, *rule))


@pytest.mark.parametrize("tries", [1, 2])
def test_few_tries_leave_some_as_they_are(tries):
    """On a narrow image most rectangles are too wide."""
    size, rule = (200, 30), ((0.2, 0.4), (0.3, 3.3))
    ours = drawn(3000, size, area=rule[0], aspect=rule[1], tries=tries)
    assert 0.1 < (ours[:, 2] == ours[:, 0]).mean() < 0.9
    check_alike(ours, by_rule(np.random.default_rng(1), 3000, size, *rule, tries, True))


def test_boxes_are_torchvision_s():
    torch.manual_seed(3)
    theirs = []
    for _ in range(4000):
        y, x, h, w, _ = OfTorchvision.get_params(
            torch.zeros(1, *SIZE), scale=(0.02, 0.33), ratio=(0.3, 3.3), value=[0.0]
        )
        theirs.append([y, x, y + h, x + w])
    check_alike(drawn(4000), np.array(theirs))


def test_boxes_are_timm_s():
    """With its areas and aspects. What it erases is read off an image of ones."""
    random.seed(7)  # timm draws from Python's own generator
    erasing = OfTimm(probability=1.0, mode="const", device="cpu")
    theirs = []
    for _ in range(4000):
        erased = erasing(torch.ones(1, *SIZE))[0].numpy() == 0
        y, x = np.flatnonzero(erased.any(1)), np.flatnonzero(erased.any(0))
        theirs.append([y[0], x[0], y[-1] + 1, x[-1] + 1])
    check_alike(drawn(4000, area=(0.02, 1 / 3), aspect=(0.3, 1 / 0.3)), np.array(theirs))


def test_areas_and_aspects_lie_where_the_arguments_say():
    boxes = drawn(3000, (300, 400), area=(0.1, 0.2), aspect=(0.5, 1.5))
    areas, aspects = MEASURES["area"](boxes) / (300 * 400), MEASURES["aspect"](boxes)
    assert 0.099 < areas.min() < 0.101
    assert 0.199 < areas.max() < 0.201
    assert 0.49 < aspects.min() < 0.51
    assert 1.48 < aspects.max() < 1.52
    np.testing.assert_array_equal(MEASURES["area"](drawn(9, (10, 10), area=(0.25, 0.25), aspect=(1, 1))), 25)


def test_the_dialect_gives_what_is_left_out():
    spelt = {"area": (0.02, 0.33), "aspect": (0.3, 3.3), "tries": 10, "prob": 0.5, "fill": "noise", "mode": "elem"}
    assert dtm.RandomErasing() == dtm.RandomErasing(**spelt)
    original = dtm.RandomErasing(dialect="original", area=(0.1, 0.2))
    assert (original.area, original.aspect, original.tries) == ((0.1, 0.2), (0.3, 1 / 0.3), 100)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dialect": "timm"}, ValueError, "dialect must be one of 'torchvision', 'original', got 'timm'"),
        ({"area": 0.3}, ValueError, r"area must be two numbers \(least, most\), got 0.3"),
        ({"area": (0.3, 0.2)}, ValueError, r"area\[1\] must be >= 0.3 and <= 1, got 0.2"),
        ({"area": (-0.1, 0.2)}, ValueError, r"area\[0\] must be >= 0 and <= 1, got -0.1"),
        ({"area": (0.1, 1.2)}, ValueError, r"area\[1\] must be .* got 1.2"),
        ({"aspect": (0, 2)}, ValueError, r"aspect\[0\] must be > 0, got 0"),
        ({"aspect": (2, 1)}, ValueError, r"aspect\[1\] must be .*>= 2, got 1"),
        ({"aspect": (1, "2")}, TypeError, r"aspect\[1\] must be a number, got '2'"),
        ({"tries": 0}, ValueError, "tries must be in 1.*, got 0"),
        ({"tries": 2.0}, TypeError, "tries must be a whole number, got 2.0"),
    ],
    ids=str,
)
def test_mistakes_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dtm.RandomErasing(**arguments)
