"""benchmarks/plot.py draws what the CSV files have, and says what it leaves out."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
from PIL import Image

from tests.test_bench_kernels import module

__all__ = ["module"]  # a fixture
pytest.importorskip("matplotlib")
RATES = {"Loader, TokenMix": 1600.0, "torchvision v1": 900.0, "decode, DALI": 2900.0, "read, DALI": 80000.0}
BY_WORKERS = {"Loader, TokenMix": (800.0, 1600.0), "torchvision v1": (450.0, 900.0)}


@pytest.fixture
def results(module):
    return module("results").Results


def throughput(results, rate="images/s", ratio="ratio to torchvision v1", workers="threads"):
    made = results("throughput", "cpu")
    for name, value in RATES.items():
        made.add(name, rate, "images/s", value * np.array([0.9, 1, 1.1]), **{workers: 2})
        made.add(name, ratio, "x", value / RATES["torchvision v1"], **{workers: 2})
    return made


def overhead(results, *, steps):
    made = results("overhead", "cpu")
    for name, ours in (("CutMix + ImageNet", 1.0), ("TokenMix + TokenMix (store)", 2.0)):
        for way, times in (("ours", 1), ("usual", 20)):
            made.add(name, f"mixing, {way}", "ms", ours * times, batch=32)
            if steps:
                made.add(name, f"share of a step, {way}", "%", ours * times / 20, batch=32)
    if steps:
        made.add("DeiT-T", "step", "ms", 2000)
    return made


def kernels(results):
    made = results("kernels", "cpu")
    for case, times in (("exchange_tokens uint8 NHWC", 1.2), ("targets", 4.0)):
        for way, value in (("copy", 1), ("one thread", times), ("all threads", times / 2), ("NumPy", 9), ("torch", 8)):
            made.add(case, f"time, {way}", "ms", value, batch=128)
        for way in ("one thread", "all threads"):
            made.add(case, f"of the copy's bandwidth, {way}", "%", 100 / times, batch=128)
    for name, value in (("TokenMix, ours, one thread, uint8 NHWC", 1), ("CutMix, timm, float32 NCHW", 40)):
        made.add(name, "whole mixing", "ms", value, batch=128)
    for batch in (32, 64, 128):
        for way in ("copy", "all threads"):
            made.add("exchange_tokens uint8 NHWC", f"bandwidth, {way}", "GB/s", batch / 8, curve="batch", batch=batch)
    return made


def labels(results):
    made = results("labels", "cpu")
    for case, dense in (("tokenmix, 7 x 7 uint8", 230), ("online", 300)):
        made.add(case, "time, ours", "ms", 1.4)
        made.add(case, "time, dense", "ms", dense)
    made.add("online", "time, features", "ms", 1.0)
    return made


def methods(results):
    made = results("methods", "cpu")
    for name, times in (("CutMix", 1.1), ("AugMix", 7.0)):
        for way, value in (("mixing", times), ("draw and mixing", times + 0.1)):
            made.add(name, f"{way} by the copy", "x", value, batch=128)
    return made


def plot(module, monkeypatch, *arguments):
    script = module("plot")
    monkeypatch.setattr(sys, "argv", ["plot.py", *map(str, arguments)])
    return script.main()


def test_all_plots_are_drawn_and_small(module, results, monkeypatch, tmp_path, capsys):
    whole = throughput(results)
    for name, (one, two) in BY_WORKERS.items():
        whole.add(name, "images/s", "images/s", one, threads=1)
        whole.add(name, "images/s", "images/s", two, threads=4)
    for made in (whole, overhead(results, steps=True), kernels(results), methods(results), labels(results)):
        made.write(tmp_path)
    assert plot(module, monkeypatch, "--results", tmp_path, "--out", tmp_path / "out") == 0
    pictures = sorted((tmp_path / "out").iterdir())
    assert {path.name for path in pictures} == {f"bench-{name}.png" for name in module("plot").PLOTS}
    for path in pictures:
        assert 5_000 < path.stat().st_size < 150_000, path
        with Image.open(path) as picture:
            assert min(picture.size) > 200
            assert len(picture.convert("RGB").getcolors(2**20)) > 5
    said = capsys.readouterr()
    assert "MORE" not in said.out
    assert "left out" not in said.err


def test_what_is_missing_is_said(module, results, monkeypatch, tmp_path, capsys):
    throughput(results).write(tmp_path)
    assert plot(module, monkeypatch, "--results", tmp_path, "--out", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bench-throughput.png"]
    said = capsys.readouterr().err
    for name in set(module("plot").PLOTS) - {"throughput"}:
        assert f"bench-{name}.png left out: no rows" in said
    assert plot(module, monkeypatch, "--results", tmp_path / "nowhere", "--out", tmp_path / "out") == 1
    assert "nothing drawn" in capsys.readouterr().err


def test_a_gpus_results_have_pictures_of_their_own(module, results, monkeypatch, tmp_path):
    written = throughput(results).write(tmp_path)
    written.rename(tmp_path / "throughput-gpu.csv")
    assert plot(module, monkeypatch, "--results", tmp_path, "--out", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bench-throughput-gpu.png"]


@pytest.mark.parametrize(
    "names", [{}, {"rate": "throughput", "ratio": "throughput by that of torchvision v1", "workers": "workers"}]
)
def test_bars_are_the_medians_best_first_ceilings_last(module, results, tmp_path, names):
    throughput(results, **names).write(tmp_path)
    figure = module("plots.loaders").throughput(module("plots.found").Found(tmp_path, "cpu"))
    (ax,) = figure.axes
    order = ["Loader, TokenMix", "torchvision v1", "read, DALI", "decode, DALI"]
    assert [label.get_text() for label in ax.get_yticklabels()] == order
    assert [bar.get_width() for bar in ax.patches] == [RATES[name] for name in order]
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["1600  1.78x", "900  1.00x", "80000  88.89x", "2900  3.22x"]
    assert ax.get_xlim()[1] < 5000  # not as far as reading goes
    assert "images/s" in ax.get_xlabel()


def test_overhead_is_in_shares_of_a_step_where_there_was_one(module, results, tmp_path):
    for steps, unit, widths in (
        (True, "% of a step of DeiT-T", [0.05, 0.1, 1, 2]),
        (False, "ms a batch", [1, 2, 20, 40]),
    ):
        overhead(results, steps=steps).write(tmp_path)
        (ax,) = module("plots.costs").overhead(module("plots.found").Found(tmp_path, "cpu")).axes
        assert ax.get_xlabel().startswith(unit)
        assert [bar.get_width() for bar in ax.patches if bar.get_width()] == pytest.approx(widths)


def test_kernels_are_in_shares_of_the_copys_bandwidth(module, results, tmp_path):
    kernels(results).write(tmp_path)
    found = module("plots.found").Found(tmp_path, "cpu")
    (ax,) = module("plots.kernels").by_copy(found).axes
    widths = [bar.get_width() for bar in ax.patches if bar.get_width()]
    assert widths == pytest.approx([100 / 1.2, 100 / 4] * 2, rel=1e-4)
    lines = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2]
    assert pytest.approx(100 / 1.3) in lines


def test_methods_are_in_times_of_their_copy(module, results, tmp_path):
    methods(results).write(tmp_path)
    (ax,) = module("plots.methods").methods(module("plots.found").Found(tmp_path, "cpu")).axes
    assert [bar.get_width() for bar in ax.patches if bar.get_width()] == pytest.approx([1.1, 7, 1.2, 7.1])
    assert 2 in [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2]


def test_the_origin_is_below_the_picture(module, results, tmp_path):
    kernels(results).write(tmp_path)
    figure = module("plots.kernels").mixing(module("plots.found").Found(tmp_path, "cpu"))
    row = importlib.import_module("results").read(tmp_path / "kernels-cpu.csv")[0]
    for part in (row["machine"], row["commit"], row["date"], "batch=128"):
        assert part in figure.get_supxlabel()
