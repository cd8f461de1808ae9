"""Class activation maps: a linear head, made for pooled features, applied to each position of the feature grid."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

ACTIVATIONS = ("relu", "softmax")
CHUNK_BYTES = 2**26  # of dense logits, at most so many at a time, or one sample's if that is more


def ground_truth_maps(features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, activation: str) -> Tensor:
    """(N, h, w) float32 >= 0: for each sample the activation map of the one class its label names.

    Class activation maps are those of Zhou et al., arXiv 1512.04150, with the bias: A_c(y, x) = W_c . f(y, x) + b_c.

    Args:
        features: (N, K, h, w), any floating dtype and strides.
        weight, bias: (C, K) and (C,) of the linear head.
        labels: (N,) int64 in [0, C), on the device of the features.
        activation: "relu" is max(A_label, 0), made from one row of the head for each sample. "softmax" is the
            probability of the label among all classes at each position, which needs all rows: CHUNK_BYTES at a time.
    """
    if activation == "relu":
        return logit_maps(features, weight, bias, labels).relu_()
    parts = [
        logits.softmax(1).gather(1, ids[:, None, None].expand(-1, 1, logits.shape[2]))
        for logits, ids in _dense(features, weight, bias, labels)
    ]
    return torch.cat(parts).view(len(labels), *features.shape[2:])


def logit_maps(features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """(N, h, w) float32: W_label . f(y, x) + b_label; a gather of rows and one batched dot."""
    cells = features.flatten(2).float()
    maps = torch.baddbmm(bias[labels].float()[:, None, None], weight[labels].float()[:, None], cells)
    return maps.view(len(features), *features.shape[2:])


def top_k_maps(features: Tensor, weight: Tensor, bias: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k classes of highest logit at each position, best first: ids (N, k, h, w) int32 and logits, float32.

    The dense logits are made for a few samples at a time, CHUNK_BYTES at most, or one sample's C * h * w * 4 bytes.
    """
    found = [logits.topk(k, dim=1) for logits, _ in _dense(features, weight, bias, None)]
    shape = (len(features), k, *features.shape[2:])
    ids = torch.cat([part.indices for part in found]).to(torch.int32)
    return ids.view(shape), torch.cat([part.values for part in found]).view(shape)


def ordinary(values: Tensor, name: str) -> Tensor:
    """A copy for autograd to use, unlike what inference mode made. On the CPU, ValueError unless all is finite."""
    if values.device.type == "cpu" and not values.isfinite().all():
        raise ValueError(f"{name} of the teacher must be finite, got {int((~values.isfinite()).sum())} others")
    return values.clone()


def _dense(features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (n, C, h * w) float32 with their labels, a few samples at a time."""
    rows, offsets = weight.float(), bias.float()[:, None]
    samples = max(1, CHUNK_BYTES // (4 * len(weight) * features.shape[2] * features.shape[3]))
    for start in range(0, len(features), samples):
        cells = features[start : start + samples].flatten(2).float()
        ids = features.new_empty(0) if labels is None else labels[start : start + samples]
        yield torch.matmul(rows, cells).add_(offsets), ids
