"""docs/gpu.md is what benchmarks/roofline.py writes, and its formulas count what the kernels really do."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import dali_tokenmix as dtm

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    """Imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_the_page_is_what_the_script_writes(module):
    roofline = module("roofline")
    page = roofline.PAGE.read_text()
    assert roofline.written(page) == page, "run python benchmarks/roofline.py"


def test_the_page_says_that_it_predicts(module):
    page = module("roofline").PAGE.read_text()
    assert "**Everything on this page is a prediction.**" in page
    assert "36.0x" in page


@pytest.mark.parametrize(
    ("registers", "architecture", "expected"),
    [(32, 80, 1.0), (33, 80, 0.75), (40, 90, 0.75), (64, 80, 0.5), (255, 80, 0.125), (40, 86, 1.0), (64, 75, 1.0)],
)
def test_occupancy_is_nvidias(module, registers, architecture, expected):
    """By hand, from 65536 registers a multiprocessor in blocks of 8 warps."""
    assert module("roofline").occupancy(registers, architecture) == expected


def test_registers_are_read_by_the_names_of_their_columns(module, monkeypatch, tmp_path):
    roofline = module("roofline")
    table = tmp_path / "resources.csv"
    names = ",".join(f"sm_{architecture}" for architecture in roofline.MOST_THREADS)
    table.write_text(f"# a note\nnvrtc,kernel,{names}\n13,mirror{',32' * 7}\n12,mirror,32,40{',32' * 5}\n")
    monkeypatch.setattr(roofline, "REGISTERS", table)
    assert list(roofline.occupancy_table())[2].startswith("| `mirror` | 32 regs, 100 % | 40 regs, 75 % | 32 regs")
    monkeypatch.setattr(roofline, "REGISTERS", tmp_path / "none.csv")
    assert "No occupancy yet" in next(iter(roofline.occupancy_table()))


@pytest.mark.parametrize("map_size", [(7, 7), (18, 18)])
def test_the_formulas_have_the_launches_and_outputs_of_the_kernels(module, map_size):
    traffic, cases, place = (module(name) for name in ("traffic", "gpu.cases", "gpu.place"))
    shapes = traffic.Shapes(batch=4, classes=50, map_size=map_size)
    written = {}
    for case in module("gpu.labels").cases(shapes):
        ran = cases.carried_out(case, place.Cpu())
        for launch in ran.launches:
            formula = case.traffic[launch.kernel]
            assert (launch.work.grid, launch.work.block) == (formula.work.grid, formula.work.block), launch.name
        sizes = [result.nbytes / shapes.batch for result in ran.results]
        written |= {"relabel_softmax": sizes[0], "relabel_mix": sizes[1]} if case.name == "relabel" else {}
        if case.name != "relabel":
            written[case.name] = sum(sizes)
    formulas = traffic.labels(shapes)
    assert written == {name: formulas[name].written for name in written}
    assert len(written) == 6


@pytest.mark.parametrize(("dtype", "layout"), [("uint8", "NHWC"), ("float16", "NCHW"), ("float32", "NCHW")])
def test_the_formulas_have_the_launches_of_the_kernels_that_mix(module, dtype, layout):
    traffic, cases, place = (module(name) for name in ("traffic", "gpu.cases", "gpu.place"))
    shapes = traffic.Shapes(batch=2, height=64, width=96)
    for case in module("gpu.images").cases(shapes):
        if f"{dtype} {layout}" in case.name:
            width = 16 if case.widths else None
            (launch,) = cases.carried_out(case, place.Cpu(), width).launches
            (formula,) = case.traffic.values()
            assert (launch.work.grid, launch.work.block) == (formula.work.grid, formula.work.block), launch.name


@pytest.mark.parametrize("mixer", [dtm.TokenMix(), dtm.CutMix(), dtm.MixUp()], ids=lambda mixer: type(mixer).__name__)
def test_the_formulas_have_the_bytes_that_mixing_writes(module, mixer):
    """Pairs whose images differ in every byte, so that what is written is what changes."""
    traffic = module("traffic")
    plan = dtm.draw(mixer, 4, 64, seed=3)
    images = np.repeat(np.uint8([0, 80, 160, 240]), 64 * 64 * 3).reshape(4, 64, 64, 3)
    before = images.copy()
    dtm.apply(plan, images)
    kernel = {"TokenMix": "exchange_tokens", "CutMix": "exchange_box", "MixUp": "blend"}[type(mixer).__name__]
    shapes = traffic.Shapes(batch=4, height=64, width=64, share=float(plan.other.mean()))
    assert (images != before).sum() == pytest.approx(4 * traffic.mixing(kernel, "uint8", "NHWC", shapes).written)
