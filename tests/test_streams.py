"""DALI's stream and buffers in a callback: the contract on the CPU, and on a GPU what breaking it would corrupt."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

import dali_tokenmix as dtm
from dali_tokenmix import op, streams
from dali_tokenmix.runtime.dlpack import view_of_capsule

STREAM = 0x7F00DEAD


class Recorder:
    """What DALI hands over or a library gives back, in Python: a real capsule, and a note of the stream asked for."""

    def __init__(self, name, log):
        self.name, self.log, self.array = name, log, np.zeros((2, 3), np.float32)

    def __dlpack__(self, *, stream="not given"):
        self.log.append((self.name, stream))
        return self.array.__dlpack__()


@pytest.fixture
def log(monkeypatch):
    """The events of streams.call(), with contexts that note stream and device and need no driver."""
    events = []

    def noting(library):
        @contextlib.contextmanager
        def current(stream, device):
            events.append((f"{library} begins", stream, device))
            yield
            events.append((f"{library} ends", stream, device))

        return current

    monkeypatch.setattr(streams, "CURRENT", {name: noting(name) for name in streams.CURRENT})
    monkeypatch.setattr(streams, "device_of_capsule", lambda capsule: 3)
    return events


@pytest.mark.parametrize("library", ["cupy", "torch"])
def test_work_is_on_dalis_stream_and_both_hand_overs_name_it(log, library):
    def work(*capsules):
        log.append("work")
        assert [view_of_capsule(capsule).shape for capsule in capsules] == [(2, 3), (2, 3)]
        return capsules[0], Recorder("out", log)

    given = streams.call(work, STREAM, [Recorder("a", log), Recorder("b", log)], library)
    assert log == [
        ("a", STREAM),
        ("b", STREAM),
        (f"{library} begins", STREAM, 3),
        "work",
        ("out", STREAM),
        (f"{library} ends", STREAM, 3),
    ]
    assert [view_of_capsule(capsule).shape for capsule in given] == [(2, 3), (2, 3)]


def test_on_the_cpu_no_stream_is_named_and_none_is_set(log):
    streams.call(lambda capsule: [np.ones(2)], None, [Recorder("a", log)])
    assert log == [("a", None)]


def test_an_input_is_handed_on_as_the_capsule_that_came_in(log):
    came = []
    (given,) = streams.call(lambda *capsules: came.extend(capsules) or capsules[:1], STREAM, [Recorder("a", log)])
    assert given is came[0]


def test_cupys_view_of_a_stream_is_that_stream():
    pytest.importorskip("cupy")
    from dali_tokenmix.runtime.cuda import external_stream

    assert external_stream(STREAM).ptr == STREAM


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_cupys_view_of_a_stream_is_not_deprecated():
    pytest.importorskip("cupy")
    from dali_tokenmix.runtime.cuda import external_stream

    external_stream(STREAM)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_operator_calls_with_a_stream_on_the_gpu_only(monkeypatch, device):
    """The callbacks that DALI gets, called as jax_function.h calls them."""
    calls, made = [], []
    monkeypatch.setattr(streams, "call", lambda *arguments: calls.append(arguments) or ("capsule",))

    class Operator:
        def __init__(self, function, **options):
            made.append((function, options))

        def __call__(self, *inputs):
            return ["node"]

    monkeypatch.setattr(op, "_operator", lambda: Operator)
    monkeypatch.setenv(op.FALLBACK, "0")
    op._operator_of("work", None, ["input"], device, 1, "torch")
    function, options = made[0]
    assert options == {"device": device, "num_outputs": 1}
    objects = ["a", "b"]
    assert function(*([STREAM] if device == "gpu" else []), *objects) == ("capsule",)
    assert calls == [("work", STREAM if device == "gpu" else None, ("a", "b"), "torch")]


# What follows runs on a GPU only.

SLOW = 200_000_000  # clock cycles: about a tenth of a second


def slowly(images):
    """The images brightened by one, after the stream has been busy for a while."""

    def work(batch):
        torch.cuda._sleep(SLOW)
        return (batch + 1,)

    return op.torch_function(work, images)[0]


def on_gpu(define, batch_size=8, **options):
    pipeline = Pipeline(batch_size, 2, 0, seed=7, **options)
    with pipeline:
        pipeline.set_outputs(*define())
    pipeline.build()
    return pipeline


def noise():
    return fn.random.uniform(range=[0, 200], shape=[64, 64, 3], dtype=types.UINT8).gpu()


def mixed(images, **options):
    labels = fn.constant(idata=[1], shape=[1])
    return dtm.fn.token_mix(images, labels, num_classes=3, mixer=dtm.TokenMix(8), seed=1, layout="NHWC", **options)


@pytest.mark.gpu
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("policy", ["PER_BACKEND", "PER_OPERATOR"])
def test_mixing_waits_on_the_device_for_what_made_the_images(inplace, policy):
    """A long kernel before the callback: on another stream, the mix would read images that are not there yet."""
    from nvidia.dali import StreamPolicy

    def graph():
        clean = noise()
        bright, _, plan = mixed(slowly(clean), inplace=inplace, return_plan=True)
        return clean, bright, plan["partner"], plan["mask"]

    pipeline = on_gpu(graph, exec_dynamic=True, stream_policy=getattr(StreamPolicy, policy))
    for _ in range(4):
        clean, bright, partner, mask = (output.as_cpu().as_array() for output in pipeline.run())
        shown = mask.repeat(8, 1).repeat(8, 2)[..., None].astype(bool)
        np.testing.assert_array_equal(bright, np.where(shown, clean[partner.reshape(-1)] + 1, clean + 1))


@pytest.mark.gpu
def test_held_outputs_stay_what_they_are_for_a_consumer_on_another_stream():
    def graph():
        images, targets = mixed(noise())
        return images, targets

    pipeline, side, held = on_gpu(graph), torch.cuda.Stream(), []
    for _ in range(20):
        images, targets = pipeline.run()
        with torch.cuda.stream(side):
            torch.cuda._sleep(SLOW // 20)  # late, while DALI makes the next batches
            held.append((torch.from_dlpack(images.as_tensor()).clone(), torch.from_dlpack(targets.as_tensor()).clone()))
    side.synchronize()
    expected = on_gpu(graph)
    for images, targets in held:
        same_images, same_targets = (output.as_cpu().as_array() for output in expected.run())
        np.testing.assert_array_equal(images.cpu().numpy(), same_images)
        np.testing.assert_array_equal(targets.cpu().numpy(), same_targets)


@pytest.mark.gpu
def test_callbacks_do_not_wait_for_the_device():
    """Each returns while the stream is still busy; torch would raise where it has to wait."""
    spent, call = [], streams.call

    def timed(*arguments):
        torch.cuda.set_sync_debug_mode("error")
        start = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            spent.append(time.perf_counter() - start)
            torch.cuda.set_sync_debug_mode("default")

    pipeline = on_gpu(lambda: mixed(slowly(noise())), prefetch_queue_depth=1)
    pipeline.run()  # compiles kernels
    torch.cuda.synchronize()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(streams, "call", timed)
        start = time.perf_counter()
        pipeline.run()[0].as_cpu()
        whole = time.perf_counter() - start
    assert spent
    assert max(spent) < whole / 4


@pytest.mark.gpu
def test_in_place_is_in_place_on_the_gpu():
    seen = []
    pipeline = on_gpu(lambda: [op.in_place(lambda images: seen.append(images.address), noise())])
    outputs = [pipeline.run()[0] for _ in range(4)]
    assert [output.as_tensor().data_ptr() for output in outputs] == seen[:4]


@pytest.mark.gpu
def test_mixing_allocates_nothing():
    import cupy

    pipeline = on_gpu(lambda: [op.in_place(lambda images: None, noise()), mixed(noise(), inplace=True)[0]])
    pipeline.run()
    pool = cupy.get_default_memory_pool()
    before = pool.total_bytes(), torch.cuda.memory_allocated()
    for _ in range(10):
        pipeline.run()
    assert (pool.total_bytes(), torch.cuda.memory_allocated()) == before


@pytest.mark.gpu
def test_the_last_gpu_is_used_where_it_is_asked_for():
    last = torch.cuda.device_count() - 1
    if last < 1:
        pytest.skip("one GPU")
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    plan = dtm.draw(dtm.TokenMix(8), 4, 32)
    expected = dtm.apply(plan, images.clone())
    assert torch.equal(dtm.apply(plan, images.to(f"cuda:{last}")).cpu(), expected)
    assert torch.cuda.current_device() == 0
