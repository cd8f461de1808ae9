"""benchmarks/kernels.py: a quick run, the GPU's side on a stand-in, and checks and verdicts that can fail."""

from __future__ import annotations

import argparse
import csv
import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dali_tokenmix.runtime import cuda
from tests import test_gpu_check
from tests.compiled import KERNELS

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
ON_A_GPU_ONLY = {"quarters_compose", "quarters_store", "resized_take", "resized_paste"}
NO_FORMS = ("luminance", "place", "quarters", "erase", "resized", "chains")
OTHERS = ("TokenMix, torch", "CutMix, timm", "MixUp, timm", "CutMix, torchvision", "MixUp, torchvision")


@pytest.fixture
def module(monkeypatch):
    """Imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    if (
        getattr(sys.modules.get("kernels"), "__file__", "") is None
    ):  # the folder, which transformers takes for a package
        monkeypatch.delitem(sys.modules, "kernels")
    return importlib.import_module


def quick(script, folder, *arguments):
    """(rows of its CSV, what it printed) of a quick run on the CPU."""
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), "--device", "cpu", "--quick", "--results", str(folder)]
    alone = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads on a busy machine wait long
    ran = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=240, check=False, env=alone)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with (folder / f"{script}-cpu.csv").open(newline="") as file:
        return list(csv.DictReader(file)), ran.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return quick("kernels", tmp_path_factory.mktemp("kernels"))


def test_rows_are_numbers_in_order_with_their_origin(whole):
    for row in whole[0]:
        low, middle, high = (float(row[name]) for name in ("p20", "p50", "p80"))
        assert 0 < low <= middle <= high < 1e9, row
        assert row["machine"]
        assert row["command"] == "python benchmarks/kernels.py --device cpu --quick"


def test_every_kernel_has_its_time_beside_a_copy_and_the_forms(whole):
    times = {}
    for row in whole[0]:
        if row["metric"].startswith("time, ") and "curve=" not in row["setting"]:
            times.setdefault(row["case"], set()).add(row["metric"].removeprefix("time, "))
    stems = {name.rsplit("_", 1)[0] if name[-1].isdigit() else name for name in set().union(*KERNELS.values())}
    expected = {stem.split("_uint")[0].split("_float")[0] for stem in stems} - {"philox"}
    expected = {name.split("_")[0] if name in ("resize", "resize_taps") else name for name in expected}
    assert {case.split(",")[0].split(" ")[0] for case in times} == expected - ON_A_GPU_ONLY
    for case, ways in times.items():
        assert ways >= {"copy", "one thread", "all threads"}, case
        if not case.startswith(NO_FORMS):
            assert ("NumPy" in ways, "torch" in ways) == (True, not case.startswith("block_mask")), case


def test_whole_mixing_has_all_peers_and_says_who_cannot(whole):
    rows, printed = whole
    mixed = {row["case"] for row in rows if row["metric"] == "whole mixing"}
    for peer in OTHERS:
        assert f"{peer}, float32 NCHW" in mixed
        if peer.startswith("MixUp"):
            line = next(line for line in printed.splitlines() if line.startswith(f"{peer}, uint8 NCHW"))
            assert "cannot" in line
        else:
            assert f"{peer}, uint8 NCHW" in mixed
    assert "TokenMix with label maps, torch, dense, float32 NCHW" in mixed
    assert printed.count("not judged: the target is for 128 images of 224 x 224") == 2


def test_curves_have_all_their_points(whole, module):
    scaling = module("kernel_times.scaling")
    for curve, values in scaling.QUICK.items():
        rows = [row for row in whole[0] if f"curve={curve} " in row["setting"]]
        found = {dict(word.split("=") for word in row["setting"].split())[curve] for row in rows}
        assert found == set(map(str, values))
    assert any("threads=2" in row["setting"] for row in whole[0])


# Without a driver the GPU's side goes this far: CuPy is a stand-in, the kernels that it would launch run on the CPU.


def test_on_the_gpus_side_kernels_mixing_and_curves_are_timed(module, monkeypatch):
    monkeypatch.setattr(cuda, "launch", test_gpu_check.carry_out)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(empty=test_gpu_check.pooled))
    place, script, results = (module(name) for name in ("gpu.place", "kernels", "results"))
    monkeypatch.setattr(place, "AHEAD", 1000)
    gpu = place.Gpu(test_gpu_check.stand_in())
    gpu.torch_device = "cpu"
    found = results.Results("kernels", "cpu")
    options = argparse.Namespace(only=script.SECTIONS, rounds=2, quick=True)
    script.measured(gpu, module("traffic").Shapes(batch=4, height=32, width=32, classes=50), options, found)
    times = {row["metric"] for row in found.rows if row["metric"].startswith("time, ")}
    assert times == {"time, copy", "time, kernel", "time, torch"}
    mixed = {row["case"] for row in found.rows if row["metric"] == "whole mixing"}
    assert "TokenMix, ours, kernel, uint8 NHWC" in mixed


def problems_of(module):
    """All problems that kernels pose to the forms, small."""
    problems, cases, place = (module(name) for name in ("kernel_times.problems", "gpu.cases", "gpu.place"))
    shapes, here = module("traffic").Shapes(batch=4, height=48, width=32, classes=50, map_size=(9, 5)), place.Cpu()
    for name, problem_of in (("gpu.images", problems.of_mixing), ("gpu.labels", problems.of_labels)):
        for case in module(name).cases(shapes):
            ran = cases.carried_out(case, here)
            kept = [here.get(array) for array in ran.kept]
            for launch in ran.launches:
                yield problem_of(case, launch.kernel, kept, shapes)


def test_forms_give_what_the_kernels_give_and_a_wrong_result_is_seen(module):
    here = module("gpu.place").Cpu()
    seen = set()
    for problem in problems_of(module):
        seen.add(problem.kernel)
        wrong = replace(problem, expected=tuple(each + np.asarray(1).astype(each.dtype) for each in problem.expected))
        for form in ("numpy_forms", "torch_forms"):
            form = module(f"kernel_times.{form}")
            problem.check(form, here)
            with pytest.raises(AssertionError, match=problem.kernel):
                wrong.check(form, here)
    assert len(seen) == 12


def test_a_way_whose_targets_do_not_fit_its_pixels_is_found(module):
    peers, contenders = module("kernel_times.peers"), module("kernel_times.contenders")
    here, shapes = module("gpu.place").Cpu(), module("traffic").Shapes(batch=8, height=48, width=48)
    token_mix = contenders.TorchTokenMix(module("torch").arange(8), 48)  # 4 of 9 tokens
    right = contenders.Way(
        "torch", "TokenMix", "float32", "NCHW", lambda x, _: (token_mix.pixels(x), token_mix.targets())
    )
    assert peers.refusal(right, here, shapes) is None
    swapped = replace(right, mix=lambda x, _: (token_mix.pixels(x), token_mix.targets().flip(0)))
    with pytest.raises(AssertionError, match="targets are off the pixels"):
        peers.refusal(swapped, here, shapes)
    idle = contenders.TorchTokenMix(module("torch").arange(8), 48)
    with pytest.raises(AssertionError, match="mixes nothing"):
        peers.refusal(replace(right, mix=lambda x, _: (x, idle.targets())), here, shapes)

    def refuses(images, call):
        raise RuntimeError("not this dtype\nmore of it")

    assert peers.refusal(replace(right, mix=refuses), here, shapes) == "not this dtype"


@pytest.mark.parametrize(("milliseconds", "word"), [(1.2, "holds"), (1.4, "MISSED")])
def test_a_kernel_is_held_against_its_copy(module, capsys, milliseconds, word):
    tables, each = module("kernel_times.tables"), module("kernel_times.each")
    seconds = {"copy": np.full(3, 1e-3), "one thread": np.full(3, milliseconds * 1e-3)}
    timed = each.Timed("blend float32 NCHW", 1000, seconds)
    results = module("results").Results("kernels", "cpu")
    tables.kernels([timed], module("traffic").Shapes(), results)
    (verdict,) = [line.split() for line in capsys.readouterr().out.splitlines() if "<= 1.3" in line]
    assert verdict[0] == word
    (share,) = [row for row in results.rows if row["metric"].startswith("of the copy")]
    assert float(share["p50"]) == pytest.approx(100 / milliseconds, rel=1e-4)


@pytest.mark.parametrize(("milliseconds", "word"), [(11, "holds"), (9, "MISSED")])
def test_others_are_held_against_ours_as_in_the_pipeline(module, capsys, milliseconds, word):
    tables, peers, contenders = (module(f"kernel_times.{name}") for name in ("tables", "peers", "contenders"))
    here, labels = module("gpu.place").Cpu(), module("torch").arange(4)
    mixer = importlib.import_module("dali_tokenmix").TokenMix()
    mix = contenders.Ours(here, mixer, labels, 32, "NHWC", 1)
    ours = contenders.Way("ours, one thread", "TokenMix", "uint8", "NHWC", mix, as_in_pipeline=True)
    slow = contenders.Way("ours, one thread", "TokenMix", "float32", "NCHW", mix)
    other = contenders.Way("torch", "TokenMix", "float32", "NCHW", lambda images, call: (images, call))
    seconds = {ours: np.full(3, 1e-3), slow: np.full(3, 5e-3), other: np.full(3, milliseconds * 1e-3)}
    results = module("results").Results("kernels", "cpu")
    tables.mixing(peers.Found(seconds, {}, np.full(3, 1e-3)), module("traffic").Shapes(), results)
    (verdict,) = [line.split() for line in capsys.readouterr().out.splitlines() if ">= 10" in line]
    assert verdict[0] == word


def test_the_order_of_turns_is_drawn_in_each_round(module):
    turns = list(module("timing").turns("abc", 20))
    assert [number for number, _ in turns] == np.repeat(np.arange(-1, 20), 3).tolist()
    rounds = {"".join(name for number, name in turns if number == k) for k in range(-1, 20)}
    assert {"".join(sorted(order)) for order in rounds} == {"abc"}
    assert len(rounds) == 6
    assert turns == list(module("timing").turns("abc", 20))


def test_a_launch_is_done_again_on_as_many_threads_as_asked(module):
    launches, cases, place = (module(name) for name in ("gpu.launches", "gpu.cases", "gpu.place"))
    shapes = module("traffic").Shapes(batch=4, height=32, width=32)
    case = module("gpu.images").mixing_case("blend", "uint8", "NHWC", shapes)
    ran = cases.carried_out(case, place.Cpu())
    with launches.recorded():
        assert ran.launches[0].on_threads(3).scalars["threads"] == 3
    before = ran.kept[0].copy()
    ran.launches[0].on_threads(2).again()
    assert not np.array_equal(before, ran.kept[0])


@pytest.mark.parametrize(
    ("grid", "total", "least"), [((14, 14), 98, 14), ((4, 4), 8, 8), ((1, 7), 3, 3), ((2, 2), 1, 1)]
)
def test_the_plain_block_mask_masks_exactly_so_many(module, grid, total, least):
    rng = np.random.default_rng(0)
    masks = [module("kernel_times.masks").block_mask(rng, grid, total, least) for _ in range(50)]
    assert {int(mask.sum()) for mask in masks} == {total}
    assert len({mask.tobytes() for mask in masks}) > 1
