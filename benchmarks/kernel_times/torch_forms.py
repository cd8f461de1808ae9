"""What each kernel computes, as one writes it in torch and torchvision, on any device. Arguments as in numpy_forms."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_align


def exchange_tokens(images: Tensor, partner: Tensor, mask: Tensor, patch: int, layout: str) -> Tensor:
    shown = mask.repeat_interleave(patch, 1).repeat_interleave(patch, 2)
    return torch.where(shown[..., None] if layout == "NHWC" else shown[:, None], images[partner], images)


def exchange_box(images: Tensor, partner: Tensor, boxes: Tensor, layout: str) -> Tensor:
    height, width = images.shape[1:3] if layout == "NHWC" else images.shape[2:]
    y0, x0, y1, x1 = boxes[:, :, None].unbind(1)
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    shown = ((y0 <= y) & (y < y1))[:, :, None] & ((x0 <= x) & (x < x1))[:, None]
    return torch.where(shown[..., None] if layout == "NHWC" else shown[:, None], images[partner], images)


def blend(images: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    other = weight[:, None, None, None]
    mixed = (1 - other) * images.float() + other * images[partner].float()
    return (mixed.round() if images.dtype == torch.uint8 else mixed).to(images.dtype)


def mirror(images: Tensor, flips: Tensor) -> Tensor:
    return torch.where(flips[:, None, None, None], images.flip(2), images)


def roi_weights(boxes: Tensor, flips: Tensor | None, map_h: int, map_w: int, grid_h: int, grid_w: int) -> Tensor:
    """(N, grid_h * map_h + grid_w * map_w): what each cell weighs in each row of bins, then in each column."""
    rows = _axis_weights(boxes[:, 0], boxes[:, 2], map_h, grid_h)
    columns = _axis_weights(boxes[:, 1], boxes[:, 3], map_w, grid_w)
    if flips is not None:
        columns = torch.where(flips[:, None, None], columns.flip(1), columns)
    return torch.cat([rows.flatten(1), columns.flatten(1)], 1)


def _axis_weights(low: Tensor, high: Tensor, cells: int, bins: int) -> Tensor:
    """(N, bins, cells): each bin is the mean of ceil(its length in cells) points between two cells each."""
    start, length = low * cells, (high * cells - low * cells) / bins
    count = length.ceil()[:, None, None]
    point = torch.arange(-(-cells // bins), device=low.device)
    at = (
        start[:, None, None]
        - 0.5
        + length[:, None, None] * (torch.arange(bins, device=low.device)[:, None] + (point + 0.5) / count)
    )
    near = 1 - (at.clamp(0, cells - 1)[..., None] - torch.arange(cells, device=low.device)).abs()
    return (near.clamp(0) * (point < count)[..., None]).sum(2) / count


def crop_maps(maps: Tensor, boxes: Tensor, flips: Tensor, grid_h: int, grid_w: int) -> Tensor:
    """By torchvision's roi_align."""
    size = torch.tensor([maps.shape[2], maps.shape[1]] * 2, device=maps.device)
    index = torch.arange(len(maps), device=maps.device)[:, None]
    rois = torch.cat([index, boxes[:, [1, 0, 3, 2]] * size], 1)
    cropped = roi_align(maps[:, None], rois, (grid_h, grid_w), aligned=True)[:, 0]
    return torch.where(flips[:, None, None], cropped.flip(2), cropped)


def score(maps: Tensor, mask: Tensor, partner: Tensor) -> Tensor:
    """(N, 2): own and other."""
    maps = maps / maps.sum((1, 2), keepdim=True)
    return torch.stack([(maps * ~mask).sum((1, 2)), (maps[partner] * mask).sum((1, 2))], 1)


def targets(labels: Tensor, partner: Tensor, own: Tensor, other: Tensor, classes: int, smoothing: float) -> Tensor:
    out = torch.full((len(labels), classes), smoothing / classes, device=labels.device)
    sides, weights = torch.stack([labels, labels[partner]], 1), torch.stack([own, other], 1)
    return out.scatter_add_(1, sides, (1 - smoothing) * weights)


def relabel_pool(ids: Tensor, scores: Tensor, weights: Tensor, classes: int) -> Tensor:
    height = ids.shape[2]
    cells = weights[:, :height, None] * weights[:, None, height:]
    logits = torch.zeros(len(ids), classes, device=ids.device)
    return logits.scatter_add_(1, ids.flatten(1), (cells[:, None] * scores.float()).flatten(1))


def relabel_softmax(logits: Tensor) -> Tensor:
    return logits.softmax(1)


def relabel_mix(labels: Tensor, partner: Tensor, own: Tensor, other: Tensor, smoothing: float) -> Tensor:
    mixed = own[:, None] * labels + other[:, None] * labels[partner]
    return (1 - smoothing) * mixed + smoothing / labels.shape[1]


def token_labels(
    ids: Tensor, scores: Tensor, weights: Tensor, mask: Tensor, partner: Tensor, classes: int
) -> tuple[Tensor, Tensor]:
    """The k likeliest classes of every token of whoever shows there, (N, T, k), among those the map has there."""
    n, k, height, width = ids.shape
    grid_h, grid_w = mask.shape[1:]
    dense = torch.zeros(n, classes, height, width, device=ids.device).scatter_(1, ids, scores.float())
    rows = weights[:, : grid_h * height].reshape(n, 1, grid_h, height)
    columns = weights[:, grid_h * height :].reshape(n, 1, grid_w, width)
    logits = (rows @ dense @ columns.transpose(2, 3)).flatten(2).transpose(1, 2)
    logits = torch.where(mask.flatten(1)[..., None], logits[partner], logits)
    values, best = torch.where(logits != 0, logits.softmax(2), 0.0).topk(k, 2)
    return best, values
