"""benchmarks/methods.py: a quick run, what counts as bytes that must move, and verdicts that can fail."""

from __future__ import annotations

import numpy as np
import pytest

import dali_tokenmix as dtm
from dali_tokenmix.mixers import __all__ as mixers
from dali_tokenmix.regions import Box
from tests.test_bench_kernels import module, quick

__all__ = ["module"]  # a fixture
NO_METHODS = {"Choice", "Sequence"}  # they compose others


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return quick("methods", tmp_path_factory.mktemp("methods"))


def test_every_mixer_has_its_row_and_every_row_its_figures(module, ran):
    rows, printed = ran
    methods = module("method_times.rows").table(64)
    assert {type(row.mixer).__name__ for row in methods} == set(mixers) - NO_METHODS
    found = {(row["case"], row["metric"]): float(row["p50"]) for row in rows}
    for row in methods:
        for way in ("mixing", "draw and mixing"):
            assert found[row.name, way] > 0
            assert found[row.name, f"{way} by the copy"] > 0
        assert ((row.name, "maps") in found) == (row.maps is not None and not row.stand_in)
        assert any(line.startswith(f"{row.name} ") for line in printed.splitlines())
    assert "not judged: the bound is for 128 images of 224 x 224" in printed


def plan_of(*boxes):
    """Two samples, the second has the first's pixels in its box."""
    return dtm.Plan(np.array([1, 0]), (Box(np.array(boxes, np.int32)),), (16, 20))


@pytest.mark.parametrize(
    ("plan", "pixels"),
    [
        (plan_of((2, 3, 6, 8), (0, 0, 0, 0)), 20),
        (plan_of((2, 3, 6, 8), (2, 3, 6, 8)), 40),
        (plan_of((0, 0, 0, 0), (0, 0, 0, 0)), 0),
        (dtm.draw(dtm.MixUp(), 2, (16, 20), seed=1), 640),
    ],
)
def test_the_bytes_are_those_of_the_pixels_that_change(module, plan, pixels):
    noise = np.random.default_rng(0).integers(0, 256, (2, 16, 20, 3), np.uint8)
    shapes = module("traffic").Shapes(batch=2, height=16, width=20)
    found = module("method_times.traffic_of").copied(plan, noise, shapes)
    assert found == pytest.approx(3 * pixels, rel=0.02)  # noise that is blended may come out as it was


def test_a_wrong_result_is_seen(module, monkeypatch):
    check, rows = module("method_times.check"), module("method_times.rows")
    row = rows.Row("CutMix", dtm.CutMix())
    check.equals_definition(row)
    monkeypatch.setattr(check.dtm, "apply", lambda plan, images: images)
    with pytest.raises(AssertionError, match="CutMix"):
        check.equals_definition(row)


@pytest.mark.parametrize(("milliseconds", "word"), [(1.9, "holds"), (2.1, "MISSED")])
def test_a_method_is_held_against_its_copy(module, capsys, milliseconds, word):
    report, measure, shapes = module("method_times.report"), module("method_times.measure"), module("traffic").Shapes()
    ways = {"copy": 1.0, "mixing": milliseconds, "draw and mixing": milliseconds}
    timed = measure.Timed({way: np.full(3, ms / 1e3) for way, ms in ways.items()}, np.array([5, 5, 5]))
    results = module("results").Results("methods", "cpu")
    report.verdicts({"CutMix": report.line("CutMix", timed, results, {})}, shapes)
    judged = [line for line in capsys.readouterr().out.splitlines() if "<= 2" in line]
    assert [line.split()[0] for line in judged] == [word, word]
    ratios = [float(row["p50"]) for row in results.rows if row["unit"] == "x"]
    assert ratios == pytest.approx([milliseconds] * 2)


def test_rounds_whose_plan_changes_nothing_are_no_ratio(module):
    timed = module("method_times.measure").Timed(
        {"copy": np.array([1e-9, 1.0]), "mixing": np.array([1.0, 1.5])}, np.array([0, 8])
    )
    assert timed.ratio("mixing").tolist() == [1.5]
