"""The canary: what op.py rests on in DALI. Should an upgrade turn it red, DALI_TOKENMIX_FALLBACK=1 serves meanwhile."""

from __future__ import annotations

import gc
import resource
import weakref

import numpy as np
import pytest
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

from dali_tokenmix import op
from dali_tokenmix.runtime.arrays import View


def built(define, batch_size=4, **options):
    pipeline = Pipeline(batch_size, 2, None, seed=5, **options)
    with pipeline:
        pipeline.set_outputs(*define())
    pipeline.build()
    return pipeline


def noise(shape=(8, 6, 3)):
    return fn.random.uniform(range=[0, 255], shape=list(shape), dtype=types.UINT8)


@pytest.fixture(params=["whole batch", "fallback"])
def operator(request, monkeypatch):
    """Both operators behind op.py."""
    monkeypatch.setenv(op.FALLBACK, "1" if request.param == "fallback" else "0")
    return request.param


def test_dali_still_has_the_whole_batch_operator():
    assert op._operator() is not None


def test_fallback_is_taken_when_asked_for(monkeypatch):
    monkeypatch.setenv(op.FALLBACK, "1")
    assert not op.whole_batch_available()


def test_host_sees_the_batch_and_its_outputs_reach_the_graph(operator):
    def doubled(batch):
        return batch.astype(np.int32) * 2, np.arange(len(batch), dtype=np.float32)

    def graph():
        source = noise()
        return source, *op.host(doubled, source, outputs=2)

    source, twice, count = built(graph).run()
    np.testing.assert_array_equal(twice.as_array(), source.as_array().astype(np.int32) * 2)
    np.testing.assert_array_equal(count.as_array(), [0, 1, 2, 3])


def ragged():
    """(1..9, 5) uint8 noise, a height a sample."""
    return fn.random.uniform(
        range=[0, 255],
        shape=fn.stack(fn.random.uniform(values=list(range(1, 10)), dtype=types.INT32), 5),
        dtype=types.UINT8,
    )


def test_samples_of_any_size_become_a_batch(operator):
    def sums(samples, numbers):
        assert len({len(sample) for sample in samples}) > 1
        return np.stack(
            [[sample.sum(dtype=np.int64), len(sample), number] for sample, number in zip(samples, numbers, strict=True)]
        )

    def graph():
        source = ragged()
        number = fn.random.uniform(range=[0, 99], dtype=types.INT32)
        return source, number, op.of_any_size(sums, source, number, layout="C")

    pipeline = built(graph)
    for _ in range(20):
        source, numbers, found = pipeline.run()
        assert found.layout() == "C"
        for k, row in enumerate(found.as_array()):
            sample = source.at(k)
            assert row.tolist() == [sample.sum(dtype=np.int64), len(sample), numbers.at(k)]


def test_what_becomes_of_ragged_samples_is_not_copied(monkeypatch):
    monkeypatch.setenv(op.FALLBACK, "0")
    made, seen = [], []

    def graph():
        batch = op.of_any_size(lambda samples: made.append(np.zeros((4, 3))) or made[-1], ragged(), layout="C")
        return (op.in_place(lambda view: seen.append(view.address), batch),)

    pipeline = built(graph)
    pipeline.run()
    assert seen[0] == made[0].ctypes.data


def test_an_error_over_ragged_samples_arrives_and_the_pipeline_goes_on(operator):
    calls = []

    def fails_once(samples):
        calls.append(len(samples))
        if len(calls) == 1:
            raise ValueError("only this once")
        return np.zeros((len(samples), 2), np.float32)

    pipeline = built(lambda: (op.of_any_size(fails_once, ragged(), layout="C"),), prefetch_queue_depth=1)
    with pytest.raises(RuntimeError, match="only this once"):
        pipeline.run()
    assert pipeline.run()[0].as_array().shape == (4, 2)


def test_in_place_hands_on_the_address_that_came_in(monkeypatch):
    monkeypatch.setenv(op.FALLBACK, "0")
    seen = []
    pipeline = built(lambda: [op.in_place(lambda images: seen.append(images.address), noise())])
    left = [pipeline.run()[0] for _ in range(5)]
    assert [outputs.as_tensor().data_ptr() for outputs in left] == seen[:5]
    assert len(set(seen[:5])) == 5  # held batches are not written to again


def test_in_place_allocates_no_second_batch(monkeypatch):
    monkeypatch.setenv(op.FALLBACK, "0")
    batch_bytes, shape = 64 * 512 * 512 * 3, (512, 512, 3)

    def peak(define):
        pipeline = built(define, batch_size=64, prefetch_queue_depth=1)
        for _ in range(3):
            pipeline.run()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    without = peak(lambda: [noise(shape)])
    assert peak(lambda: [op.in_place(lambda images: None, noise(shape))]) - without < batch_bytes / 2


def test_in_place_writes_are_what_comes_out(operator):
    def blacken(images: View) -> None:
        array = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * 576).from_address(images.address))
        array[:] = 7

    (out,) = built(lambda: [op.in_place(blacken, fn.copy(noise()))]).run()
    assert (out.as_array() == 7).all()


def test_layout_follows_the_images(operator):
    (out,) = built(lambda: [op.in_place(lambda images: None, fn.reinterpret(noise(), layout="HWC"))]).run()
    assert out.layout() == ("HWC" if operator == "whole batch" else out.layout())


def test_new_output_has_its_own_memory(operator):
    def fill(make, images: View):
        one, two = make((images.shape[0], 5), "float32"), make((4, 2, 3), "int32")
        one[:] = np.arange(20).reshape(4, 5)
        two[:] = np.arange(24).reshape(4, 2, 3)
        return one, two

    pipeline = built(lambda: op.new_outputs(fill, noise(), outputs=2))
    held = [[output.as_tensor() for output in pipeline.run()] for _ in range(4)]
    for one, two in held:
        np.testing.assert_array_equal(np.asarray(one).ravel(), np.arange(20, dtype=np.float32))
        np.testing.assert_array_equal(np.asarray(two).ravel(), np.arange(24, dtype=np.int32))


def test_an_exception_reaches_the_user_with_its_text(operator):
    def refuse(batch):
        raise ValueError("labels must be in [0, num_classes=3), got 9")

    with pytest.raises(RuntimeError, match=r"labels must be in \[0, num_classes=3\), got 9"):
        built(lambda: op.host(refuse, noise())).run()


def test_the_callback_is_freed_with_its_pipeline(operator):
    class Callback:
        def __call__(self, batch):
            return (np.ones(len(batch), np.float32),)

    def run_once():
        callback = Callback()
        built(lambda: op.host(callback, noise())).run()
        return weakref.ref(callback)

    alive = run_once()
    gc.collect()
    assert alive() is None
