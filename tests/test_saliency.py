"""Saliency maps: the kernel that shrinks images, and spectral residuals, against slow definitions; what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.runtime.arrays import view
from dali_tokenmix.runtime.luminance import luminance
from dali_tokenmix.saliency import FLOOR, spectral_residual
from tests.helpers import ARRANGEMENTS, LIBRARIES, on_device, spread, to_numpy

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


def photos(height, width):
    """(4, height, width, 3) uint8: the corner of each photograph, every second pixel."""
    return np.stack([getattr(data, name)()[: 2 * height : 2, : 2 * width : 2] for name in PHOTOS])


def residual_by_hand(plane, sigma):
    """Hou and Zhang's method on one plane, with the whole spectrum and SciPy's filters."""
    spectrum = np.fft.fft2(plane.astype(np.float64))
    log = np.log(np.abs(spectrum) + FLOOR * np.abs(spectrum).max())
    residual = log - ndimage.uniform_filter(log, 3, mode="wrap")
    phase = np.angle(spectrum)
    # an amplitude below the floor is known no better than that: it keeps its share of it
    amplitude = np.exp(residual) * np.abs(spectrum) / np.exp(log)
    squared = np.abs(np.fft.ifft2(amplitude * np.exp(1j * phase))) ** 2
    smooth = ndimage.gaussian_filter(squared, sigma, mode="constant", radius=max(plane.shape))
    return smooth / smooth.max()


# --- luminance -------------------------------------------------------------------------------------------------------


def images_of_noise(rng, shape, dtype):
    values = rng.integers(0, 256, shape) if dtype == "uint8" else rng.normal(0, 2, shape)
    return values.astype(dtype)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_luminance_is_its_definition(dtype, arrangement, device):
    rng = np.random.default_rng(1)
    for shape, grid in (((3, 13, 10, 3), (4, 3)), ((1, 5, 9, 1), (5, 9)), ((2, 8, 7, 4), (1, 7))):
        images = images_of_noise(rng, shape, dtype)
        there = on_device(spread(images, arrangement), "native", device)
        out = on_device(np.full((shape[0], *grid), -1, np.float32), "native", device)
        luminance(view("images", arrangement.cut(there)), view("planes", out), arrangement.layout)
        np.testing.assert_array_equal(to_numpy(out), reference.luminance(images, grid))


def test_luminance_of_large_cells_does_not_overflow():
    images, out = np.full((1, 1000, 3000, 3), 255, np.uint8), np.empty((1, 1, 1), np.float32)
    luminance(view("images", images), view("planes", out))
    assert out[0, 0, 0] == 255


def test_luminance_takes_what_is_read_only_and_as_many_cells_as_pixels():
    images = np.zeros((2, 4, 6, 3), np.uint8)
    images.setflags(write=False)
    luminance(view("images", images), view("planes", np.empty((2, 4, 6), np.float32)), "NHWC")
    with pytest.raises(ValueError, match=r"planes must be \(2, h, w\), at most 4 x 6, got \(2, 5, 6\)"):
        luminance(view("images", images), view("planes", np.empty((2, 5, 6), np.float32)), "NHWC")


# --- spectral residuals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("shape", [(64, 64), (64, 43), (31, 64), (7, 5), (4, 2), (2, 4), (1, 9), (9, 1)])
def test_spectral_residual_is_its_definition(shape, library):
    """On photographs, as far as they go: float32 to 1e-4. Rows are rows."""
    planes = photos(128, 128)[:, : shape[0], : shape[1]].mean(-1).astype(np.float32)
    given = planes if library == "numpy" else on_device(planes, "torch", "cpu")
    found = to_numpy(spectral_residual(given, 2.5))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [residual_by_hand(plane, 2.5) for plane in planes], atol=1e-4)


def test_libraries_agree(device):
    """NumPy on the CPU, torch, and CuPy on a GPU."""
    images = photos(100, 150)
    expected = dtm.Saliency()(images)
    for library in LIBRARIES:
        maps = dtm.Saliency()(on_device(images, library, device))
        assert type(maps) is type(on_device(images, library, device))
        np.testing.assert_allclose(to_numpy(maps), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "cells"),
    [((224, 224), (64, 64)), ((384, 288), (64, 48)), ((30, 250), (8, 64)), ((500, 2), (64, 1)), ((40, 64), (40, 64))],
)
def test_maps_have_64_cells_along_the_longer_side(size, cells):
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    maps = dtm.Saliency()(images)
    assert maps.shape == (2, *cells)
    planes = reference.luminance(images, cells)
    np.testing.assert_allclose(maps, [residual_by_hand(plane, 2.5) for plane in planes], atol=1e-4)


def test_what_stands_out_is_salient():
    """One bright square on a wall of equal stripes; another for each sample."""
    stripes = np.broadcast_to(np.arange(160), (96, 160))
    images = np.repeat((((stripes // 4) % 2 * 60 + 80)[..., None] * np.ones(3)).astype(np.uint8)[None], 3, axis=0)
    places = [(20, 30), (70, 140), (50, 80)]
    for image, (row, column) in zip(images, places, strict=True):
        image[row - 4 : row + 4, column - 4 : column + 4] = 250
    maps = dtm.Saliency()(images)
    for one, (row, column) in zip(maps, places, strict=True):
        peak_y, peak_x = np.unravel_index(one.argmax(), one.shape)
        assert abs((peak_y + 0.5) * 96 / one.shape[0] - row) < 8
        assert abs((peak_x + 0.5) * 160 / one.shape[1] - column) < 8


def test_sigma_and_side_change_maps_and_scale_does_not():
    images = photos(128, 128)
    usual = dtm.Saliency()(images)
    assert dtm.Saliency(side=32)(images).shape == (4, 32, 32)
    assert np.abs(dtm.Saliency(sigma=1.0)(images) - usual).max() > 0.1
    normalised = ((images / 255 - 0.45) / 0.22).transpose(0, 3, 1, 2).astype(np.float32)
    # the mean is another, and with it the amplitude at 0 and around it
    assert np.corrcoef(dtm.Saliency()(normalised).ravel(), usual.ravel())[0, 1] > 0.95
    np.testing.assert_allclose(dtm.Saliency()(normalised * 1000), dtm.Saliency()(normalised), atol=1e-4)


@pytest.mark.parametrize("value", [0, 90])
def test_images_that_show_nothing_have_finite_maps(value):
    maps = dtm.Saliency()(np.full((2, 48, 80, 3), value, np.uint8))
    assert np.isfinite(maps).all()
    assert (maps >= 0).all()
    assert maps.max() == (value > 0)


def test_samples_do_not_look_at_each_other():
    images = photos(100, 120)
    together = dtm.Saliency()(images)
    for k in range(4):
        np.testing.assert_allclose(dtm.Saliency()(images[k : k + 1])[0], together[k], atol=1e-6)


# --- OpenCV's fine-grained -------------------------------------------------------------------------------------------


def test_fine_grained_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="pip install opencv-contrib-python-headless, or take method='spectral'"):
        dtm.Saliency(method="fine_grained")(photos(20, 20))


class _Detector:
    """Stands in for OpenCV's: the blue channel."""

    def computeSaliency(self, image):
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        return True, image[:, :, 0].astype(np.float32)


