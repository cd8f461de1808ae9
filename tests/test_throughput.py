"""benchmarks/throughput.py on a few small batches, and what it measures with."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dali_tokenmix.devices import gpu_problem

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
PEERS = ("FFCV, jpg", "Loader, TokenMix", "read, DALI", "decode the crop, DALI")
PACKAGE = {"FFCV, jpg": "ffcv", "SPDL": "spdl"}  # others come with the extra "bench"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def module(name):
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    sys.path.insert(0, str(BENCHMARKS))
    root = module("photographs").make_photographs(tmp_path_factory.mktemp("made") / "photographs", 128, "imagenet")
    sys.path.remove(str(BENCHMARKS))
    return root


@pytest.fixture
def task(photographs, tmp_path):
    return module("loaders.task").Task(str(photographs), str(tmp_path), batch_size=16, workers=2, device="cpu")


@pytest.fixture(scope="module")
def ran(photographs, tmp_path_factory):
    """(rows, what was printed, what was said) of the script."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, str(BENCHMARKS / "throughput.py"), "--quick", "--root", str(photographs)]
    command += ["--batch-size", "16", "--workers", "2", "--results", str(folder), "--device", "cpu", "--only", *PEERS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    with (folder / "throughput-cpu.csv").open() as file:
        return list(csv.DictReader(file)), done.stdout, done.stderr


def test_all_that_was_asked_for_is_measured_or_said_to_be_missing(ran):
    rows, printed, _ = ran
    for name in ("torchvision v1", *PEERS):
        metrics = {row["metric"] for row in rows if row["case"] == name}
        if not find_spec(PACKAGE.get(name, "numpy")):
            assert not metrics
            assert re.search(
                rf"^{name} +left out: ModuleNotFoundError: No module named '{PACKAGE[name]}'", printed, re.M
            )
            continue
        assert re.search(rf"^{name} +\d", printed, re.M), printed
        expected = {"throughput", "CPU time", "first batch", "throughput by that of torchvision v1"}
        assert metrics >= expected | (set() if "DALI" in name else {"peak memory", "imports"}), name


def test_figures_are_possible(ran):
    rows = {(row["case"], row["metric"]): row for row in ran[0]}
    for row in rows.values():
        assert 0 < float(row["p20"]) <= float(row["p50"]) <= float(row["p80"])
        assert row["command"].startswith("python benchmarks/throughput.py --quick")
    for (case, metric), row in rows.items():
        if metric == "CPU time":  # two CPUs, and no more time than the clock has for them
            seconds = float(row["p20"]) / 1e3 * float(rows[case, "throughput"]["p20"])
            assert seconds < 2 * 1.1, (case, seconds)
        if metric == "peak memory":
            assert 200 < float(row["p50"]) < 4000
    own = rows["torchvision v1", "throughput by that of torchvision v1"]
    assert own["p20"] == own["p80"] == "1"


def test_the_script_says_what_it_does_and_what_holds(ran):
    _, printed, said = ran
    assert "not judged: the targets are for" in printed  # of a quick run on photographs of its own
    assert not re.search("holds|MISSED", printed)
    assert said.count("beginning torchvision v1") == 1
    for text in ("checking Loader, TokenMix", "checking the ceilings", "beginning read, DALI", "round 2 of 2"):
        assert text in said


@pytest.fixture(scope="module")
def outputs(photographs, tmp_path_factory):
    """{name: Output} of all loaders that are installed, one after the other in one process; of ceilings, amounts."""
    sys.path.insert(0, str(BENCHMARKS))
    listed, process = module("loaders.task"), module("loaders.process")
    task = listed.Task(str(photographs), str(tmp_path_factory.mktemp("files")), batch_size=16, workers=2, device="cpu")
    found = {}
    with process.Process(task) as running:
        for name in (*listed.LOADERS, *listed.CEILINGS):
            if "missing" in running.ask("load", name=name):
                continue
            if name in listed.PREPARED:
                running.ask("prepare", name=name)
            running.begin(name)
            if name in listed.LOADERS:
                found[name] = module("loaders.output").Output(**running.ask("look", batches=16, classes=4))
            else:
                found[name] = running.ask("count", batches=16)["amount"] / 256, *bounds(name, task)
    sys.path.remove(str(BENCHMARKS))
    return found


def bounds(name, task):
    return module("loaders.output").amount_bounds(name, task)


def test_every_loader_makes_what_torchvision_does(outputs):
    listed = module("loaders.task")
    assert set(listed.LOADERS) - set(outputs) <= {name for name, package in PACKAGE.items() if not find_spec(package)}
    for name in set(listed.LOADERS) & set(outputs):
        differences = outputs[name].differences(outputs["torchvision v1"], scored=name in listed.SCORED)
        assert not differences, (name, differences)


def test_every_ceiling_does_its_part_of_the_work(outputs):
    for name in module("loaders.task").CEILINGS:
        amount, low, high = outputs[name]
        assert low <= amount <= high, name


def batches(labels=lambda k: k % 4, scale=1.0):
    """Four classes, told by their brightness."""
    rng = np.random.default_rng(0)
    for start in range(0, 64, 16):
        ids = torch.arange(start, start + 16)
        images = torch.from_numpy(rng.normal(0, 1, (16, 3, 8, 8)).astype(np.float32))
        yield scale * (images + (ids % 4)[:, None, None, None] - 1.5), labels(ids)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({}, ""),
        ({"labels": lambda ids: torch.nn.functional.one_hot(ids % 4, 4)}, ""),
        ({"labels": lambda ids: (ids + 1) % 4}, "by_class"),
        ({"labels": lambda ids: 0.9 * torch.nn.functional.one_hot(ids % 4, 4)}, "rows of targets sum to"),
        ({"scale": 2.0}, "contrast"),
    ],
)
def test_a_wrong_output_is_told_from_a_right_one(changed, complaint):
    of = module("loaders.output").Output.of
    found = of(batches(**changed), 4, 4).differences(of(batches(), 4, 4), scored=False)
    assert bool(found) == bool(complaint)
    assert complaint in " ".join(found)


