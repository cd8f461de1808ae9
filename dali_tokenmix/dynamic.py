"""token_mix for DALI's dynamic mode (nvidia.dali.experimental.dynamic, ndd): on Batches, at once, in DALI's memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal

import numpy as np
import nvidia.dali.experimental.dynamic as ndd

from . import arguments, runtime, streams
from .checks import integer
from .label_maps import TokenTargets, crop_labels, token_grid, token_labels
from .labels import checked_maps, crop_maps, ids_or_rows, scored
from .mixing import drawn
from .op import empty
from .placing import needed, placed_by
from .plan import Plan, region_offsets
from .runtime.arrays import View, view
from .runtime.dlpack import view_of_capsule
from .runtime.images import Layout, images_of
from .supervision import check_labels
from .teacher_seen import as_taken, attention_seen, maps_seen, top_labels_seen


def token_mix(
    images: ndd.Batch,
    labels: Any,
    *,
    num_classes: int,
    mixer: Any,
    smoothing: float = 0.1,
    rng: ndd.random.RNG | None = None,
    seed: int | None = None,
    inplace: bool = False,
    layout: Layout | None = None,
    return_plan: bool = False,
    supervision: Literal["imagenet", "tokenmix", "relabel", "tokenlabeling"] = "imagenet",
    teacher: Any = None,
    label_maps: Any = None,
) -> tuple[Any, ...]:
    """Mixes a Batch of DALI's dynamic mode and makes its soft targets. Runs when it is called, in every EvalMode.

    Args:
        images: a Batch, uint8, float16 or float32; every sample (H, W, C) or (C, H, W), all of one shape, on the CPU or
            the GPU.
        labels: a Batch or an array on the CPU, for each sample a class id, () or (1,), a whole number in
            [0, num_classes); or a row of (num_classes,) numbers >= 0, soft or multi-hot labels, mixed as they are.
        num_classes: C of the targets.
        mixer: TokenMix(...), CutMix(...), MixUp(...) or Choice(...).
        smoothing: label smoothing in [0, 1].
        rng: what the draw comes from, an ndd.random.RNG(seed=...), as DALI's own random operators take it: each call
            goes on from the last one. None: the thread's default one, which ndd.random.set_seed(...) seeds.
        seed: instead of rng, of this one call, in [0, 2**64): equal seeds mix equally, as dtm.draw(..., seed) does. In
            a loop pass another one each time, or rng.
        inplace: False copies the images first. True spares that copy and changes the memory of `images` itself, and so
            every Batch that shares it, as an operator still to be evaluated (EvalMode.deferred) would see.
        layout: "NHWC" or "NCHW". Left out, the axis of 1, 3 or 4 is taken for the channels; where that leaves
            it open, or DALI's own layout says otherwise, an error asks for it.
        return_plan: also return the Plan: who was mixed with whom, and where.
        supervision: as in fn.token_mix.
        teacher: as in fn.token_mix; it looks at the clean images now. On a GPU this waits for what it says, and so does
            a mixer that looks at saliency.
        label_maps: for "tokenmix" the samples' activation maps, (N, gh, gw) >= 0, such as dtm.crop_maps() gives; for
            the other two (ids, scores), both (N, k, h, w), of LabelStore.topk(), or (ids, scores, boxes, flips) where
            crops are labelled: see dtm.token_labels(). Batches or arrays on the CPU.

    Returns Batches (images, targets) or (images, targets, plan); targets are (C,) float32 a sample on the images'
    device. With supervision="tokenlabeling" they are TokenTargets of three Batches.

    Raises TypeError or ValueError that names an argument, what it must be, and what it was.
    """
    num_classes = arguments.checked(
        num_classes=num_classes,
        mixer=mixer,
        smoothing=smoothing,
        inplace=inplace,
        return_plan=return_plan,
        layout=layout,
        supervision=supervision,
        teacher=teacher,
        label_maps=label_maps,
    )
    seed = _seed(rng, seed)
    if not isinstance(images, ndd.Batch):
        raise TypeError(f"images must be a Batch of dynamic mode, got {type(images).__name__}: see ndd.as_batch()")
    if images.batch_size == 0:
        raise ValueError("images must be at least one, got an empty Batch")
    size = arguments.common_size(np.array(images.shape), images.layout, layout)
    known = ids_or_rows(_on_cpu("labels", labels), num_classes)
    if len(known) != images.batch_size:
        raise ValueError(f"labels must be ({images.batch_size},), one for each of images, got {len(known)}")
    check_labels(supervision, known)
    with _on_stream_of(images) as stream:
        clean = ndd.as_tensor(images).evaluate()
        images_of(_view(clean, stream), size, layout)  # dtype and layout, before anything is drawn
        plan = drawn(mixer, len(known), size, seed)
        if needed(mixer):
            plan = _placed(plan, clean.torch(), layout, teacher)
        plan, given = _labels(plan, known, clean, num_classes, layout, supervision, teacher, label_maps)
        mixed = _own_memory(images, clean, stream, inplace)
        rows = view("plan", _to_device(images, plan.packed))
        shapes = tuple(region.shape for region in plan.regions)
        threads = None if stream is not None else ndd.EvalContext.current().num_threads
        whole = images_of(_view(mixed, stream), size, layout)
        runtime.apply_plan(whole, rows, shapes, region_offsets(shapes), threads=threads)
        targets = _targets(images, given, rows, num_classes, smoothing)
        result = _written(mixed, images.layout, stream)
    if inplace and type(images) is not ndd.Batch:
        # A captured loop makes what is asked of this Batch ahead of time, from clean pixels. As a plain one it is mixed
        # for whoever asks next, as in any other loop.
        images.__class__ = ndd.Batch
    return (result, targets, plan) if return_plan else (result, targets)


def _seed(rng: Any, seed: Any) -> int:
    """The seed itself, or the next one of the generator: 2 draws of 32 bits, which is all that a captured loop sees."""
    if seed is not None:
        if rng is not None:
            raise ValueError("rng and seed are two sources of one draw: pass one of them")
        return integer("seed", seed, at_least=0, at_most=2**64 - 1)
    if rng is None:
        untyped: Any = ndd.random
        rng = untyped.get_default_rng()
    if not isinstance(rng, ndd.random.RNG):
        raise TypeError(f"rng must be an ndd.random.RNG, got {rng!r}: rng=ndd.random.RNG(seed=...), or seed=...")
    low, high = rng(), rng()
    return int(low | high << 32)


def _labels(
    plan: Plan,
    known: np.ndarray,
    clean: Any,
    num_classes: int,
    layout: Layout | None,
    supervision: str,
    teacher: Any,
    label_maps: Any,
) -> tuple[Plan, tuple[np.ndarray, ...]]:
    """The plan with its label weights, and what targets are made of: ids or rows, and the labels of tokens."""
    if supervision == "imagenet":
        return plan, (known,)
    shapes = tuple(region.shape for region in plan.regions)
    if supervision == "tokenmix":
        if label_maps is not None:
            return scored(plan, checked_maps("label_maps", _on_cpu("label_maps", label_maps), len(known))), (known,)
        maps = maps_seen(teacher, clean.torch(), known, layout).cpu().numpy()
        whole = np.tile([0.0, 0.0, 1.0, 1.0], (len(known), 1))
        cut = crop_maps(maps, whole, np.zeros(len(known), bool), token_grid(shapes, plan.image_size).grid)
        return scored(plan, cut), (known,)
    if label_maps is not None:
        if not isinstance(label_maps, tuple | list) or len(label_maps) not in (2, 4):
            raise TypeError(
                f"label_maps must be (ids, scores) or (ids, scores, boxes, flips), got {label_maps!r:.60}: a "
                "LabelStore has them, see store.topk(index)"
            )
        top: Sequence[Any] = [_on_cpu("label_maps", part) for part in label_maps]
    else:
        top = [part.cpu().numpy() for part in top_labels_seen(teacher, clean.torch(), layout, num_classes)]
    soft = crop_labels(*top[:3], num_classes=num_classes)
    if len(soft) != len(known):
        raise ValueError(f"label_maps must be of {len(known)} samples, as images are, got {len(soft)}")
    if supervision == "relabel":
        return plan, (soft,)
    return plan, (soft, *token_labels(plan, *top, num_classes=num_classes))


def _placed(plan: Plan, clean: Any, layout: Layout | None, teacher: Any) -> Plan:
    """The plan placed by what is seen in the clean images, a tensor; the host waits for that."""

    @cache
    def look(maker: Any) -> np.ndarray:
        maps = attention_seen(teacher, clean, layout) if maker is None else maker(as_taken(clean, layout))
        found: np.ndarray = maps.cpu().numpy()
        return found

    return placed_by(lambda shape: look(shape.maker), plan)


def _targets(
    images: ndd.Batch, given: tuple[np.ndarray, ...], rows: View, num_classes: int, smoothing: float
) -> ndd.Batch | TokenTargets:
    """Batches on the images' device, of class ids or rows of labels, and of the labels of tokens."""
    labels = view("labels", _to_device(images, given[0]))
    out = empty(images.device.device_type, (len(given[0]), num_classes), "float32")
    fill = runtime.targets if given[0].ndim == 1 else runtime.mix_labels
    fill(labels, rows, view("targets", out), smoothing=smoothing)
    # CuPy's memory is free for reuse as soon as its owner lets go, whatever stream still reads it; DALI's is not.
    dense = ndd.as_batch(out) if images.device.device_type == "cpu" else ndd.batch(ndd.as_batch(out))
    tokens = [ndd.as_batch(part).to_device(images.device) for part in given[1:]]
    return TokenTargets(dense, *tokens) if tokens else dense


