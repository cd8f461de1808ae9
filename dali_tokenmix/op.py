"""The DALI operators: the only file that knows DALI's whole-batch Python operator, which is private API.

DALI's C++ operator `_JaxFunction` hands a callback one DLPack object an input, the whole uniform batch, without a
copy, and shares the capsules the callback returns. Where a DALI upgrade takes it away, or DALI_TOKENMIX_FALLBACK=1
is set, the documented `fn.python_function` serves: same results, with a copy in and out. tests/test_op.py is
the canary.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import count
from typing import Any

import numpy as np
from nvidia.dali import fn, ops
from nvidia.dali.data_node import DataNode

from . import streams
from .runtime.arrays import view
from .runtime.dlpack import view_of_capsule

FALLBACK = "DALI_TOKENMIX_FALLBACK"
Host = Callable[..., Sequence[np.ndarray]]


def host(function: Host, *inputs: DataNode, outputs: int = 1, layout: str | None = None) -> tuple[DataNode, ...]:
    """Runs function(*arrays) -> arrays on the CPU: read-only (N, ...) arrays in, `outputs` new ones out.

    layout: of a sample of the output, where there is one.
    """

    def on_batch(*capsules: Any) -> Sequence[Any]:
        arrays = function(*(np.from_dlpack(_Capsule(capsule)) for capsule in capsules))
        return [np.require(array, requirements=["C", "W"]) for array in arrays]

    return _operator_of(on_batch, function, inputs, "cpu", outputs, layout=layout)


def of_any_size(function: Callable[..., np.ndarray], *inputs: DataNode, layout: str) -> DataNode:
    """Runs function(*lists of samples) -> (N, ...) array on the CPU; the samples that go in may differ in shape.

    The whole-batch operator takes uniform batches only, and DALI's documented one copies what it gets. So that one runs
    the function, and what it hands on is a ticket, for which the other one gives out the array itself.
    """
    waiting: dict[int, np.ndarray] = {}
    tickets = count()

    def check_in(*batches: Sequence[np.ndarray]) -> list[np.ndarray]:
        ticket = next(tickets)
        waiting[ticket] = function(*batches)
        return [np.array([ticket])] * len(batches[0])

    def check_out(numbers: np.ndarray) -> Sequence[np.ndarray]:
        return (waiting.pop(int(numbers[0, 0])),)

    def copied(*batches: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(function(*batches))

    if not whole_batch_available():
        node: Any = fn.python_function(*inputs, function=copied, batch_processing=True, output_layouts=layout)
        return node
    numbers: Any = fn.python_function(*inputs, function=check_in, batch_processing=True)
    return host(check_out, numbers, layout=layout)[0]


def in_place(function: Callable[..., None], images: DataNode, *others: DataNode) -> DataNode:
    """Runs function(images, *others) on Views and hands the images' own memory on as the output.

    Whoever else reads the node `images` sees what function did to it, so nobody else should.
    """

    def on_batch(*capsules: Any) -> Sequence[Any]:
        function(*map(view_of_capsule, capsules))
        return capsules[:1]

    def on_copies(*arrays: Any) -> Sequence[Any]:
        function(*(view("batch", array) for array in arrays))
        return arrays[:1]

    return _operator_of(on_batch, on_copies, (images, *others), images.device, 1, hands_on=True)[0]


def in_place_on_host(
    function: Callable[..., Sequence[np.ndarray]], images: DataNode, *others: DataNode, outputs: int
) -> tuple[DataNode, ...]:
    """in_place() on the CPU with `outputs` new arrays behind the images: function(View, *arrays) -> arrays."""

    def on_batch(batch: Any, *capsules: Any) -> Sequence[Any]:
        made = function(view_of_capsule(batch), *(np.from_dlpack(_Capsule(capsule)) for capsule in capsules))
        return [batch, *made]

    def on_copies(batch: Any, *arrays: Any) -> Sequence[Any]:
        return [batch, *function(view("batch", batch), *arrays)]

    return _operator_of(on_batch, on_copies, (images, *others), "cpu", 1 + outputs, hands_on=True)


def new_outputs(function: Callable[..., Sequence[Any]], *inputs: DataNode, outputs: int = 1) -> tuple[DataNode, ...]:
    """Runs function(make, *inputs) -> arrays on Views; make(shape, dtype) gives it new arrays on the inputs' device."""
    device = inputs[0].device

    def on_batch(*capsules: Any) -> Sequence[Any]:
        return function(partial(empty, device), *map(view_of_capsule, capsules))

    def on_copies(*arrays: Any) -> Sequence[Any]:
        return function(partial(empty, device), *(view("batch", array) for array in arrays))

    return _operator_of(on_batch, on_copies, inputs, device, outputs)