def test_a_brighter_or_smaller_output_is_told():
    of = module("loaders.output").Output.of
    base = of(batches(), 4, 4)
    assert "mean" in replace(base, mean=[value + 0.2 for value in base.mean]).differences(base, scored=True)[0]
    assert replace(base, shape=[3, 7, 8]).differences(base, scored=True) == ["shape [3, 7, 8], expected [3, 8, 8]"]


BUSY = """
import mmap, os, sys, tempfile, time
memory = bytearray(200 << 20)
with tempfile.TemporaryFile() as file:
    file.write(bytes(100 << 20))
    file.flush()
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
child = os.fork()
mapped[:: 4096]
start = time.process_time()
while time.process_time() - start < 0.3:
    pass
print("done", flush=True) if child else None
time.sleep(60)
"""


def test_cpu_time_and_memory_are_those_of_the_whole_group():
    usage = module("loaders.usage")
    child = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, process_group=0)
    try:
        with usage.PeakMemory(child.pid) as peak:
            assert child.stdout.readline() == b"done\n"
            while len(usage.members(child.pid)) < 2 or usage.cpu_seconds(usage.members(child.pid)) < 0.6:
                time.sleep(0.05)
        assert usage.cpu_seconds(usage.members(child.pid)) < 1.2
        assert 300 << 20 < peak.bytes < 360 << 20  # what both share counts once
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()


def state(process):
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_loader_and_its_workers_stand_still_without_an_order(task):
    with module("loaders.process").Process(task) as running:
        running.ask("load", name="decode, Pillow")
        running.begin("decode, Pillow")
        members = module("loaders.usage").members(running.group)
        assert len(members) >= 3  # two workers
        deadline = time.monotonic() + 10
        while any(state(member) != "T" for member in members) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [state(member) for member in members] == ["T"] * len(members)
        assert running.ask("count", batches=2)["amount"] > 0
    assert not left_over(running.group)


