"""benchmarks/overhead.py: it runs and says what it should, its parts agree, and ours is what the graph does."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import dali_tokenmix as dtm
from dali_tokenmix.dataset import scan
from dali_tokenmix.runtime import cuda
from tests import test_gpu_check

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
ROWS = ("no mixing", "CutMix + ImageNet", "TokenMix + ImageNet", "TokenMix + ReLabel", "TokenMix + TokenLabeling")
STORED = "TokenMix + TokenMix (store)"
METHODS = ("Cutout", "RandomErasing", "HideAndSeek", "MixUp", "ResizeMix", "RICAP", "SaliencyMix", "AugMix")
SMALL = {"batch": 4, "height": 96, "width": 96, "classes": 20, "map_size": (7, 7)}


@pytest.fixture
def module(monkeypatch):
    """Imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def batch(module, tmp_path):
    """A batch of noise with a store."""
    given, shapes = module("overheads.given"), module("traffic").Shapes(**SMALL)
    store = given.write_store(tmp_path / "labels", given.folder_of_noise(tmp_path, 30), shapes)
    return given.batches(store, shapes)[0]


def rows(module):
    """By name, without a teacher."""
    return {row.name: row for row in module("overheads.rows").table(16, {})}


def run(module, folder, *arguments):
    """What a quick run printed, and the rows of its CSV."""
    command = [sys.executable, BENCHMARKS / "overhead.py", "--device", "cpu", "--quick", "--results", folder]
    ran = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran, module("results").read(folder / "overhead-cpu.csv")


def values(found, metric):
    return {row["case"]: row["p50"] for row in found if row["metric"] == metric}


def test_a_quick_run_has_every_row_both_ways_and_a_verdict(module, tmp_path):
    teacher = "torchvision:resnet18"
    ran, found = run(module, tmp_path, "--batch-size", "2", "--teachers", teacher, "--whole", "1")
    names = {*ROWS, STORED, f"TokenMix + TokenMix ({teacher})"}
    methods = {f"{method} + ImageNet" for method in METHODS} | {f"AttentiveCutMix + ImageNet ({teacher})"}
    for metric in ("mixing, ours", "mixing, usual", "CPU, ours", "share of a step, ours", "share of a step, usual"):
        of_rows = values(found, metric)
        assert set(of_rows) == (names if "usual" in metric else names | methods), metric
        assert min(of_rows.values()) > 0, metric
    assert values(found, "overhead against CutMix, ours")["CutMix + ImageNet"] == 0
    assert set(values(found, "Loader")) == set(values(found, "whole step")) == names
    assert set(values(found, "callbacks")) == {*ROWS, STORED}
    (step,) = values(found, "step").values()
    mixing, share = (
        values(found, metric)["TokenMix + ImageNet"] for metric in ("mixing, ours", "share of a step, ours")
    )
    assert share == pytest.approx(100 * mixing / step, rel=1e-3)
    assert {row["setting"] for row in found if row["metric"] != "wall"} == {
        "model=deit_tiny_patch16_224 batch=2 amp=False compile=False"
    }
    said = ran.stdout
    assert "Here: GPU time is not measured" in said
    assert said.count("+0.8 %") == 4  # rows of the table, and the paper
    assert len(re.findall("^  (?:model|loader)-bound ", said, re.MULTILINE)) == len(names)
    assert "not judged" in said
    assert "checking that both ways make the same" in ran.stderr


def test_without_training_there_is_no_share_of_a_step(module, tmp_path):
    ran, found = run(module, tmp_path, "--batch-size", "2", "--no-training", "--teachers")
    assert set(values(found, "Loader")) == set(values(found, "mixing, usual")) == {*ROWS, STORED}
    assert set(values(found, "mixing, ours")) == {*ROWS, STORED, *(f"{method} + ImageNet" for method in METHODS)}
    assert not any("step" in row["metric"] for row in found)
    assert not re.search("bound  |% of a step", ran.stdout)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--batch-size", "5"], "must be even"),
        (["--model", "deit_none"], "must be one of timm"),
        (["--patch-size", "9"], "divide"),
    ],
)
def test_wrong_arguments_are_named(module, monkeypatch, capsys, arguments, reason):
    monkeypatch.setattr(sys, "argv", ["overhead.py", *arguments])
    with pytest.raises(SystemExit):
        module("overhead").arguments()
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("name", [*ROWS, STORED, "online"])
def test_ours_launches_what_the_loaders_graph_does(module, name, batch, photo_folder, tmp_path):
    """The same kernels, of the same width, as often: mixing is timed as it is."""
    recorded, ours = module("gpu.launches").recorded, module("overheads.ours").Ours
    loaders, given, place = module("overheads.loaders"), module("overheads.given"), module("gpu.place").Cpu()
    teacher = module("gpu.teacher").small_teacher(batch.shapes, "cpu")
    online = module("overheads.rows").Row("online", dtm.TokenMix(), "tokenmix", teacher)
    row = (rows(module) | {"online": online})[name]
    here = ours(row, [batch], place)
    with recorded() as launches:
        here(0)
    expected = Counter(launch.name for launch in launches)
    store = given.write_store(tmp_path / "of photographs", scan(photo_folder), batch.shapes)
    options = {"batch_size": 4, "image_size": 96, "num_classes": 20, "device": "cpu", "num_threads": 1, "prefetch": 1}
    loader = loaders.loader_of(row, photo_folder, store, **options)
    with recorded() as launches:
        next(iter(loader))
        loader.close()
    batches = len([launch for launch in launches if launch.kernel in ("targets", "relabel_mix")])
    assert batches >= 1
    found = Counter(launch.name for launch in launches)
    assert found == Counter({kernel: count * batches for kernel, count in expected.items()})


