"""benchmarks/embedded.py: a quick run, and what it holds fn.token_mix against."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from tests.test_bench_kernels import module, quick

__all__ = ["module"]  # a fixture
OPTIONS = argparse.Namespace(device="cpu", batch_size=4, workers=2, quick=False)


def test_a_quick_run_has_every_way_in_every_form(tmp_path):
    rows, printed = quick("embedded", tmp_path)
    forms = ("uint8 NHWC", "float16 NCHW", "float32 NCHW")
    assert {row["case"] for row in rows} == {*forms, "the whole run"}
    for form in forms:
        times = {row["metric"]: float(row["p50"]) for row in rows if row["case"] == form}
        assert len([name for name in times if name.startswith("time, ") and "CPU" not in name]) == 8
        assert all(value > 0 for name, value in times.items() if name.startswith("time, "))
        assert "beyond, token_mix beyond the mixing" in times
    assert "MISSED" not in printed
    assert "holds" not in printed


@pytest.mark.parametrize(("ours", "word"), [(4.2, "holds "), (4.5, "MISSED")])
def test_the_verdict_is_on_what_the_operators_take(module, tmp_path, capsys, ours, word):
    embedded, results = module("embedded"), module("results")
    times = dict.fromkeys([*embedded.WAYS, "by hand"], 4.0) | {"token_mix, in place": ours, "stock": 1.0}
    seconds = {name: np.full((2, 5), 1e-3 * value) for name, value in times.items()}
    embedded.judge("uint8 NHWC", seconds, OPTIONS, results.Results("embedded", "cpu"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "<=" in line]
    assert word in line
    assert f"{ours - 4:.2f} ms <= 0.3" in line


def test_ways_that_disagree_are_not_timed(module, monkeypatch):
    embedded = module("embedded")
    monkeypatch.setattr(embedded, "MIXER", embedded.dtm.TokenMix(prob=0.0))
    pipelines = {name: embedded.pipeline(name, "uint8 NHWC", OPTIONS) for name in embedded.WAYS}
    with pytest.raises(AssertionError):
        embedded.check("uint8 NHWC", pipelines, OPTIONS)