@pytest.mark.parametrize("library", LIBRARIES)
def test_fine_grained_maps_are_opencv_s_of_each_image(monkeypatch, library):
    module = type(sys)("cv2")
    module.saliency = type("saliency", (), {"StaticSaliencyFineGrained_create": _Detector})
    monkeypatch.setitem(sys.modules, "cv2", module)
    images = photos(20, 30)
    images[3, :, :, 2] = 0
    maps = to_numpy(dtm.Saliency(method="fine_grained")(on_device(images, library, "cpu")))
    blue = images[..., 2].astype(np.float32)
    np.testing.assert_array_equal(maps, blue / np.maximum(blue.max((1, 2), keepdims=True), 1))
    planar = (images / 255).transpose(0, 3, 1, 2).astype(np.float32)
    assert dtm.Saliency(method="fine_grained")(planar).shape == (4, 20, 30)


def test_fine_grained_of_opencv_itself():
    pytest.importorskip("cv2.saliency", reason="no OpenCV with contributed modules")
    maps = dtm.Saliency(method="fine_grained")(photos(40, 60))
    assert maps.shape == (4, 40, 60)
    assert maps.max() == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "fine"}, ValueError, "method must be one of 'spectral', 'fine_grained', got 'fine'"),
        ({"side": 1}, ValueError, r"side must be in 2\.\..*, got 1"),
        ({"side": 64.0}, TypeError, "side must be a whole number, got 64.0"),
        ({"sigma": 0}, ValueError, "sigma must be > 0, got 0"),
        ({"sigma": "8"}, TypeError, "sigma must be a number, got '8'"),
    ],
)
def test_mistakes_in_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dtm.Saliency(**arguments)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((2, 4, 4), np.uint8), ValueError, r"images must be \(N, H, W, C\).*got shape \(2, 4, 4\)"),
        ([1, 2], ValueError, r"images must be .* got shape \(\)"),
        (np.zeros((2, 4, 4, 3), np.int32), TypeError, "images must be uint8, float16, float32, got int32"),
        (np.zeros((2, 4, 8, 3), np.uint8)[:, :, ::2], ValueError, "images must have pixels side by side"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        dtm.Saliency()(images)