BREAKS = {
    "pixels": ("TokenMix + ImageNet", "ours.runtime.apply_plan", lambda *a, **k: None, "pixels differ"),
    "area": ("TokenMix + ImageNet", "usual.mixed", lambda targets, other: targets, "targets"),
    "smoothing": ("no mixing", "usual.SMOOTHING", 0.1001, "targets"),
    "box": ("CutMix + ImageNet", "check.box_of", lambda changed: (0, 0, 8, 8), "pixels differ"),
    "crop": ("TokenMix + ReLabel", "usual.boxes_of", lambda **crop: swapped(crop), "targets"),
    "flip": ("TokenMix + TokenLabeling", "usual.boxes_of", lambda **crop: unmirrored(crop), "labels of tokens"),
    "maps": (STORED, "usual.boxes_of", lambda **crop: unmirrored(crop), "targets"),
}


def swapped(crop):
    boxes, flips = dtm.planner.boxes_of(**crop)
    return boxes[:, [1, 0, 3, 2]].copy(), flips


def unmirrored(crop):
    boxes, flips = dtm.planner.boxes_of(**crop)
    return boxes, ~flips


@pytest.mark.parametrize("name", [f"{method} + ImageNet" for method in METHODS])
def test_methods_without_a_usual_way_make_what_is_defined(module, name, batch, monkeypatch):
    check, row, place = module("overheads.check"), rows(module)[name], module("gpu.place").Cpu()
    check.agree(row, batch, place)
    monkeypatch.setattr(module("overheads.ours").runtime, "apply_plan", lambda *a, **k: None)
    with pytest.raises(AssertionError, match=f"{re.escape(name)}: pixels differ"):
        check.agree(row, batch, place)


@pytest.mark.parametrize("name", [*ROWS, STORED])
def test_both_ways_make_the_same(module, name, batch):
    module("overheads.check").agree(rows(module)[name], batch, module("gpu.place").Cpu())


@pytest.mark.parametrize("what", BREAKS)
def test_a_difference_is_found_before_anything_is_timed(module, monkeypatch, what, batch):
    name, place, other, said = BREAKS[what]
    check = module("overheads.check")
    monkeypatch.setattr(f"overheads.{place}", other)
    with pytest.raises(AssertionError, match=said):
        check.agree(rows(module)[name], batch, module("gpu.place").Cpu())


def test_a_teacher_is_checked_on_what_both_ways_show_it(module, monkeypatch, batch):
    check, row = module("overheads.check"), module("overheads.rows").Row
    teacher = module("gpu.teacher").small_teacher(batch.shapes, "cpu")
    teacher.mean = (0.5, 0.5, 0.5)  # not the loader's
    asked = row("online", dtm.TokenMix(), "tokenmix", teacher)
    check.agree(asked, batch, module("gpu.place").Cpu())
    monkeypatch.setattr(check, "renormalised", lambda images, teacher: images)
    with pytest.raises(AssertionError, match="maps from bytes and from floats differ"):
        check.agree(asked, batch, module("gpu.place").Cpu())


def test_a_block_mask_of_the_usual_way_does_not_overshoot(module):
    draw, rng = module("overheads.usual").block_mask, np.random.default_rng(0)
    counts = [int(draw(rng, (14, 14)).sum()) for _ in range(200)]
    assert max(counts) == 98
    assert np.mean(counts) > 85


def test_a_box_is_read_off_what_changed(module):
    changed = np.zeros((6, 8), bool)
    assert module("overheads.check").box_of(changed) == (0, 0, 0, 0)
    changed[2:4, 3:8] = True
    assert module("overheads.check").box_of(changed) == (2, 3, 4, 8)


def test_the_clock_tells_waiting_from_work_and_draws_the_order(module):
    calls = []

    def work(number):
        calls.append(("work", number))
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass

    def sleep(number):
        calls.append(("sleep", number))
        time.sleep(0.02)

    found = module("overheads.clock").interleaved(module("gpu.place").Cpu(), {"work": work, "sleep": sleep}, 9)
    assert found["work"].main.shape == (9,)
    assert (found["work"].other >= 0.02).all()
    assert np.median(found["sleep"].main) >= 0.02
    assert np.median(found["sleep"].other) < 0.01
    firsts = {name for name, _ in calls[::2]}
    assert [number for _, number in calls] == [number for number in range(10) for _ in range(2)]
    assert firsts == {"work", "sleep"}


