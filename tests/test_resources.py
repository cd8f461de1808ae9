"""No kernel spills, needs more registers than it did, or moves its bytes in smaller pieces. Needs NVRTC and no GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from dali_tokenmix.runtime.work import THREADS_A_BLOCK
from tests import resources
from tests.compiled import ALL_KERNELS, ARCHITECTURES, KERNELS, NVRTCS, build
from tests.resources import Need

pytest.importorskip("cupy")

REGISTERS_A_BLOCK = 65536  # on every architecture we name
WIDE = {f"exchange_{region}_{width}": width for region in ("tokens", "box") for width in (2, 4, 8, 16)}
WIDE |= {f"blend_{dtype}_16": 16 for dtype in ("uint8", "float16", "float32")}
PTX_WIDTHS = {"b8": 1, "u8": 1, "b16": 2, "u16": 2, "b32": 4, "u32": 4, "f32": 4, "b64": 8, "u64": 8, "b128": 16}


@pytest.fixture(scope="module")
def table():
    return resources.read()


def test_the_table_has_each_kernel_once(table):
    expected = {(major, arch, kernel) for major in NVRTCS for arch in ARCHITECTURES for kernel in ALL_KERNELS}
    assert set(table) == expected, resources.RENEW
    assert len(resources.TABLE.read_text().splitlines()) == 3 + len(NVRTCS) * len(ALL_KERNELS), resources.RENEW


@pytest.mark.parametrize("major", NVRTCS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("stem", KERNELS)
def test_kernels_need_no_more_than_the_table_says(stem, architecture, major, table):
    needs = resources.needs_of(stem, architecture, major)
    assert set(needs) == KERNELS[stem]
    for kernel, need in needs.items():
        found = resources.complaints(need, table[major, architecture, kernel])
        assert not found, f"{kernel} on sm_{architecture} by NVRTC {major}: {', '.join(found)}; {resources.RENEW}"
        assert need.registers * THREADS_A_BLOCK <= REGISTERS_A_BLOCK, f"{kernel} cannot be launched: sm_{architecture}"


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"registers": 44}, ""),
        ({"registers": 30}, ""),
        ({"registers": 45}, "registers 45, 40 in the table"),
        ({"stack": 48}, ""),
        ({"stack": 56}, "stack 56, 48 in the table"),
        ({"shared": 1}, "shared 1, 0 in the table"),
        ({"spill_stores": 4}, "4 bytes of spill_stores"),
        ({"spill_loads": 8}, "8 bytes of spill_loads"),
    ],
)
def test_what_is_complained_about(changed, complaint):
    usual = {"registers": 40, "stack": 48, "spill_stores": 0, "spill_loads": 0, "shared": 0}
    assert ", ".join(resources.complaints(Need(**usual | changed), Need(**usual))) == complaint


def test_a_spill_that_is_in_the_table_is_complained_about_all_the_same():
    spilling = Need(40, 0, 4, 4, 0)
    assert len(resources.complaints(spilling, spilling)) == 2


def test_a_log_is_read_kernel_by_kernel():
    log = """
ptxas info    : Compiling entry function 'one' for 'sm_75'
ptxas info    : Function properties for one
ptxas         .     8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 54 registers, used 1 barriers, 128 bytes smem, 432 bytes cmem[0]
ptxas info    : Compiling entry function 'two' for 'sm_75'
ptxas info    : Function properties for two
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 16 registers, used 0 barriers
"""
    assert resources.parse(log) == {"one": Need(54, 8, 4, 12, 128), "two": Need(16, 0, 0, 0, 0)}
    with pytest.raises(ValueError, match="reads otherwise than expected"):
        resources.parse(log.replace("Used", "Takes"))


@pytest.mark.parametrize("major", NVRTCS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", WIDE)
def test_the_widest_loads_and_stores_are_as_wide_as_the_name_says(kernel, architecture, major):
    """Two loads at least, the own and the partner's, and two stores of that many bytes, and none wider."""
    body = build(kernel.split("_")[0], architecture, major).body(kernel)
    for access in ("ld", "st"):
        widths = [width_of(*found) for found in re.findall(rf"\b{access}\.global\.(?:v(\d)\.)?(\w+)", body)]
        plan = 4 if access == "ld" else 0  # numbers of a plan row are read, and never written
        found = f"{kernel} on sm_{architecture}: {access} of {sorted(set(widths))} bytes"
        assert max(widths) == max(WIDE[kernel], plan), found
        assert widths.count(WIDE[kernel]) >= 2, found


@pytest.mark.parametrize("major", NVRTCS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("stem", ["exchange", "blend"])
def test_the_machine_code_loads_and_stores_128_bits(stem, architecture, major, tmp_path):
    nvdisasm = disassembler(architecture)
    cubin = tmp_path / "kernels.cubin"
    cubin.write_bytes(build(stem, architecture, major).cubin)
    done = subprocess.run([nvdisasm, "-c", str(cubin)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    bodies = dict(re.findall(r"\.text\.(\w+):(.*?)(?=\n\.text\.|\Z)", done.stdout, re.DOTALL))
    assert set(bodies) == KERNELS[stem]
    for kernel, body in bodies.items():
        counts = [len(re.findall(rf"\b{access}\.E(?:\.\w+)*\.128\b", body)) for access in ("LDG", "STG")]
        assert (min(counts) >= 2) == kernel.endswith("_16"), f"{kernel} on sm_{architecture}: {counts}"


def width_of(vector, item):
    return int(vector or 1) * PTX_WIDTHS[item]


def disassembler(architecture):
    """nvdisasm, of a CUDA toolkit or the one that comes with Triton. Skips the test where there is none."""
    triton = Path(sysconfig.get_paths()["purelib"]) / "triton/backends/nvidia/bin/nvdisasm"
    found = shutil.which("nvdisasm") or (str(triton) if triton.is_file() else None)
    if found is None:
        pytest.skip("no nvdisasm, which comes with a CUDA toolkit and with Triton: the PTX alone is looked at")
    return found