def _own_memory(images: ndd.Batch, clean: Any, stream: int | None, inplace: bool) -> Any:
    """The Tensor to mix: `clean`, or its copy if the caller's Batch must stay as it is."""
    shared = _view(clean, stream).address == _view(images.tensors[0].evaluate(), stream).address
    if not shared and inplace:
        raise ValueError(
            "images must lie side by side in memory to be mixed with inplace=True, and these samples are scattered: "
            "leave inplace out, which copies them"
        )
    if not shared or inplace:
        return clean
    return ndd.as_tensor(ndd.batch(ndd.as_batch(clean, layout=images.layout))).evaluate()


def _on_cpu(name: str, values: Any) -> np.ndarray:
    """A Batch or array as an array. Raises ValueError for one on a GPU."""
    if isinstance(values, ndd.Batch):
        if values.device.device_type == "cpu":
            if len(set(values.shape)) > 1:
                raise ValueError(f"{name} must all have one shape, got {sorted(set(values.shape))}")
            return np.asarray(ndd.as_tensor(values))
    elif not hasattr(values, "__cuda_array_interface__"):
        return np.asarray(values)
    raise ValueError(f"{name} must be on the CPU, where they are checked, got a {type(values).__name__} on the GPU")


def _on_stream_of(images: ndd.Batch) -> AbstractContextManager[int | None]:
    """A context in which kernels go onto DALI's stream for these images, whose number it gives; None on the CPU."""
    if images.device.device_type == "cpu":
        return nullcontext(None)
    context = ndd.EvalContext.current()
    if context.device_id != images.device.device_id:
        raise ValueError(
            f"images are on GPU {images.device.device_id}, and dynamic mode works on GPU {context.device_id}: call "
            f"this inside `with ndd.EvalContext(device_id={images.device.device_id})`"
        )
    return streams.current_cupy(context.cuda_stream.handle, context.device_id)


def _view(tensor: Any, stream: int | None) -> View:
    """A Tensor's memory, which `stream` has waited for."""
    return view_of_capsule(tensor.__dlpack__(stream=stream))


def _to_device(images: ndd.Batch, array: np.ndarray) -> Any:
    """The array itself, or a copy of it on the GPU where the images are: scratch, on the current stream."""
    if images.device.device_type == "cpu":
        return array
    from .runtime.cuda import to_device

    return to_device(array)


class _Written:
    """A Tensor whose memory has changed since DALI recorded that it is ready: DALI takes it as new."""

    def __init__(self, tensor: Any, stream: int | None) -> None:
        self._tensor, self._stream = tensor, stream

    def __dlpack__(self, **_: Any) -> Any:
        return self._tensor.__dlpack__(stream=self._stream)

    def __dlpack_device__(self) -> Any:
        return self._tensor.__dlpack_device__()


def _written(tensor: Any, layout: str | None, stream: int | None) -> ndd.Batch:
    """A Batch on the Tensor's memory, as it is once all is done that the stream holds now."""
    return ndd.as_batch(_Written(tensor, stream), layout=layout)