def test_on_the_gpus_side_events_are_read_at_the_end_and_results_are_the_same(module, monkeypatch, batch):
    """On a stand-in for CuPy, launches carried out by the CPU's library: nothing here has seen a driver."""
    place, ours, clock = module("gpu.place"), module("overheads.ours").Ours, module("overheads.clock")
    monkeypatch.setattr(place, "AHEAD", 1000)
    monkeypatch.setattr(place, "LEAD", 1e-5)
    monkeypatch.setattr(cuda, "launch", test_gpu_check.carry_out)
    waits, done = [], []
    gpu = place.Gpu(test_gpu_check.stand_in())
    monkeypatch.setattr(gpu, "wait", lambda: waits.append(len(done)))
    asked = {name: row for name, row in rows(module).items() if row.usual}  # the others take scratch memory of CuPy
    there, here = ({n: ours(row, [batch], at) for n, row in asked.items()} for at in (gpu, place.Cpu()))
    for name in asked:
        for one, other in zip(there[name](0), here[name](0), strict=True):
            np.testing.assert_array_equal(gpu.get(one), other, err_msg=name)
        np.testing.assert_array_equal(gpu.get(there[name].images[0]), here[name].images[0], err_msg=name)
    work = {name: lambda number, name=name: done.append(there[name](number)) for name in asked}
    found = clock.interleaved(gpu, work, 3)
    assert waits == [4 * len(asked)]  # once, at the end
    assert all((taken.main >= taken.other).all() for taken in found.values())  # events lie around the host's part


def test_callbacks_of_the_graph_are_counted(module, photo_folder):
    loaders = module("overheads.loaders")
    with loaders.counted_callbacks() as clock:
        loader = dtm.Loader(
            photo_folder, batch_size=8, image_size=64, mixer=dtm.TokenMix(), device="cpu", num_threads=1
        )
        start = time.process_time()
        next(iter(loader))
        loader.close()
        assert 0 < clock[0] < time.process_time() - start
    counted = clock[0]
    next(iter(dtm.Loader(photo_folder, batch_size=8, image_size=64, device="cpu", num_threads=1)))
    assert clock[0] == counted


@pytest.fixture
def measured(module):
    """Mixing of 1 ms against a step of half a second, but 1.2 ms with a store."""

    def of(step):
        taken = module("overheads.clock").Taken
        ms = {"CutMix + ImageNet": 0.9, "TokenMix + ImageNet": 1.0, STORED: 1.2}
        mixing = {(name, "ours"): taken(np.full(3, value / 1e3), np.ones(3)) for name, value in ms.items()}
        return module("overheads.measure").Measured(mixing, {"model": taken(np.full(3, step), np.ones(3))})

    return of


@pytest.mark.parametrize(
    ("step", "words"), [(2.0, ["holds", "holds"]), (0.9, ["MISSED", "holds"]), (0.5, ["MISSED"] * 2)]
)
def test_a_missed_bound_is_printed_as_missed(module, capsys, measured, step, words):
    module("overheads.report").bounds(measured(step), judged=True)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == words


def test_the_verdict_names_who_is_waited_for(module, capsys, measured):
    loaders, report = module("overheads.loaders"), module("overheads.report")
    asked = [row for name, row in rows(module).items() if name in ("TokenMix + ImageNet", STORED)]
    times = {"TokenMix + ImageNet": 0.4, STORED: 0.6}
    turns = {name: loaders.Turns(np.full(2, wall), np.ones(2), np.ones(2)) for name, wall in times.items()}
    report.verdicts(asked, turns, measured(0.5), "model")
    _, _, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[0] == "model-bound"
    assert "mixing is 0.200 % of the step" in first
    assert second.split()[0] == "loader-bound"


def test_what_the_host_was_not_ahead_of_is_named(module, measured):
    found = measured(0.5)
    assert set(found.late) == {"CutMix + ImageNet ours", "TokenMix + ImageNet ours", f"{STORED} ours", "model"}
    taken = module("overheads.clock").Taken(np.ones(3), np.full(3, 0.01))
    assert module("overheads.measure").Measured({("row", "ours"): taken}, {}).late == []


def test_the_papers_claims_stand_beside_figures_of_a_gpu_only(module, capsys, measured):
    report, place = module("overheads.report"), module("gpu.place")
    report.claims(measured(0.5), place.Cpu())
    assert "GPU time is not measured" in capsys.readouterr().out
    gpu = place.Gpu(test_gpu_check.stand_in())
    report.claims(measured(0.5), gpu)
    assert "masks +0.02 %, labels of a store +0.06 %" in capsys.readouterr().out
