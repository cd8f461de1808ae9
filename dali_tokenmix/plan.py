"""What happens to a batch, as plain arrays: the one draw that pixels and labels are both made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from . import checks
from .regions import Blend, Region, RegionShape


class Batch(NamedTuple):
    """What a mixer has to know of a batch before it draws.

    samples: how many there are. image_size: (height, width) in pixels. valid: only the first `valid` samples
    may be mixed; a loader's padding behind them is nobody's partner.
    """

    samples: int
    image_size: tuple[int, int]
    valid: int


HEAD = [("partner", "<i4"), ("own", "<f4"), ("other", "<f4"), ("more", "<i4")]  # more: K


@dataclass(frozen=True, eq=False)
class Plan:
    """Who is mixed with whom, where, and what that makes of the labels. N samples.

    partner: (N,) int32, an involution; a sample that is its own partner shows no other.
    regions: what happens to the images, one after the other; usually one (Tokens, Box or Blend).
    image_size: (height, width) in pixels.
    own, other: (N,) float32 label weights. Left out, they are counted: `other` is the share of the pixels
        that come from the partner (for Blend, its weight), and own is what nobody else has. Weights given by hand need
        not sum to 1.
    further: (N, K) int32, samples that show beyond the partner; K is 0 for all that mixes two.
    further_weights: (N, K) float32, their label weights, counted where they are left out.

    Raises TypeError for arrays of another dtype, ValueError for arrays of wrong shape, a partner that does not point
    back, further samples that show others than these, a region that gives a sample something of itself, or several
    regions that mix the same samples.
    """

    partner: np.ndarray
    regions: tuple[Region, ...]
    image_size: tuple[int, int]
    own: np.ndarray = None  # type: ignore[assignment]  # an array from __post_init__ on
    other: np.ndarray = None  # type: ignore[assignment]
    further: np.ndarray = None  # type: ignore[assignment]
    further_weights: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        partner = _read_only(np.array(self.partner, np.int32, ndmin=1))
        samples = np.arange(len(partner))
        if partner.ndim != 1 or len(partner) == 0:
            raise ValueError(f"partner must be (N,) with N >= 1, got shape {partner.shape}")
        if partner.min() < 0 or partner.max() >= len(partner) or not np.array_equal(partner[partner], samples):
            raise ValueError(f"partner must pair samples up, partner[partner[i]] == i, got {partner}")
        size = checks.image_size(self.image_size)
        parts = [region.shares(len(partner), size) for region in self.regions]
        further = _further(self.further, partner, max((part.shape[1] - 1 for part in parts), default=0))
        shares = self._counted(parts, np.column_stack([partner, further]))
        if (self.own is None) != (self.other is None):
            raise ValueError("own and other are given together or not at all")
        known = self.further_weights is not None
        weights = np.asarray(self.further_weights) if known else shares[:, 1:]
        rest = np.maximum(1.0 - shares.sum(1), 0.0)  # a sum of shares may be a rounding above 1
        own, other = (rest, shares[:, 0]) if self.own is None else (self.own, self.other)
        set_field = object.__setattr__  # the frozen dataclass's own way to fill a field after the checks
        set_field(self, "partner", partner)
        set_field(self, "image_size", size)
        set_field(self, "own", _weights("own", own, (len(partner),)))
        set_field(self, "other", _weights("other", other, (len(partner),)))
        set_field(self, "further", further)
        set_field(self, "further_weights", _weights("further_weights", weights, further.shape))

    def _counted(self, parts: list[np.ndarray], shown: np.ndarray) -> np.ndarray:
        """(N, 1 + K) float64: the shares of the partner and the further samples, `shown`, over all regions."""
        shares, touched = np.zeros(shown.shape), np.zeros(len(shown), bool)
        for region, part in zip(self.regions, parts, strict=True):
            name = type(region).__name__
            if part[shown[:, 0] == np.arange(len(shown))].any():
                raise ValueError(f"{name} touches a sample that is its own partner")
            mixed = np.flatnonzero((part > 0).any(1))
            mixes = np.zeros(len(shown), bool)
            mixes[mixed] = mixes[shown[mixed, : part.shape[1]]] = True  # it reads them as they were
            if (mixes & touched).any():  # the second would mix what the first has mixed, and shares would not add up
                raise ValueError(f"{name} touches a pair that another region touches")
            touched |= mixes
            shares[:, : part.shape[1]] += part
        return shares

    def __len__(self) -> int:
        return len(self.partner)

    def mask(self) -> np.ndarray:
        """(N, gh, gw) uint8: 1 where the partner, or a further sample, is put.

        The grid is the token grid for token masks and the pixels for boxes (gh = height, gw = width), or for regions of
        several kinds in one plan. A token covers patch_size pixels, the last of a row or column perhaps fewer. Blends
        show the partner nowhere in particular: their samples are 0, and a plan of blends only has the grid (1, 1).
        """
        masks = [m for r in self.regions if (m := r.mask(self.image_size)) is not None]
        if not masks:
            return np.zeros((len(self), 1, 1), np.uint8)
        if len(masks) == 1:
            return masks[0].grid
        mask: np.ndarray = np.bitwise_or.reduce([m.pixels(self.image_size) for m in masks])
        return mask

    def pixel_mask(self) -> np.ndarray:
        """(N, height, width) uint8: mask() on the pixels, whatever the patch size."""
        empty = np.zeros((len(self), *self.image_size), np.uint8)
        masks = [m for r in self.regions if (m := r.mask(self.image_size)) is not None]
        mask: np.ndarray = np.bitwise_or.reduce([empty, *(m.pixels(self.image_size) for m in masks)])
        return mask

    def sources(self) -> np.ndarray:
        """(N, height, width) int32: the sample that each pixel shows, -1 where it is erased; a blend's is its own."""
        sources = np.broadcast_to(np.arange(len(self), dtype=np.int32)[:, None, None], (len(self), *self.image_size))
        sources = sources.copy()
        for region in self.regions:
            region.show(sources, self)
        return sources

    def blend(self) -> np.ndarray:
        """(N,) float32: the partner's weight where a sample is blended (MixUp), 0 elsewhere."""
        total = np.zeros(len(self), np.float32)
        for region in self.regions:
            if isinstance(region, Blend):
                total += region.weight
        return total

    def rows(self) -> np.ndarray:
        """(N,) structured array, one packed row a sample: what the kernels read and all that travels to a GPU."""
        rows = np.zeros(len(self), row_dtype(tuple(r.shape for r in self.regions)))
        rows["more"] = more = self.further.shape[1]
        for name in ("partner", "own", "other", *("further", "further_weights") * bool(more)):
            rows[name] = getattr(self, name)
        for k, region in enumerate(self.regions):
            rows[f"region{k}"] = region.pack()
        return rows

    @cached_property
    def packed(self) -> np.ndarray:
        """rows() as (N, bytes) uint8."""
        return packed(self.rows())

    def with_weights(self, own: np.ndarray, other: np.ndarray, further: np.ndarray | None = None) -> Plan:
        """The same plan with label weights from elsewhere (a teacher), each (N,) float32; further: (N, K) float32."""
        return replace(self, own=own, other=other, further_weights=self.further_weights if further is None else further)


