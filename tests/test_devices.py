"""Which device is used, and what is said where a GPU cannot be: with drivers made for the purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from dali_tokenmix import devices

# The four functions of libcuda that are asked before anything else, answering what the environment says.
DRIVER = """
#include <stdlib.h>
static int number(const char* name) { const char* text = getenv(name); return text ? atoi(text) : 0; }
int cuInit(unsigned flags) { return number("FAKE_INIT"); }
int cuDeviceGetCount(int* count) { *count = number("FAKE_GPUS"); return 0; }
int cuDriverGetVersion(int* version) { *version = number("FAKE_VERSION"); return 0; }
"""
BLOCKED = """
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "cupy" or name.startswith("cupy."):
            raise ModuleNotFoundError(name)
import sys
sys.meta_path.insert(0, Blocker())
"""
NO_NVRTC = """
from dali_tokenmix import devices
def nvrtc_version():
    raise ImportError("libnvrtc.so is nowhere")
devices.nvrtc_version = nvrtc_version
"""
SAID = {
    "starts not": ({"FAKE_INIT": "999"}, "", 0, "the NVIDIA driver does not start: cuInit returned 999"),
    "no GPU": ({"FAKE_GPUS": "0"}, "", 0, "the NVIDIA driver sees no GPU: look at CUDA_VISIBLE_DEVICES"),
    "wrong number": ({"FAKE_GPUS": "2"}, "", 2, "there is no GPU 2: the driver sees 2, numbered from 0"),
    "old": ({"FAKE_VERSION": "11080"}, "", 0, "the driver is for CUDA 11.8 and does not load what NVRTC 1"),
    "no CuPy": (
        {},
        BLOCKED,
        0,
        "CuPy is not installed, which launches the kernels: pip install 'dali_token",
    ),
    "no NVRTC": (
        {},
        NO_NVRTC,
        0,
        "NVRTC is not found, which compiles the kernels (libnvrtc.so is nowhere): pip",
    ),
    "well": ({}, "", 1, "None"),
}
ASK = """
{before}
import warnings
from dali_tokenmix import devices
print(devices.gpu_problem({number}))
for given in (("gpu", None), (None, {number}), (None, None)):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            print(devices.resolve(*given), *(warning.message for warning in caught))
        except RuntimeError as error:
            print(error)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The folder of a libcuda.so.1 that does as it is told."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(DRIVER)
    subprocess.run([compiler, "-shared", "-fPIC", folder / "driver.c", "-o", folder / devices.DRIVER], check=True)
    return folder


def python(code, folder=None, **environment):
    known = {**os.environ, "FAKE_GPUS": "2", "FAKE_VERSION": "99000", **environment}
    if folder is not None:
        known["LD_LIBRARY_PATH"] = str(folder)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=known, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", SAID)
def test_each_thing_that_is_missing_has_its_own_words(driver, name):
    environment, before, number, expected = SAID[name]
    problem, asked, numbered, left_out = python(ASK.format(before=before, number=number), driver, **environment)
    assert problem.startswith(expected)
    if name == "well":
        assert (asked, numbered, left_out) == ("gpu", "gpu", "gpu")
        return
    if name == "wrong number":  # GPU 0 is there
        assert (asked, left_out) == ("gpu", "gpu")
    else:
        assert asked == f"device='gpu': {problem}; or use device='cpu'"
        unused = f" there is a GPU, but it is not used: {problem}" if name in ("old", "no CuPy", "no NVRTC") else ""
        assert left_out == f"cpu{unused}"
    assert numbered == f"device_id={number}: {problem}; or use device='cpu'"


@pytest.mark.parametrize("name", ["starts not", "no GPU", "old", "no NVRTC"])
def test_the_doctor_says_the_same(driver, name):
    environment, before, _, expected = SAID[name]
    code = f"{before}\nfrom dali_tokenmix.commands import doctor\n" + (
        "for check in (doctor._gpu, doctor._nvrtc):\n    print(*doctor._checked('', check)[:3])\n"
    )
    assert any(expected in line for line in python(code, driver, **environment))


@pytest.mark.skipif(devices.driver_version() is not None, reason="there is a driver")
def test_without_a_driver():
    assert devices.gpu_problem().startswith("no NVIDIA driver: libcuda.so.1 is not found. Install the driver")
    assert devices.resolve(None) == "cpu"
    with pytest.raises(RuntimeError, match=r"^device_id=1: no NVIDIA driver"):
        devices.resolve(None, 1)


@pytest.mark.parametrize(
    ("device", "number", "error", "message"),
    [
        ("cpu", 0, ValueError, "device_id is the number of a GPU, got 0 with device='cpu'"),
        ("gpu", -1, ValueError, r"device_id must be in 0\.\."),
        ("gpu", "0", TypeError, "device_id must be a whole number, got '0'"),
        ("cuda", None, ValueError, "device must be one of None, 'cpu', 'gpu', got 'cuda'"),
    ],
)
def test_mistakes_are_named(device, number, error, message):
    with pytest.raises(error, match=message):
        devices.resolve(device, number)
