"""What every region does: the data of a batch, its share of the pixels, and how it is packed into plan rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from ..plan import Plan

Size = tuple[int, int]


class SampleMask(NamedTuple):
    """A mask on a grid, (N, gh, gw) uint8: cells of patch x patch pixels, the last ones perhaps cut off.

    patch 0: cells of one size, up to a pixel, see edges().
    """

    grid: np.ndarray
    patch: int

    def pixels(self, image_size: Size) -> np.ndarray:
        places = []
        for side, cells in zip(image_size, self.grid.shape[1:], strict=True):
            places.append(np.repeat(np.arange(cells), np.diff(edges(side, cells, self.patch))))
        return self.grid[:, places[0][:, None], places[1]]


def edges(side: int, cells: int, patch: int) -> np.ndarray:
    """(cells + 1,) pixels where cells begin and end: patch pixels each, or, patch 0, all of one size, rounded down."""
    at = np.arange(cells + 1)
    return np.minimum(at * patch, side) if patch else at * side // cells


class RegionShape(Protocol):
    """How the region's data lies in a plan row; known before anything is drawn."""

    @property
    def further(self) -> int:
        """Samples that it shows beyond the partner."""

    def field(self) -> tuple[Any, ...]:
        """The dtype of a sample's data, and its shape."""

    def unpack(self, packed: np.ndarray) -> Region:
        """The region whose pack() this is."""

    def neutral(self, samples: int) -> Region:
        """The region that leaves all images alone."""


class Region(Protocol):
    """What happens to the images of a batch, a sample at a time."""

    @property
    def shape(self) -> RegionShape:
        """Its layout."""

    def pack(self) -> np.ndarray:
        """(N, ...) data, as the shape's field() says."""

    def shares(self, samples: int, image_size: Size) -> np.ndarray:
        """(N, 1 + further) float64: the label weight of the partner, and of each further sample, counted on pixels.

        Raises TypeError or ValueError for data that does not fit so many images of this size.
        """

    def mask(self, image_size: Size) -> SampleMask | None:
        """Where another sample shows; None where that is nowhere in particular."""

    def show(self, sources: np.ndarray, plan: Plan) -> None:
        """Writes into sources, (N, H, W) int32, the sample that each pixel shows from here on, -1 for none."""

    def only(self, samples: np.ndarray) -> Region:
        """The region for these samples, (N,) bool; the others are left alone."""


def show_partner(mask: SampleMask, sources: np.ndarray, plan: Plan) -> None:
    """show() for regions that put the partner where their mask is."""
    np.copyto(sources, plan.partner[:, None, None], where=mask.pixels(plan.image_size).astype(bool))


def require(array: np.ndarray, shape: tuple[int, ...], name: str, dtype: type) -> None:
    """Raises TypeError for an array of another dtype, ValueError for one of another shape."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise TypeError(f"{name} must be a NumPy array of {dtype.__name__}, got {getattr(array, 'dtype', type(array))}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
