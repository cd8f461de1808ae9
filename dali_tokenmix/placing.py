"""Plans that are drawn before anybody has looked at the images, and are then placed by maps of them: on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .labels import checked_maps
from .plan import Plan, packed, read_rows, region_offsets
from .regions import RegionShape, kinds, placed_shapes
from .runtime import place
from .runtime.arrays import view

ANY_SIZE = (1024, 1024)  # which regions a mixer draws does not depend on it
MAKERS = {"saliency": "dtm.Saliency()(images)", "attention": "Teacher.attention(images)"}


def needed(mixer: Any) -> tuple[str, ...]:
    """The kinds of maps that the mixer's plans are placed by, each once."""
    return kinds(layout(mixer))


def makers(mixer: Any) -> list[Any]:
    """What makes those maps, each once: a Saliency, or None where it is the teacher there is."""
    shapes: Iterable[Any] = layout(mixer)
    return list(dict.fromkeys(shape.maker for shape in shapes if hasattr(shape, "maps")))


def placed(plan: Plan, maps: Any) -> Plan:
    """The plan with every region where the maps say, and weights counted there. maps: as draw() takes them.

    Raises ValueError for maps that are missing, of no use, or do not fit; TypeError for what is no array.
    """
    by_kind = checked(maps, kinds(region.shape for region in plan.regions), len(plan))
    return placed_by(lambda shape: by_kind[shape.maps], plan) if by_kind else plan


def placed_by(look: Callable[[Any], np.ndarray], plan: Plan) -> Plan:
    """The plan with every region placed; look gives the maps, (N, h, w) float32, for the shape of a region."""
    shapes, rows = tuple(region.shape for region in plan.regions), plan.rows()
    for shape, offset in zip(shapes, region_offsets(shapes), strict=True):
        if hasattr(shape, "maps"):
            place(view("plan", packed(rows)), view("maps", look(shape)), shape, offset, plan.image_size)
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


def layout(mixer: Any) -> tuple[RegionShape, ...]:
    """The layout of the mixer's plans, of images of some size; nothing for None."""
    shapes: tuple[RegionShape, ...] = mixer.shapes(ANY_SIZE) if hasattr(mixer, "shapes") else ()
    return shapes
