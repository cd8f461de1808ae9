"""Before anything is timed: the usual way and ours make the same of the same images, plan and maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gpu.place import Cpu

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.plan import Batch, Plan, read_rows, row_dtype
from dali_tokenmix.regions import Box, Tokens, kinds, placed_shapes

from .given import Given
from .ours import Ours
from .rows import Row
from .usual import Drawn, Usual, normalised, renormalised

SAME = 1e-5  # of targets; pixels are equal
SEEN = 0.01  # of the largest value of a teacher's maps, from bytes here, from floats there


@dataclass(frozen=True)
class Fixed:
    """A mixer that always draws one plan."""

    plan: Plan

    def shapes(self, image_size: tuple[int, int]) -> tuple:
        return tuple(region.shape for region in self.plan.regions)

    def draw(self, rng: np.random.Generator, batch: Batch) -> Plan:
        return self.plan


class SameMaps:
    """In place of a teacher: what it makes is noise in the form of its maps, the same for everybody."""

    def __init__(self, size: tuple[int, int], samples: int, device: str) -> None:
        noise = np.random.default_rng(3).exponential(1, (samples, *size)).astype(np.float32)
        self.maps = torch.from_numpy(noise).to(device)

    def __call__(self, images: Any, labels: Any) -> torch.Tensor:
        return self.maps


def as_defined(row: Row, given: Given, place: Cpu) -> None:
    """Raises AssertionError where pixels are not those of the definition of the plan that is drawn and placed."""
    ours = Ours(row, [given], place)
    clean = given.pixels.copy()
    packed, _ = ours.planner(ours.seeds[0], given.index)
    if kinds(ours.kinds):
        packed = place.get(ours.placed(packed, place.put(clean)).owner)
    shapes = placed_shapes(ours.kinds)
    plan = read_rows(packed.view(row_dtype(shapes))[:, 0], shapes, ours.size)
    ours(0)
    same = np.array_equal(place.get(ours.images[0]), reference.mixed(plan, clean))
    assert same, f"{row.name}: pixels differ from the definition"


def agree(row: Row, given: Given, place: Cpu) -> None:
    """Raises AssertionError, naming the row, where pixels or targets differ; and where a teacher's maps do."""
    if not row.usual:
        return as_defined(row, given, place)
    if row.teacher is not None:
        see_the_same(row, given, place)
        row = replace(row, teacher=SameMaps(row.teacher.map_size, given.shapes.batch, place.torch_device))
    usual = Usual(row, [given], place)
    images, batch = usual.images[0], usual.labelled[0]
    if isinstance(row.mixer, dtm.TokenMix):
        drawn = usual.draw()
        theirs, fixed = usual.token_mix(images, batch, drawn), Fixed(plan_of_mask(drawn, given))
    else:
        clean = images.clone()
        theirs = usual(0)
        fixed = Fixed(plan_of_box(box_of((images[0] != clean[0]).any(0).cpu().numpy()), given))
    here = Ours(row if row.mixer is None else replace(row, mixer=fixed), [given], place)
    ours = [place.get(part) for part in here(0)]
    pixels = normalised(place.get(here.images[0]), place.torch_device)
    assert torch.equal(pixels, images), f"{row.name}: pixels differ"
    assert row.mixer is None or not torch.equal(pixels, normalised(given.pixels, place.torch_device)), "nothing mixed"
    close(f"{row.name}: targets", ours[0], theirs[0])
    if len(theirs) > 1:
        ids, shares = ours[1:]
        close(
            f"{row.name}: labels of tokens", shares, theirs[1].gather(2, torch.from_numpy(ids).long().to(images.device))
        )


def close(what: str, ours: np.ndarray, theirs: torch.Tensor) -> None:
    np.testing.assert_allclose(ours, theirs.cpu().numpy(), rtol=0, atol=SAME, err_msg=what)


def see_the_same(row: Row, given: Given, place: Cpu) -> None:
    labels = torch.from_numpy(given.own).to(place.torch_device)
    ours = row.teacher(place.tensor(place.put(given.pixels)), labels)
    theirs = row.teacher(renormalised(normalised(given.pixels, place.torch_device), row.teacher), labels)
    off, most = float((ours - theirs).abs().max()), SEEN * float(ours.abs().max())  # all may be 0: random weights
    assert off <= most, f"{row.name}: maps from bytes and from floats differ by {off:.2g}, more than {most:.2g}"


def plan_of_mask(drawn: Drawn, given: Given) -> Plan:
    s = given.shapes
    return Plan(drawn.partner, (Tokens(drawn.mask(), s.patch),), (s.height, s.width))


def plan_of_box(box: tuple[int, int, int, int], given: Given) -> Plan:
    s = given.shapes
    boxes = np.tile(np.array(box, np.int32), (s.batch, 1))
    return Plan(np.arange(s.batch)[::-1], (Box(boxes),), (s.height, s.width))


def box_of(changed: np.ndarray) -> tuple[int, int, int, int]:
    """y0, x0, y1, x1 of the smallest box around what is True in (H, W)."""
    (y0, y1), (x0, x1) = (
        (int(found[0]), int(found[-1]) + 1) if len(found := np.flatnonzero(changed.any(axis))) else (0, 0)
        for axis in (1, 0)
    )
    return y0, x0, y1, x1
