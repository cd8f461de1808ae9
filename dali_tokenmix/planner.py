"""What the host decides for a batch inside a graph: seeds and sample indices in, packed plan rows and class ids out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .label_maps import token_grid
from .labels import crop_maps, scored_rows
from .mixing import drawn
from .placing import needed
from .plan import Plan, packed, untouched
from .regions import Size

if TYPE_CHECKING:
    from .pipeline import Graph


def seeded_plan(mixer: Any, seeds: np.ndarray, image_size: Size, valid: int | None = None) -> Plan:
    """The plan that a mixer draws from the first sample's random words, (N, words) of 16 bits each; not yet placed."""
    seed = sum(int(word) % 2**16 << 16 * k for k, word in enumerate(seeds[0]))
    return drawn(mixer, len(seeds), image_size, seed, valid=valid)


class BatchPlanner:
    """Plans a Loader's batches. Its only state that counts is `mixing`.

    recent: the indices of the last batches, for the message should one of their files be unreadable.
    """

    def __init__(self, graph: Graph, mixing: bool, depth: int) -> None:
        self.graph, self.mixing, self.depth = graph, mixing, depth
        self.recent: list[np.ndarray] = []

    def __call__(
        self, seeds: np.ndarray, index: np.ndarray, shapes: np.ndarray | None = None, **crop: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Packed rows (N, bytes) uint8, and class ids (N,) int32 or rows of labels (N, C) float32.

        And, where stored maps score plans that are yet to be placed, those maps, (N, gh, gw) float32.
        shapes: of the images that come from augment. crop: where each image was cut from, see boxes_of().
        """
        graph, index = self.graph, index.reshape(-1)
        self.recent = [*self.recent[-2 * self.depth - 2 :], index.copy()]
        expected = (*graph.image_size, 3)
        if shapes is not None and (wrong := [tuple(map(int, shape)) for shape in shapes if tuple(shape) != expected]):
            raise ValueError(f"augment must return images of shape {expected}, got {wrong[0]}")
        layout = () if graph.mixer is None else graph.mixer.shapes(graph.image_size)
        if graph.mixer is None or not self.mixing:
            plan = untouched(len(index), graph.image_size, layout)
        else:
            valid = without_padding(index) if graph.last_batch == "partial" else len(index)
            plan = seeded_plan(graph.mixer, seeds, graph.image_size, valid)
        labels = labels_of(graph.labels, index)
        if not graph.scores_by_store:
            return plan.packed, labels
        if not self.mixing:
            one_cell = np.ones((len(index), 1, 1), np.float32)
            return (plan.packed, labels, *[one_cell] * bool(needed(graph.mixer)))
        boxes, flips = boxes_of(**crop)
        maps = crop_maps(graph.label_maps.maps(index), boxes, flips, token_grid(layout, graph.image_size).grid)
        return (plan.packed, labels, maps) if needed(graph.mixer) else (packed(scored_rows(plan, maps)), labels)


def labels_of(labels: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(N,) int32 class ids, or (N, C) float32 rows, of these samples."""
    chosen: np.ndarray = labels[index]
    return chosen if labels.ndim == 1 else chosen.astype(np.float32)


def boxes_of(
    start: np.ndarray, size: np.ndarray, full: np.ndarray, mirrored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) float32 y0 x0 y1 x1 in fractions, and flips (N,) bool.

    start, size: (N, 2) crop in pixels, y before x. full: (N, 3) the image's height, width, channels. mirrored: (N,).
    """
    sides = full[:, :2].astype(np.float64)
    boxes = np.concatenate([start / sides, (start + size) / sides], axis=1)
    return np.clip(boxes, 0.0, 1.0).astype(np.float32), mirrored.reshape(-1) != 0


def without_padding(index: np.ndarray) -> int:
    """How many samples of a batch are no padding: the reader pads with its last sample, and has all others once."""
    differs = np.flatnonzero(index != index[-1])
    return int(differs[-1]) + 2 if len(differs) else 1
