"""What a Teacher, or what does as one, says of a batch of clean images: asked as it takes them, and checked."""

from __future__ import annotations

from typing import Any

from .label_maps import check_ids
from .runtime.images import Layout, find_layout


def maps_seen(teacher: Any, batch: Any, labels: Any, layout: Layout | None) -> Any:
    """(N, h, w) float32 tensor: a Teacher's activation maps of a batch of clean images."""
    return _activations(teacher(as_taken(batch, layout), labels), len(batch))


def attention_seen(teacher: Any, batch: Any, layout: Layout | None) -> Any:
    """(N, h, w) float32 tensor: what a Teacher attends to in a batch of clean images."""
    return _attention(teacher.attention(as_taken(batch, layout)), len(batch))


def maps_and_attention_seen(teacher: Any, batch: Any, labels: Any, layout: Layout | None) -> tuple[Any, Any]:
    """Both, in one pass of the model where the teacher can do that."""
    if not hasattr(teacher, "maps_and_attention"):
        return maps_seen(teacher, batch, labels, layout), attention_seen(teacher, batch, layout)
    maps, attention = teacher.maps_and_attention(as_taken(batch, layout), labels)
    return _activations(maps, len(batch)), _attention(attention, len(batch))


def top_labels_seen(teacher: Any, batch: Any, layout: Layout | None, num_classes: int) -> tuple[Any, Any]:
    """(N, k, h, w) int32 ids and float16 scores: a Teacher's label maps of a batch of clean images."""
    ids, scores = (_given("topk", part, len(batch), 4) for part in teacher.topk(as_taken(batch, layout)))
    if ids.is_floating_point() or ids.shape != scores.shape:
        raise ValueError(
            f"topk of the teacher must be whole ids and scores, both (N, k, h, w), got {ids.dtype} of shape "
            f"{tuple(ids.shape)} and {scores.dtype} of shape {tuple(scores.shape)}"
        )
    rounded = scores.half()
    if rounded.device.type == "cpu":  # on a GPU, looking would be waiting
        check_ids("ids of the teacher", ids.numpy(), num_classes)
        if not rounded.isfinite().all():
            raise ValueError("scores of the teacher must be finite and at most 65504")
    return ids.int(), rounded


def as_taken(batch: Any, layout: Layout | None) -> Any:
    """A view of a batch as a Teacher takes it: uint8 as (N, H, W, 3), floating as (N, 3, H, W)."""
    found = layout or find_layout(tuple(batch.shape), None)
    if batch.is_floating_point():
        return batch.permute(0, 3, 1, 2) if found == "NHWC" else batch
    return batch.permute(0, 2, 3, 1) if found == "NCHW" else batch


def _activations(result: Any, samples: int) -> Any:
    maps = _given("maps", result, samples, 3).float()
    if maps.device.type == "cpu" and not ((maps >= 0) & (maps < float("inf"))).all():
        raise ValueError(f"maps of the teacher must be finite and >= 0, got {maps.min()} to {maps.max()}")
    return maps


def _attention(result: Any, samples: int) -> Any:
    maps = _given("attention", result, samples, 3).float()
    if maps.device.type == "cpu" and not maps.isfinite().all():
        raise ValueError(f"attention of the teacher must be finite, got {maps.min()} to {maps.max()}")
    return maps


def _given(name: str, result: Any, samples: int, dimensions: int) -> Any:
    """A teacher's tensor, without its history. Raises ValueError unless it has a row for each sample."""
    if getattr(result, "ndim", 0) != dimensions or len(result) != samples or 0 in result.shape:
        form = tuple(result.shape) if hasattr(result, "shape") else type(result).__name__
        raise ValueError(
            f"{name} of the teacher must be a tensor of {dimensions} dimensions, {samples} samples, got {form}"
        )
    return result.detach()
