"""benchmarks/gpu_check.py as far as it goes without a driver: dry runs, and the GPU's side on a stand-in."""

from __future__ import annotations

import importlib
import json
import math
import re
import subprocess
import sys
import time
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dali_tokenmix.devices import gpu_problem
from dali_tokenmix.runtime import cuda, host
from dali_tokenmix.runtime.params import STRUCTS
from dali_tokenmix.runtime.work import Work
from tests.compiled import KERNELS

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SECTIONS = ("tests", "kernels", "methods", "targets", "teacher", "loader", "overhead")
ON_THE_HOST_ONLY = {"block_mask", "philox", "resize_taps", "resize", "normalise_float32", "normalise_float16"}
OF_KERNELS = ("kernels", "methods", "targets")
WITHOUT = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == gone or name.startswith(gone + ".") for gone in {gone!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
sys.path.insert(0, {folder!r})
sys.argv = ["gpu_check.py", *{arguments!r}]
runpy.run_path({folder!r} + "/gpu_check.py", run_name="__main__")
"""


def gpu_check(*arguments, gone=()):
    """The script in a process of its own, where modules are missing."""
    code = WITHOUT.format(gone=gone, folder=str(BENCHMARKS), arguments=[str(argument) for argument in arguments])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)


def dry_run(folder, *arguments, gone=()):
    ran = gpu_check("--device", "cpu", "--quick", "--out", folder, *arguments, gone=gone)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads((folder / "gpu-dry-run.json").read_text())
    return report, (folder / "gpu-dry-run.md").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(report, Markdown) of a dry run with all that is installed here."""
    return dry_run(tmp_path_factory.mktemp("whole"))


def figures(rows):
    """All numbers of a section's rows, and the samples of timings by their p20, p50, p80."""
    for row in rows:
        for value in row.values():
            if isinstance(value, dict):
                assert value["p20"] <= value["p50"] <= value["p80"]
                yield from value.values()
            elif isinstance(value, float):
                yield value


def compiled():
    """Names of the kernels that run on a GPU."""
    return set().union(*KERNELS.values()) - ON_THE_HOST_ONLY


def stems(names):
    """Without types and widths."""
    launches = importlib.import_module("gpu.launches")
    return {launches.Launch("gpu", name, "", (), None, {}).kernel for name in names}


def test_every_section_is_carried_out(whole):
    report, page = whole
    assert {name: section["status"] for name, section in report["sections"].items()} == dict.fromkeys(SECTIONS, "ok")
    assert all(f"## {name}: ok" in page for name in SECTIONS)


@pytest.mark.parametrize("section", SECTIONS[1:])
def test_figures_are_real_numbers(whole, section):
    found = list(figures(whole[0]["sections"][section]["rows"]))
    assert len(found) >= 4
    assert all(math.isfinite(value) and value > 0 for value in found), found


def test_every_kernel_that_runs_on_a_gpu_is_checked_in_every_width(whole):
    rows = [row for name in OF_KERNELS for row in whole[0]["sections"][name]["rows"]]
    assert {row["kernel"] for row in rows} >= {name for name in compiled() if name.startswith(("exchange", "blend"))}
    assert {row["like the CPU's"] for row in rows} == {"bits"}  # of a dry run: the CPU with itself
    for row in whole[0]["sections"]["kernels"]["rows"]:
        assert row["like NumPy's"] == "bits"
    compared = {row["kernel"] for row in rows if "like NumPy's" in row}
    assert {"crop_maps", "score", "targets", "relabel_softmax", "relabel_mix"} <= compared


def test_the_tests_section_counts_what_pytest_says(whole):
    rows = whole[0]["sections"]["tests"]["rows"]
    assert len(rows) == 2
    for row in rows:
        assert row["failed"] == row["error"] == 0
        assert row["passed"] + row["skipped"] > 5


def test_the_report_says_what_it_holds_for(whole):
    report, page = whole
    machine = report["machine"]
    assert report["dry_run"]
    assert "no figure here says anything about a GPU" in page
    assert "commit" in machine["machine"]
    assert machine["packages"]["torch"] == version("torch")
    assert "--device cpu --quick" in machine["command"]


def test_without_dali_all_but_the_graph_is_carried_out(tmp_path):
    report, page = dry_run(tmp_path, "--only", *SECTIONS[1:], gone=["nvidia.dali"])
    status = {name: section["status"] for name, section in report["sections"].items()}
    assert status == dict.fromkeys(SECTIONS[1:], "ok") | {"loader": "skipped"}
    assert report["sections"]["loader"]["reason"] == "skipped: not installed: nvidia.dali"
    assert "skipped: not installed: nvidia.dali" in page


def test_with_cupy_alone_the_kernels_are_checked(tmp_path):
    gone = ["nvidia.dali", "torch", "timm", "torchvision", "PIL", "skimage", "pytest", "hypothesis"]
    report, _ = dry_run(tmp_path, gone=gone)
    status = {name: section["status"] for name, section in report["sections"].items()}
    assert status == dict.fromkeys(SECTIONS, "skipped") | dict.fromkeys(OF_KERNELS, "ok")


def test_without_timm_the_step_is_of_a_plain_transformer(tmp_path):
    report, _ = dry_run(tmp_path, "--only", "overhead", gone=["timm"])
    assert any("a transformer of DeiT-T's size" in row["way"] for row in report["sections"]["overhead"]["rows"])


@pytest.mark.skipif(gpu_problem() is None, reason="there is a GPU")
def test_without_a_gpu_it_refuses_in_one_line():
    ran = gpu_check()
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == f"gpu_check: {gpu_problem()}; or try --device cpu, a dry run\n"


def test_a_dry_run_never_writes_among_the_results():
    ran = gpu_check("--device", "cpu", "--out", BENCHMARKS / "results" / "mine")
    assert ran.returncode == 2
    assert "a dry run does not belong into benchmarks/results" in ran.stderr


# The GPU's side: views, names and widths of kernels, packing and geometry are the GPU's, CuPy is a stand-in, and what
# would go to the driver is carried out by the CPU's library. Nothing here has seen a driver.


@pytest.fixture
def scripts(monkeypatch):
    """gpu_check and its place module, imported here."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu_check"), importlib.import_module("gpu.place")


class OnDevice:
    """Memory that says it is a GPU's."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.nbytes = array, array.shape, array.dtype, array.nbytes

    @property
    def __cuda_array_interface__(self):
        return {**self.array.__array_interface__, "version": 3}

    def __getitem__(self, key):
        return OnDevice(self.array[key])


class Event:
    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass


def stand_in():
    """As much of CuPy as gpu/place.py asks for."""
    card = {"name": b"Stand-in Card (0 SM)", "totalGlobalMem": 1, "multiProcessorCount": 1}
    device = SimpleNamespace(id=0, attributes={"L2CacheSize": 1000}, compute_capability="00", synchronize=lambda: None)
    cuda = SimpleNamespace(
        Device=lambda: device,
        Event=Event,
        get_elapsed_time=lambda begin, end: 1e3 * (end.at - begin.at),
        runtime=SimpleNamespace(getDeviceProperties=lambda number: card, runtimeGetVersion=lambda: 12000),
        nvrtc=SimpleNamespace(getVersion=lambda: (12, 9)),
    )
    return SimpleNamespace(
        zeros=lambda shape, dtype: OnDevice(np.zeros(shape, dtype)),
        empty=lambda shape, dtype: OnDevice(np.empty(shape, dtype)),
        asarray=lambda array: OnDevice(array.copy()),
        asnumpy=lambda array: np.array(getattr(array, "array", array)),
        copyto=lambda target, source: np.copyto(target.array, source.array),
        cuda=cuda,
    )


def pooled(size, dtype):
    """cupy.empty(), as runtime/scratch.py asks for it."""
    memory = np.empty(size, dtype)
    return SimpleNamespace(data=SimpleNamespace(ptr=memory.ctypes.data), memory=memory)


def carry_out(name, pointers, params, grid, block):
    """cuda.launch() without a device: the CPU's kernel, for what the GPU's would get."""
    assert grid >= 1
    assert math.prod(block) == 256
    struct = next(struct for struct, dtype in STRUCTS.items() if dtype == params.dtype)
    launched.add(name)
    host.kernels().launch(name, struct, pointers, params, 1, Work(grid * block[1], block[0]))


launched: set[str] = set()


def test_cupy_has_every_name_that_the_gpus_place_uses():
    cupy = pytest.importorskip("cupy")
    used = set(re.findall(r"self\.cupy\.([\w.]+)", (BENCHMARKS / "gpu" / "place.py").read_text()))
    assert len(used) > 8
    for name in used:
        reduce(getattr, name.split("."), cupy)
    assert set(vars(stand_in())) <= set(dir(cupy))


def test_on_the_gpus_side_kernels_are_checked_and_a_failing_section_is_told(
    whole, scripts, monkeypatch, tmp_path, capsys
):
    """What fails is the teacher: torch is asked for a device "cuda" that is none."""
    if gpu_problem() is None:
        pytest.skip("there is a GPU")
    script, place = scripts
    monkeypatch.setattr(place, "AHEAD", 1000)
    monkeypatch.setattr(script, "Gpu", lambda: place.Gpu(stand_in()))
    monkeypatch.setattr(script, "gpu_problem", lambda: None)
    monkeypatch.setattr(cuda, "launch", carry_out)
    monkeypatch.setattr(pytest.importorskip("cupy"), "empty", pooled)
    launched.clear()
    arguments = ["gpu_check.py", "--quick", "--rounds", "2", "--only", "teacher", *OF_KERNELS]
    monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(tmp_path)])
    assert script.main() == 1
    report = json.loads((tmp_path / "gpu-stand-in-card-0-sm.json").read_text())
    sections = report["sections"]
    assert not report["dry_run"]
    status = {name: section["status"] for name, section in sections.items()}
    assert status == {"teacher": "failed", **dict.fromkeys(OF_KERNELS, "ok")}
    assert re.search("cuda", sections["teacher"]["reason"], re.IGNORECASE)
    assert report["machine"]["nvrtc"] == "12.9"
    rows = [row for name in OF_KERNELS for row in sections[name]["rows"]]
    assert {row["like the CPU's"] for row in rows} == {"bits"}
    assert {row["kernel"] for row in rows} == launched
    on_the_cpu = {row["kernel"] for name in OF_KERNELS for row in whole[0]["sections"][name]["rows"]}
    assert stems(launched | on_the_cpu) == stems(compiled())
    assert "gpu-stand-in-card-0-sm.md" in capsys.readouterr().out


def test_results_that_differ_fail(scripts):
    cases = importlib.import_module("gpu.cases")

    def ran(*values):
        return cases.Ran([np.float32(values)], [], [])

    assert cases.compare("same", ran(1, 2), ran(1, 2), 0.0) == "bits"
    assert cases.compare("close", ran(1, 2), ran(1, 2.0000002), 1e-6) == "to 2e-07"
    for wrong in (ran(1, 2.1), ran(1, np.nan)):
        with pytest.raises(AssertionError, match="wrong: results differ by"):
            cases.compare("wrong", wrong, ran(1, 2), 1e-6)


def test_the_gpus_clock_counts_the_mean_of_calls_in_a_row(scripts, monkeypatch):
    _, place = scripts
    monkeypatch.setattr(place, "AHEAD", 1000)
    calls = []
    seconds = place.Gpu(stand_in()).measure(lambda call: (calls.append(call), time.sleep(0.01)), 2, 3)
    assert calls == [6, 7, 8]
    assert 0.01 <= seconds < 0.02