def left_over(group):
    """Processes that have not ended some seconds later."""
    deadline = time.monotonic() + 10
    while (left := module("loaders.usage").members(group)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def test_a_loader_that_fails_is_named(task, capfd):
    ended = pytest.raises(RuntimeError, match="the process of read, DALI has ended")
    with module("loaders.process").Process(replace(task, root="/nowhere")) as running, ended:
        running.begin("read, DALI")
    assert "/nowhere" in capfd.readouterr().err


KILLED = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
from loaders.process import Process
from loaders.task import Task
process = Process(Task(**json.loads(sys.argv[2])))
process.ask("load", name="read, DALI")
print(process.group, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_loader_outlives_the_script(task):
    command = [sys.executable, "-c", KILLED, str(BENCHMARKS), json.dumps(asdict(task))]
    group = int(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)
    assert not left_over(group)


def test_ratios_are_by_round_and_a_missed_target_is_printed(capsys):
    table, turns, output = module("loaders.table"), module("loaders.turns"), module("loaders.output").Output
    base, ours = turns.Entrant("torchvision v1", 2), turns.Entrant("Loader, TokenMix", 2)
    measured = {
        base: turns.Timed([0.2], {0: 100.0, 1: 50.0, 2: 80.0}, {0: 0.01, 1: 0.01, 2: 0.01}),
        turns.Entrant("torchvision v1", 1): turns.Timed([0.2], {0: 1.0}, {0: 0.01}),
        ours: turns.Timed([0.3], {0: 200.0, 2: 120.0, 4: 9.0}, {0: 0.005, 2: 0.005, 4: 0.01}),
    }
    assert table.by_round(measured, ours, "torchvision v1").tolist() == [2.0, 1.5]
    nothing = output([], "", [], 0.0, [], [])
    found = {base.name: turns.Alone(1.0, 900 << 20, nothing), ours.name: turns.Alone(1.0, 800 << 20, nothing)}
    table.show(found, measured, {"SPDL": "no"}, 2, judged=True)
    printed = capsys.readouterr().out
    assert "MISSED  Loader, TokenMix / torchvision v1 1.75 >= 1.9" in printed
    assert "MISSED  first batch 0.30 s < 0.20 s" in printed
    assert "holds   peak memory 800 MiB < 900 MiB" in printed
    assert re.search("^SPDL +left out: no$", printed, re.M)


def test_photographs_have_the_sizes_that_were_asked_for(photographs, tmp_path):
    made = module("photographs")
    sizes = [Image.open(path).size for path in photographs.rglob("*.jpg")]
    assert len(sizes) == 128
    assert set(sizes) <= set(made.IMAGENET)
    assert 0.3 < sizes.count((500, 375)) / 128 < 0.6
    assert abs(sum(made.IMAGENET.values()) - 1) < 1e-9
    large = made.make_photographs(tmp_path / "large", 4, "1600x900")
    assert {Image.open(path).size for path in large.rglob("*.jpg")} == {(1600, 900)}
    for wrong in ("500", "x375", "0x9", "-1x5", "imagenets"):
        with pytest.raises(ValueError, match="sizes must be 'imagenet' or WIDTHxHEIGHT"):
            made.parse(wrong)


@pytest.mark.skipif(gpu_problem() is None, reason="there is a GPU")
@pytest.mark.parametrize("name", ["plain DALI", "Loader, TokenMix", "decode the crop, DALI", "resize, DALI"])
def test_the_gpus_graphs_are_good_up_to_the_driver(name, task):
    listed = module("loaders.task")
    with pytest.raises((RuntimeError, ValueError), match=r"driver|CUDA|GPU"):
        next(listed.source(name)(replace(task, device="gpu")))


SCRIPTS = ("throughput.py", "parity.py", "overhead.py", "kernels.py", "labels.py", "teacher.py")


@pytest.mark.skipif(gpu_problem() is None, reason="there is a GPU")
@pytest.mark.parametrize("script", SCRIPTS)
def test_without_a_gpu_the_script_says_so(script, tmp_path):
    command = [sys.executable, str(BENCHMARKS / script), "--quick", "--device", "gpu", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no NVIDIA driver" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_numbers_below_one_are_refused(script):
    option = "--photographs" if script == "parity.py" else "--rounds"
    command = [sys.executable, str(BENCHMARKS / script), option, "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"argument {option}: must be at least 1, got 0" in done.stderr


@pytest.mark.parametrize(
    ("words", "published"),
    [([], True), (["--device", "cpu"], True), (["--quick"], False), (["--device", "cpu", "--rounds", "3"], False)],
)
def test_only_a_run_without_options_replaces_published_results(words, published, tmp_path, monkeypatch):
    results = module("results")
    for name in ("FOLDER", "TRIALS"):
        monkeypatch.setattr(results, name, tmp_path / name)
    monkeypatch.setattr(sys, "argv", ["kernels.py", *words])
    path = results.Results("kernels", "cpu").write()
    assert path == tmp_path / ("FOLDER" if published else "TRIALS") / "kernels-cpu.csv"
    (row,) = results.read(path)
    assert (row["metric"], row["unit"]) == ("wall", "s")
