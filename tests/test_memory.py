"""Memory that is used again, and the CPU library's own threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import dali_tokenmix as dtm
from dali_tokenmix import reference
from dali_tokenmix.runtime import host, pool
from tests.helpers import provenance


def test_memory_is_given_out_again_once_nobody_holds_it():
    source = pool.Pool()
    first = source.take((4, 5), "float32")
    address = first.ctypes.data
    part = first[2:]
    del first
    second = source.take((4, 5), "float32")
    assert second.ctypes.data != address  # a view holds it
    del part
    assert source.take((2, 10), "int32").ctypes.data == address


def test_a_tensor_holds_memory_as_long_as_it_lives():
    source = pool.Pool()
    array = source.take((64,), "uint8")
    array[:] = 7
    tensor = torch.from_dlpack(array)[3:]
    address = array.ctypes.data
    del array
    others = [source.take((64,), "uint8") for _ in range(5)]
    for other in others:
        other[:] = 9
    assert (tensor == 7).all()
    del tensor
    assert source.take((64,), "uint8").ctypes.data == address


def test_memory_of_a_busy_hour_is_not_kept():
    source = pool.Pool()
    held = [source.take((1000,), "uint8") for _ in range(50)]
    assert len(source._memory) == 50
    del held
    source.take((1000,), "uint8")
    assert len(source._memory) <= pool.SPARE + 2


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("samples", [1, 2, 7, 64])
def test_every_row_is_worked_on_once(threads, samples):
    """An exchange done twice would undo itself."""
    plan = dtm.draw(dtm.TokenMix(8, mode="elem"), samples, (40, 24), seed=samples)
    images = provenance(samples, 40, 24)
    for _ in range(20):
        np.testing.assert_array_equal(dtm.apply(plan, images.copy(), threads=threads), reference.mixed(plan, images))


def test_launches_from_many_threads_share_the_helpers():
    wrong = []

    def work(seed):
        plan = dtm.draw(dtm.TokenMix(8), 16, 64, seed=seed)
        images = provenance(16, 64, 64)
        expected = reference.mixed(plan, images)
        for threads in (1, 2, 3, 4) * 10:
            if not (dtm.apply(plan, images.copy(), threads=threads) == expected).all():
                wrong.append((seed, threads))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_the_library_with_avx2_is_taken_only_where_the_processor_has_it(monkeypatch, tmp_path):
    for flags, expected in (("fpu avx avx2 bmi1", True), ("fpu avx avx2x bmi1", False), ("fpu avx2", False)):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
        monkeypatch.setattr(host, "CPUINFO", tmp_path / "cpuinfo")
        assert host.has_avx2() is expected
    monkeypatch.setattr(host, "CPUINFO", tmp_path / "none")
    assert not host.has_avx2()


def test_memory_is_aligned_as_jax_wants_it():
    source = pool.Pool()
    held = [source.take((size,), "uint8") for size in (1, 63, 64, 1000, 150_528, 38_535_168)]
    assert [array.ctypes.data % pool.ALIGNMENT for array in held] == [0] * 6
    assert [array.nbytes for array in held] == [1, 63, 64, 1000, 150_528, 38_535_168]