def packed(rows: np.ndarray) -> np.ndarray:
    """The bytes of (N,) rows, (N, bytes) uint8, in their memory."""
    return rows.view(np.uint8).reshape(len(rows), -1)


def row_dtype(shapes: tuple[RegionShape, ...]) -> np.dtype:
    """The layout of Plan.rows() for regions of these shapes: known before anything is drawn."""
    more = further_of(shapes)
    others = [("further", "<i4", (more,)), ("further_weights", "<f4", (more,))] if more else []
    return np.dtype([*HEAD, *others, *((f"region{k}", *shape.field()) for k, shape in enumerate(shapes))])


def further_of(shapes: tuple[RegionShape, ...]) -> int:
    """K of plans with regions of these shapes: how many samples they show beyond the partner, at most."""
    return max((shape.further for shape in shapes), default=0)


def region_offsets(shapes: tuple[RegionShape, ...]) -> tuple[int, ...]:
    """Where in a row each region's data begins, in bytes."""
    fields: Any = row_dtype(shapes).fields
    return tuple(fields[f"region{k}"][1] for k in range(len(shapes)))


def read_rows(rows: np.ndarray, shapes: tuple[RegionShape, ...], image_size: tuple[int, int]) -> Plan:
    """The plan that Plan.rows() packed."""
    regions = tuple(shape.unpack(rows[f"region{k}"]) for k, shape in enumerate(shapes))
    others = (rows["further"], rows["further_weights"]) if further_of(shapes) else ()
    return Plan(rows["partner"], regions, image_size, rows["own"], rows["other"], *others)


def untouched(samples: int, image_size: tuple[int, int], shapes: tuple[RegionShape, ...]) -> Plan:
    """The plan that leaves every image and label alone, with the same layout as one that does not."""
    return Plan(np.arange(samples), tuple(shape.neutral(samples) for shape in shapes), image_size)


def _further(given: np.ndarray | None, partner: np.ndarray, more: int) -> np.ndarray:
    """(N, K) int32; left out, each sample itself."""
    samples = len(partner)
    if given is None:
        given = np.repeat(np.arange(samples)[:, None], more, axis=1)
    further = np.array(given, np.int32)
    if further.shape != (samples, more):
        raise ValueError(f"further must be ({samples}, {more}), as the regions show, got shape {further.shape}")
    if further.size and (further.min() < 0 or further.max() >= samples):
        raise ValueError(f"further must be samples in [0, {samples}), got {further}")
    if more and not _closed(np.column_stack([np.arange(samples), partner, further])):
        raise ValueError(f"further must close groups: whom a sample shows, shows the same samples, got {further}")
    return _read_only(further)


def _closed(shown: np.ndarray) -> bool:
    """Whether each row of shown, (N, 2 + K), holds the same samples as the rows of all of them."""
    groups = np.sort(shown, axis=1)
    again = groups[:, 1:] == groups[:, :-1]
    groups[:, 1:] = np.where(again, groups[:, -1:], groups[:, 1:])  # once each, and the last as often as it takes
    groups.sort(axis=1)
    return bool((groups[shown] == groups[:, None]).all())


def _weights(name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    weights = np.ascontiguousarray(values, np.float32)
    if weights.shape != shape or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"{name} must be {shape} finite weights >= 0, got {values!r}")
    return _read_only(weights.copy())


def _read_only(array: np.ndarray) -> np.ndarray:
    """A checked array must stay what it was when it was checked: kernels trust it."""
    array.setflags(write=False)
    return array