def torch_function(function: Callable[..., Sequence[Any]], *inputs: DataNode, outputs: int = 1) -> tuple[DataNode, ...]:
    """Runs function(*tensors) -> tensors on torch tensors that share the batches' memory, on DALI's stream."""
    import torch

    device = inputs[0].device

    def on_batch(*capsules: Any) -> Sequence[Any]:
        return [result.contiguous() for result in function(*map(torch.utils.dlpack.from_dlpack, capsules))]

    def on_copies(*arrays: Any) -> Sequence[Any]:
        results = [result.contiguous() for result in function(*map(torch.utils.dlpack.from_dlpack, arrays))]
        return [result.numpy() if device == "cpu" else _array_module(device).from_dlpack(result) for result in results]

    return _operator_of(on_batch, on_copies, inputs, device, outputs, "torch")


@cache
def _operator() -> type | None:
    """DALI's class for `_JaxFunction`, with the callback kept alive by the operator; None if DALI has it no more."""
    try:
        factory: Any = ops.python_op_factory  # type: ignore[attr-defined]
        base = factory("_JaxFunction", "_JaxFunction", "_JaxFunction", generated=False)
    except Exception:  # whatever a DALI without it raises, the fallback serves
        return None

    class WholeBatch(base):  # type: ignore[misc, valid-type]
        def __init__(self, function: Callable[..., Any], **arguments: Any) -> None:
            self.function = function
            super().__init__(function_id=id(function), **arguments)

    return WholeBatch


def inside_if() -> bool:
    """Whether the graph is being written inside a DALI `if`; False where a DALI keeps other books of it than 2.4."""
    try:
        from nvidia.dali import _conditionals

        # one entry of the stack is the graph itself
        return bool(_conditionals.conditionals_enabled() and _conditionals.this_condition_stack().stack_depth() > 1)
    except Exception:  # private API: tests/test_embedding.py is the canary
        return False


def whole_batch_available() -> bool:
    """False where the documented fallback is in use."""
    return os.environ.get(FALLBACK, "0") != "1" and _operator() is not None


def _operator_of(
    on_batch: streams.Work,
    on_copies: Callable[..., Sequence[Any]],
    inputs: Sequence[DataNode],
    device: str,
    outputs: int,
    library: str = "cupy",
    layout: str | None = None,
    hands_on: bool = False,
) -> tuple[DataNode, ...]:
    """on_batch(*capsules) by the whole-batch operator, or on_copies(*arrays) by the fallback.

    hands_on: the first output is the first input, changed.
    """
    layouts: dict[str, Any] = {} if layout is None else {"output_layouts": layout}
    if not whole_batch_available():
        first, *others = _per_sample(on_copies, inputs, device, outputs, layouts)
        return (_with_layout_of(inputs[0], first) if hands_on else first, *others)

    def on_gpu(stream: int, *objects: Any) -> tuple[Any, ...]:
        return streams.call(on_batch, stream, objects, library)

    def on_cpu(*objects: Any) -> tuple[Any, ...]:
        return streams.call(on_batch, None, objects, library)

    operator = _operator()
    assert operator is not None  # whole_batch_available() says so
    nodes = operator(on_gpu if device == "gpu" else on_cpu, device=device, num_outputs=outputs, **layouts)(*inputs)
    return (nodes,) if isinstance(nodes, DataNode) else tuple(nodes)


def _per_sample(
    function: Callable[..., Any], inputs: Sequence[DataNode], device: str, outputs: int, layouts: dict[str, Any]
) -> tuple[DataNode, ...]:
    """The documented operator: lists of samples in, stacked to a batch, and lists out."""
    numpy = _array_module(device)

    def callback(*batches: Sequence[Any]) -> Any:
        arrays = function(*(numpy.stack(batch) for batch in batches))
        lists = tuple([array[k, ...] for k in range(len(array))] for array in arrays)  # [k, ...]: arrays, not scalars
        return lists if outputs > 1 else lists[0]

    nodes: Any = fn.python_function(
        *inputs, function=callback, num_outputs=outputs, device=device, batch_processing=True, **layouts
    )
    return (nodes,) if isinstance(nodes, DataNode) else tuple(nodes)


def _with_layout_of(like: DataNode, node: DataNode) -> DataNode:
    """The node with DALI's layout of `like`, which only a batch knows: joined to nothing, cut from that."""
    nothing: Any = fn.slice(like, start=[0], shape=[0], axes=[0])
    joined: Any = fn.cat(nothing, node, axis=0)
    return joined


def empty(device: str, shape: tuple[int, ...], dtype: str) -> Any:
    """A new array, of NumPy or on CuPy's current device."""
    return _array_module(device).empty(shape, dtype)


def _array_module(device: str) -> Any:
    if device == "cpu":
        return np
    import cupy

    return cupy


class _Capsule:
    """What np.from_dlpack asks for, around a capsule."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0
