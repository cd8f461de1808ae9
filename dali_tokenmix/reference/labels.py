"""The definitions of the kernels that make labels."""

from __future__ import annotations

import numpy as np

from ..plan import Plan


def soft_targets(plan: Plan, labels: np.ndarray, num_classes: int, smoothing: float) -> np.ndarray:
    """(N, C) float32: (1 - s) * (own * onehot(a) + other * onehot(b) + those of further samples) + s / C."""
    keep = np.float32(1 - smoothing)
    out = np.full((len(plan), num_classes), smoothing / num_classes, np.float32)
    for i in range(len(plan)):
        out[i, labels[i]] += keep * plan.own[i]
        out[i, labels[plan.partner[i]]] += keep * plan.other[i]
        for sample, weight in zip(plan.further[i], plan.further_weights[i], strict=True):
            out[i, labels[sample]] += keep * weight
    return out


def roi_align(maps: np.ndarray, boxes: np.ndarray, flips: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(N, gh, gw) float64: each bin is the mean of bilinear samples, ceil(bin side in cells) of them along a side.

    maps: (N, h, w). boxes: (N, 4) y0, x0, y1, x1 in fractions. flips: (N,), not 0 where the crop was mirrored.
    """
    out = np.zeros((len(maps), *grid))
    for n, by, bx in np.ndindex(*out.shape):
        points = []
        for which, bin_, size in ((0, by, maps.shape[1]), (1, bx, maps.shape[2])):
            start, end = boxes[n, which] * np.float32(size), boxes[n, which + 2] * np.float32(size)
            side = np.float32((end - start) / np.float32(grid[which]))  # float32 as the kernel: ceil() is a cliff
            count = int(np.ceil(side))
            points.append([start - 0.5 + bin_ * side + (i + 0.5) * side / count for i in range(count)])
        total = sum(_bilinear(maps[n], y, x) for y in points[0] for x in points[1])
        out[n, by, grid[1] - 1 - bx if flips[n] else bx] = total / max(1, len(points[0]) * len(points[1]))
    return out


def _bilinear(grid: np.ndarray, y: float, x: float) -> float:
    """The value between the four cells around a point; 0 more than a cell outside."""
    if not (-1 <= y <= grid.shape[0] and -1 <= x <= grid.shape[1]):
        return 0.0
    taps = []
    for at, size in ((y, grid.shape[0]), (x, grid.shape[1])):
        at = min(max(float(at), 0.0), size - 1.0)
        low = int(at)
        taps.append(((low, 1 - (at - low)), (min(low + 1, size - 1), at - low)))
    return float(sum(float(grid[cy, cx]) * wy * wx for cy, wy in taps[0] for cx, wx in taps[1]))


def cell_shares(plan: Plan, grid: tuple[int, int], patch: int = 0) -> np.ndarray:
    """(N, gh, gw) float64: the partner's share of each cell of a grid laid over the image.

    patch: 0 for cells of one size; else they are tokens of that side in pixels, the last of which may be cut off.
    """
    overlaps = []
    for side, cells in zip(plan.image_size, grid, strict=True):
        edges = np.minimum(np.arange(cells + 1) * (patch or side / cells), side)
        pixels = np.arange(side)
        shared = np.minimum.outer(edges[1:], pixels + 1) - np.maximum.outer(edges[:-1], pixels)
        overlaps.append(np.clip(shared, 0, None) / np.diff(edges)[:, None])
    rows, columns = overlaps
    covered: np.ndarray = np.einsum("yi,nij,xj->nyx", rows, plan.pixel_mask().astype(float), columns)
    shares: np.ndarray = covered + plan.blend()[:, None, None].astype(float)
    return shares


def scored(shares: np.ndarray, maps: np.ndarray, partner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """own and other, (N,) float64: sum((1 - m) * A_own) and sum(m * A_partner), A a map divided by its sum.

    shares: (N, gh, gw) the partner's, m. maps: (N, gh, gw) >= 0; one that is all zero counts as uniform.
    """
    sums = maps.astype(float).sum((1, 2), keepdims=True)
    normal = np.where(sums > 0, maps / np.where(sums > 0, sums, 1), 1 / maps[0].size)
    return ((1 - shares) * normal).sum((1, 2)), (shares * normal[partner]).sum((1, 2))


def dense_maps(ids: np.ndarray, scores: np.ndarray, num_classes: int) -> np.ndarray:
    """(N, C, h, w) float64: the label maps of top-k ids and scores, both (N, k, h, w); 0 for all other classes."""
    dense = np.zeros((len(ids), num_classes, *ids.shape[2:]))
    for n, j, y, x in np.ndindex(*ids.shape):
        dense[n, ids[n, j, y, x], y, x] += scores[n, j, y, x]
    return dense


def crop_labels(dense: np.ndarray, boxes: np.ndarray, flips: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(N, gh, gw, C) float64: softmax over classes of each bin of dense label maps (N, C, h, w)."""
    pooled = np.stack([roi_align(dense[:, c], boxes, flips, grid) for c in range(dense.shape[1])], axis=-1)
    powers = np.exp(pooled - pooled.max(-1, keepdims=True))
    softmax: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return softmax
