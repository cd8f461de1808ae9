"""Plans that are drawn before anybody has looked at the images, and are then placed by maps of them: on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .labels import checked_maps
from .plan import Plan, packed, read_rows, region_offsets
from .regions import kinds, placed_shapes
from .runtime import place
from .runtime.arrays import view

MAKERS = {"saliency": "dtm.Saliency()(images)", "attention": "Teacher.attention(images)"}


def placed(plan: Plan, maps: Any) -> Plan:
    """The plan with every region where the maps say, and weights counted there. maps: as draw() takes them.

    Raises ValueError for maps that are missing, of no use, or do not fit; TypeError for what is no array.
    """
    shapes = tuple(region.shape for region in plan.regions)
    by_kind = checked(maps, kinds(shapes), len(plan))
    if not by_kind:
        return plan
    rows = plan.rows()
    for shape, offset in zip(shapes, region_offsets(shapes), strict=True):
        if kind := getattr(shape, "maps", None):
            place(view("plan", packed(rows)), view("maps", by_kind[kind]), shape, offset, plan.image_size)
    return read_rows(rows, placed_shapes(shapes), plan.image_size)


def checked(maps: Any, needed: tuple[str, ...], samples: int) -> dict[str, np.ndarray]:
    """Maps (N, h, w) float32 of each kind that is needed."""
    if not needed:
        if maps is not None:
            raise ValueError("maps must be None for a mixer that draws without looking at the images, got some")
        return {}
    makers = " and ".join(f"{kind!r} maps, such as {MAKERS[kind]}" for kind in needed)
    if maps is None:
        raise ValueError(f"maps must be given, for the mixer places what it draws by {makers}, got None")
    given = maps if isinstance(maps, Mapping) else dict.fromkeys(needed[:1], maps)
    if set(given) != set(needed):
        found = "one array" if maps is not given else f"a dict of {', '.join(map(repr, given)) or 'nothing'}"
        raise ValueError(f"maps must be a dict of {makers}, got {found}")
    return {kind: checked_maps(f"{kind} maps", given[kind], samples, negative=True) for kind in needed}
