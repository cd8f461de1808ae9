"""Saliency: what stands out in an image, whatever its class. Maps without a network."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .checks import choice, integer, number
from .regions import Size
from .runtime.arrays import view
from .runtime.luminance import luminance

FLOOR = 1e-6  # of an amplitude, in an image's largest: rounding of float32 is far below, photographs are far above


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """Saliency maps of images: where SaliencyMix cuts, or a teacher for supervision="tokenmix" that knows no classes.

    Args:
        method: "spectral" is the spectral residual (Hou and Zhang, "Saliency Detection: A Spectral Residual Approach",
            CVPR 2007): what an image's log amplitude spectrum has beyond its own 3 x 3 mean, back in the image with the
            image's phase, squared and smoothed. For a whole batch at once, on the device of the images. "fine_grained"
            is OpenCV contrib's (Montabone and Soto, Image and Vision Computing 28(3), 2010), which SaliencyMix's paper
            uses: one image after the other, on the CPU; images on a GPU are waited for.
        side: cells along the longer side of a spectral map, >= 2; the paper's 64. Images that are smaller keep their
            pixels.
        sigma: > 0, of the Gaussian that smooths a spectral map, in its cells. 2.5 is that of the authors' code; 8, the
            paper's, moves the peaks of photographs to the middle between objects.

    Deviations of spectral maps. The log spectrum is averaged as the periodic function that it is; the authors' code
    repeats its border. The aspect of the image is kept; OpenCV makes every image 64 x 64, and smooths by 5 x 5 cells
    before it squares: smoothed like that, maps of photographs correlate with OpenCV's by 0.97.

    Raises ValueError or TypeError for an argument out of range.
    """

    method: Literal["spectral", "fine_grained"] = "spectral"
    side: int = 64
    sigma: float = 2.5

    def __post_init__(self) -> None:
        choice("method", self.method, ("spectral", "fine_grained"))
        integer("side", self.side, at_least=2)
        number("sigma", self.sigma, above=0)

    def __call__(self, images: Any, labels: Any = None) -> Any:
        """Maps (N, h, w) float32, the largest value of each 1 (or all 0), of the images' library and on their device.

        Args:
            images: uint8 (N, H, W, C), or floating (N, C, H, W), as a Teacher takes them; NumPy, torch or CuPy. What
                is looked at is the luminance of three channels, the mean of others.
            labels: of no use here.

        h x w is `side` cells along the longer side for spectral maps, H x W for fine-grained ones.
        Raises TypeError or ValueError for images of another dtype or shape, ImportError where OpenCV's module misses.
        """
        return self.maps(images)

    def maps(self, images: Any, threads: int | None = None) -> Any:
        """What a call gives; threads: of a CPU, all if left out."""
        if len(shape := tuple(getattr(images, "shape", ()))) != 4:
            raise ValueError(f"images must be (N, H, W, C) uint8 or (N, C, H, W) floating, got shape {shape}")
        bytes_ = str(images.dtype).endswith("uint8")
        if self.method == "fine_grained":
            return _like(images, np.stack([_fine_grained(image) for image in _channels_last(images, bytes_)]))
        height, width = shape[1:3] if bytes_ else shape[2:]
        planes = _empty(images, (shape[0], *_cells((height, width), self.side)))
        with _stream_of(images):
            luminance(view("images", images), view("planes", planes), "NHWC" if bytes_ else "NCHW", threads=threads)
        return spectral_residual(planes, self.sigma)

    def description(self) -> dict[str, str | int | float]:
        """What decides the maps of an image."""
        return {"saliency": self.method, "side": self.side, "sigma": self.sigma}


def spectral_residual(planes: Any, sigma: float) -> Any:
    """(N, h, w) float32 saliency of (N, h, w) float32 planes, NumPy, torch or CuPy: see Saliency."""
    xp = _library(planes)
    spectrum = xp.fft.rfft2(planes)
    amplitude = xp.abs(spectrum)
    largest = xp.amax(amplitude.reshape(len(planes), -1), 1)[:, None, None]
    average = _periodic_mean(xp, xp.log(amplitude + (FLOOR * largest + (largest == 0))), planes.shape[2])
    # exp(residual + i phase) = F / |F| * |F| / exp(average): an amplitude of 0 has no phase, and needs none
    maps = xp.fft.irfft2(spectrum * xp.exp(-average), planes.shape[1:]) ** 2
    maps = _gaussian(xp, maps[0, :, 0], sigma) @ maps @ _gaussian(xp, maps[0, 0], sigma)
    peak = xp.amax(maps.reshape(len(maps), -1), 1)[:, None, None]
    maps = maps / (peak + (peak == 0))
    return maps.astype(np.float32, copy=False) if xp is np else maps


def _periodic_mean(xp: Any, half: Any, width: int) -> Any:
    """3 x 3 means of an even periodic function, of which (N, h, width // 2 + 1) are known: f(-u, -v) = f(u, v)."""
    rows = half + xp.roll(half, 1, 1) + xp.roll(half, -1, 1)

    def opposite(column: int) -> Any:
        return xp.roll(xp.flip(rows[:, :, column : column + 1], (1,)), 1, 1)

    last = rows.shape[2] - 1
    known = xp.concatenate([opposite(min(1, last)), rows, opposite(last - 1 if width % 2 == 0 else last)], 2)
    return (known[:, :, :-2] + known[:, :, 1:-1] + known[:, :, 2:]) / 9


def _gaussian(xp: Any, line: Any, sigma: float) -> Any:
    """(n, n) symmetric weights that smooth a line of n cells, up to a factor; there is nothing outside the line."""
    at = xp.cumsum(xp.ones_like(line), 0)  # made where the maps are: nothing waits for a copy
    return xp.exp((at[:, None] - at) ** 2 * (-0.5 / sigma**2))


def _cells(size: Size, side: int) -> Size:
    """The grid of at most `side` cells along the longer side of an image, as square as they can be."""
    longer = max(size)
    if longer <= side:
        return size
    height, width = (max(1, round(length * side / longer)) for length in size)
    return height, width


def _fine_grained(image: np.ndarray) -> np.ndarray:
    """(H, W) float32 of one (H, W, C) uint8 image."""
    try:
        from cv2 import saliency
    except ImportError as error:
        raise ImportError(
            "Saliency(method='fine_grained') needs OpenCV's contributed modules: pip install "
            "opencv-contrib-python-headless, or take method='spectral', which needs nothing"
        ) from error
    blue_first = np.ascontiguousarray(image[:, :, ::-1] if image.shape[2] == 3 else image[:, :, :1])
    done, found = saliency.StaticSaliencyFineGrained_create().computeSaliency(blue_first)
    if not done:
        raise RuntimeError(f"OpenCV finds no saliency in an image of shape {image.shape}")
    return np.asarray(found / (found.max() or 1), np.float32)


def _channels_last(images: Any, bytes_: bool) -> np.ndarray:
    """(N, H, W, C) uint8 on the CPU; floating images stretched to 0..255, each by itself."""
    array = images.cpu().numpy() if hasattr(images, "cpu") else images.get() if hasattr(images, "get") else images
    if bytes_:
        return np.asarray(array)
    array = np.moveaxis(np.asarray(array, np.float32), 1, -1)
    least, most = (edge(array, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
    stretched: np.ndarray = np.rint((array - least) * (255 / np.maximum(most - least, 1e-12))).astype(np.uint8)
    return stretched


def _library(array: Any) -> Any:
    """NumPy, torch or CuPy: the module whose array this is."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def _empty(like: Any, shape: tuple[int, ...]) -> Any:
    xp = _library(like)
    return xp.empty(shape, dtype=xp.float32, **({"device": like.device} if hasattr(like, "data_ptr") else {}))


def _like(images: Any, maps: np.ndarray) -> Any:
    xp = _library(images)
    return xp.asarray(maps, **({"device": images.device} if hasattr(images, "data_ptr") else {}))


def _stream_of(images: Any) -> Any:
    """A context in which kernels go onto the stream that the images are made on."""
    if view("images", images).device == "cpu":
        return nullcontext()
    from .runtime.cuda import on_stream_of

    return on_stream_of(images)
