"""What each kernel computes, as one writes it in NumPy: whole arrays at a time, out of place. Named like the kernels.

partner, labels and ids are int64; masks, flips and what is shown are bool. The last arguments are scalars.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def exchange_tokens(images: Array, partner: Array, mask: Array, patch: int, layout: str) -> Array:
    shown = mask.repeat(patch, 1).repeat(patch, 2)
    return np.where(shown[..., None] if layout == "NHWC" else shown[:, None], images[partner], images)


def exchange_box(images: Array, partner: Array, boxes: Array, layout: str) -> Array:
    height, width = images.shape[1:3] if layout == "NHWC" else images.shape[2:]
    y0, x0, y1, x1 = (edge[:, None] for edge in boxes.T)
    y, x = np.arange(height), np.arange(width)
    shown = ((y0 <= y) & (y < y1))[:, :, None] & ((x0 <= x) & (x < x1))[:, None]
    return np.where(shown[..., None] if layout == "NHWC" else shown[:, None], images[partner], images)


def blend(images: Array, partner: Array, weight: Array) -> Array:
    other = weight[:, None, None, None]
    mixed = (1 - other) * images.astype(np.float32) + other * images[partner].astype(np.float32)
    return (np.rint(mixed) if images.dtype == np.uint8 else mixed).astype(images.dtype)


def mirror(images: Array, flips: Array) -> Array:
    return np.where(flips[:, None, None, None], images[:, :, ::-1], images)


def roi_weights(boxes: Array, flips: Array | None, map_h: int, map_w: int, grid_h: int, grid_w: int) -> Array:
    """(N, grid_h * map_h + grid_w * map_w): what each cell weighs in each row of bins, then in each column."""
    rows = _axis_weights(boxes[:, 0], boxes[:, 2], map_h, grid_h)
    columns = _axis_weights(boxes[:, 1], boxes[:, 3], map_w, grid_w)
    if flips is not None:
        columns = np.where(flips[:, None, None], columns[:, ::-1], columns)
    return np.concatenate([rows.reshape(len(boxes), -1), columns.reshape(len(boxes), -1)], axis=1)


def _axis_weights(low: Array, high: Array, cells: int, bins: int) -> Array:
    """(N, bins, cells): each bin is the mean of ceil(its length in cells) points between two cells each."""
    start, length = low * np.float32(cells), (high * np.float32(cells) - low * np.float32(cells)) / np.float32(bins)
    count = np.ceil(length).astype(int)[:, None, None]
    point = np.arange(count.max())
    at = start[:, None, None] - 0.5 + length[:, None, None] * (np.arange(bins)[:, None] + (point + 0.5) / count)
    near = 1 - np.abs(at.clip(0, cells - 1)[..., None] - np.arange(cells))
    return (near.clip(0) * (point < count)[..., None]).sum(2) / count


def crop_maps(maps: Array, boxes: Array, flips: Array, grid_h: int, grid_w: int) -> Array:
    n, height, width = maps.shape
    weights = roi_weights(boxes, flips, height, width, grid_h, grid_w)
    rows = weights[:, : grid_h * height].reshape(n, grid_h, height)
    return rows @ maps @ weights[:, grid_h * height :].reshape(n, grid_w, width).transpose(0, 2, 1)


def score(maps: Array, mask: Array, partner: Array) -> Array:
    """(N, 2): own and other."""
    maps = maps / maps.sum((1, 2), keepdims=True)
    return np.stack([(maps * ~mask).sum((1, 2)), (maps[partner] * mask).sum((1, 2))], 1)


def targets(labels: Array, partner: Array, own: Array, other: Array, classes: int, smoothing: float) -> Array:
    out, each = np.full((len(labels), classes), smoothing / classes, np.float32), np.arange(len(labels))
    out[each, labels] += (1 - smoothing) * own
    out[each, labels[partner]] += (1 - smoothing) * other
    return out


def relabel_pool(ids: Array, scores: Array, weights: Array, classes: int) -> Array:
    n, _, height, _ = ids.shape
    logits = np.zeros((n, classes), np.float32)
    cells = weights[:, :height, None] * weights[:, None, height:]
    np.add.at(logits, (np.arange(n)[:, None, None, None], ids), cells[:, None] * scores.astype(np.float32))
    return logits


def relabel_softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def relabel_mix(labels: Array, partner: Array, own: Array, other: Array, smoothing: float) -> Array:
    mixed = own[:, None] * labels + other[:, None] * labels[partner]
    return (1 - smoothing) * mixed + smoothing / labels.shape[1]


def token_labels(
    ids: Array, scores: Array, weights: Array, mask: Array, partner: Array, classes: int
) -> tuple[Array, Array]:
    """The k likeliest classes of every token of whoever shows there, (N, T, k), among those the map has there."""
    n, k, height, width = ids.shape
    grid_h, grid_w = mask.shape[1:]
    dense = np.zeros((n, classes, height, width), np.float32)
    np.put_along_axis(dense, ids, scores.astype(np.float32), 1)
    rows = weights[:, : grid_h * height].reshape(n, 1, grid_h, height)
    columns = weights[:, grid_h * height :].reshape(n, 1, grid_w, width)
    logits = (rows @ dense @ columns.transpose(0, 1, 3, 2)).reshape(n, classes, -1).transpose(0, 2, 1)
    logits = np.where(mask.reshape(n, -1, 1), logits[partner], logits)
    found = np.where(logits != 0, relabel_softmax(logits.reshape(-1, classes)).reshape(logits.shape), 0)
    best = np.argpartition(-found, k, axis=2)[..., :k]
    values = np.take_along_axis(found, best, 2)
    order = np.argsort(-values, axis=2)
    return np.take_along_axis(best, order, 2), np.take_along_axis(values, order, 2)
