"""The definition of every kernel in slow NumPy.

Tests hold the kernels that make pixels and draw to it bit for bit, and those that make labels, which sum in another
order, to 1e-6.
"""

from __future__ import annotations

import numpy as np

from .plan import Plan


def mixed(plan: Plan, images: np.ndarray) -> np.ndarray:
    """A mixed copy of (N, H, W, C) images: the definition of exchange and blend."""
    shown = plan.pixel_mask().astype(bool)[..., None]
    out = np.where(shown, images[plan.partner], images)
    for i, weight in enumerate(plan.blend()):
        if weight:
            out[i] = blended(images[i], images[plan.partner[i]], weight)
    return out


def blended(own: np.ndarray, other: np.ndarray, weight: np.float32) -> np.ndarray:
    """(1 - weight) * own + weight * other in float32; uint8 and float16 by rounding to nearest, ties to even."""
    weight = np.float32(weight)
    total = (np.float32(1) - weight) * own.astype(np.float32) + weight * other.astype(np.float32)
    return (np.rint(total) if own.dtype.kind == "u" else total).astype(own.dtype)


def soft_targets(plan: Plan, labels: np.ndarray, num_classes: int, smoothing: float) -> np.ndarray:
    """(N, C) float32: (1 - s) * (own * onehot(a) + other * onehot(b)) + s / C."""
    keep = np.float32(1 - smoothing)
    out = np.full((len(plan), num_classes), smoothing / num_classes, np.float32)
    for i in range(len(plan)):
        out[i, labels[i]] += keep * plan.own[i]
        out[i, labels[plan.partner[i]]] += keep * plan.other[i]
    return out


def mirrored(images: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """A copy of (N, H, W, C) images, left and right exchanged where flips, (N,), is not 0."""
    return np.where(flips.astype(bool)[:, None, None, None], images[:, :, ::-1], images)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, C) uint8: the triangle filter, wider where the image shrinks, one axis after the other.

    Rows to the new width first, but for images that lose more than twice as many rows as columns.
    """
    rows, columns = (resize_weights(*sides) for sides in zip(image.shape[:2], size, strict=True))
    lost = [side - new for side, new in zip(image.shape[:2], size, strict=True)]

    def whole(sums: np.ndarray) -> np.ndarray:
        return (sums + 2**14) >> 15

    pixels = image.astype(np.int64)
    if lost[0] > 0 and lost[0] > 2 * lost[1]:
        pixels = whole(np.einsum("ox,yxc->yoc", columns, whole(np.einsum("oy,yxc->oxc", rows, pixels))))
    else:
        pixels = whole(np.einsum("oy,yxc->oxc", rows, whole(np.einsum("ox,yxc->yoc", columns, pixels))))
    return pixels.astype(np.uint8)


def resize_weights(side: int, new: int) -> np.ndarray:
    """(new, side) int64: weights of inputs in units of 2^-15. A row's sum is 2^15, or 1 less for a single input."""
    scale = side / new
    reach = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    weights = np.maximum(1 - np.abs((np.arange(side) + 0.5 - centres[:, None]) / reach), 0)
    units = np.minimum((weights / weights.sum(1, keepdims=True) * 2**15 + 0.5).astype(np.int64), 2**15 - 1)
    heaviest = units.argmax(1)
    units[np.arange(new), heaviest] += 2**15 - units.sum(1)
    limited: np.ndarray = np.minimum(units, 2**15 - 1)
    return limited


def normalised(images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """(N, H, W, C) float32: (value - 255 * mean) * (1 / (255 * std)), each rounded to float32."""
    shift, scale = (255 * np.array(mean)).astype(np.float32), (1 / (255 * np.array(std))).astype(np.float32)
    return (images.astype(np.float32) - shift) * scale


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


def philox4x32(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds of Philox on four 32-bit words (Salmon et al., SC 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        low, high = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(high >> 32) ^ c[1] ^ k[0], high & 0xFFFFFFFF, (low >> 32) ^ c[3] ^ k[1], low & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


class Words:
    """The words of one seed in order, and numbers made of them."""

    def __init__(self, seed: int) -> None:
        self.key = [seed & 0xFFFFFFFF, seed >> 32]
        self.counter = 0
        self.ready: list[int] = []

    def word(self) -> int:
        if not self.ready:
            self.ready = philox4x32([self.counter, 0, 0, 0], self.key)
            self.counter += 1
        return self.ready.pop(0)

    def uniform(self) -> float:
        return self.word() / 2**32

    def below(self, n: int) -> int:
        return self.word() * n >> 32


def taylor_exp(x: float) -> float:
    """exp(x) by its Taylor polynomial of degree 12."""
    total = 1.0
    for n in range(12, 0, -1):
        total = 1.0 + x * total / n
    return total


def block_mask(
    seed: int,
    grid: tuple[int, int],
    *,
    total: int,
    min_area: int,
    log_aspect: float,
    official: bool,
    attempts: int = 10,
) -> np.ndarray:
    """(gh, gw) uint8: rectangles of at least min_area tokens are added until exactly `total` are masked.

    A rectangle that would overshoot, or not fit the grid, is refused; after `attempts` refusals in a row the least
    area is halved (official: the mask stays short).
    """
    height, width = grid
    words, mask = Words(seed), np.zeros(grid, np.uint8)
    least, refused = min_area, 0
    while (left := total - int(mask.sum())) > 0:
        smallest = min(least, left)
        area = smallest + words.uniform() * (left - smallest)
        aspect = taylor_exp((2.0 * words.uniform() - 1.0) * log_aspect)
        h, w = int(np.sqrt(area * aspect) + 0.5), int(np.sqrt(area / aspect) + 0.5)
        fits = (h < height and w < width) if official else (h <= height and w <= width and h * w >= smallest)
        added = 0
        if fits:
            y, x = words.below(height - h + 1), words.below(width - w + 1)
            block = mask[y : y + h, x : x + w]
            added = int((block == 0).sum())
            if added <= left:
                block[:] = 1
            else:
                added = 0
        if added:
            least, refused = min_area, 0
            continue
        refused += 1
        if refused == attempts:
            if official:
                break
            least, refused = max(1, min(least, left) // 2), 0
    return mask
