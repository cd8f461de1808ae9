"""The demo's second picture: every method is on it, and what it shows is what the method made."""

from __future__ import annotations

import numpy as np
import pytest

from dali_tokenmix.commands.demo_drawing import PAPER, rgb
from dali_tokenmix.commands.demo_gallery import CELLS, COLOURS, ERASED, MAP, TILE, gallery, map_tile, tile_box
from dali_tokenmix.commands.demo_methods import Shown, methods, photographs
from dali_tokenmix.mixers import __all__ as mixers

COMPOSED = {"Choice", "Sequence"}
OF_TORCH = {"MixToken", "PuzzleMix", "CoMixup"}
CUT = ("CutMix", "TokenMix", "AttentiveCutMix", "SaliencyMix", "MixToken", "CoMixup")  # pixels keep their places


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 70, 84, 3), np.uint8)


@pytest.fixture(scope="module")
def shown(images):
    return {method.name: method for method in methods(images, np.random.default_rng(1).random((4, 7, 7), np.float32))}


def test_every_method_is_there(shown):
    assert set(shown) == set(mixers) - COMPOSED | OF_TORCH


def test_targets_are_the_shares_of_the_pixels(shown):
    for method in shown.values():
        area = method.shares.mean((2, 3))
        lost = 1 - area.sum(1)  # erased: labels are left alone
        np.testing.assert_allclose(method.targets, area + np.diag(lost), atol=1e-5, err_msg=method.name)
        np.testing.assert_allclose(method.targets.sum(1), 1, atol=1e-5)


def cells(side, count):
    """(side,) the cell of each pixel: edges are at k * side // count."""
    return np.searchsorted(np.arange(1, count + 1) * side // count, np.arange(side), side="right")


@pytest.mark.parametrize("name", CUT)
def test_pixels_are_those_of_whom_the_map_names(shown, images, name):
    method = shown[name]
    rows, columns = method.shares.shape[2:]
    y, x = cells(70, rows)[:, None], cells(84, columns)
    source = method.shares.argmax(1)[:, y, x]
    assert np.array_equal(method.images, np.take_along_axis(images, source[..., None], axis=0))
    assert (source != np.arange(4)[:, None, None]).any()


def test_photographs_are_of_as_many_classes_as_there_are():
    assert photographs(np.array([2, 2, 0, 2, 0, 1, 3, 4])).tolist() == [0, 2, 5, 6]
    assert photographs(np.array([1, 1, 1, 0, 1])).tolist() == [0, 1, 2, 3]
    assert photographs(np.array([1, 0])).tolist() == [0, 1]


def test_the_colours_of_a_map():
    shares = np.zeros((2, 1, 4), np.float32)
    shares[0] = [1, 0, 0.5, 0]
    shares[1] = [0, 1, 0.5, 0]
    one, two = rgb(COLOURS[0]), rgb(COLOURS[1])
    found = map_tile(shares)[0].astype(int)
    assert found[[0, 1, 3]].tolist() == [one.tolist(), two.tolist(), rgb(ERASED).tolist()]
    assert np.abs(2 * found[2] - one - two).max() <= 1


def test_cells_do_not_touch_and_a_small_batch_leaves_its_room(images):
    area = np.ones((2, 1, 1), np.float32)
    one = Shown("a method", "its paper", images[:2], np.stack([area, area]) / 2, np.full((2, 2), 0.5, np.float32))
    picture = np.asarray(gallery(images[:2], ["a name that is far too long for a tile", "b"], [one] * CELLS, "x"))
    for cell in range(CELLS + 1):
        x0, y0, x1, y1 = tile_box(cell, 1)
        assert (x1 - x0, y1 - y0) == (TILE, TILE)
        assert (picture[y0:y1, x1 : x1 + TILE] == rgb(PAPER)).all()
        if cell:
            assert (picture[y1 + 6 : y1 + 6 + MAP, x0 : x0 + MAP] == map_tile(one.shares[1])[0, 0]).all()
