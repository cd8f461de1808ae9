"""What the launcher passes, against what the compiled kernels take: parameters, fields, and limits of a device."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest

import dali_tokenmix as dtm
from dali_tokenmix.plan import region_offsets, row_dtype
from dali_tokenmix.runtime import cuda, host, launch, mix, params, sources
from dali_tokenmix.runtime.arrays import View, contiguous_strides
from dali_tokenmix.runtime.images import Images, images_of
from tests.compiled import ALL_KERNELS, build
from tests.test_grid import everything

MOST_THREADS, MOST_BLOCKS = 1024, 2**31 - 1  # of a block, and of a grid in x, on every architecture we name


class Recorder:
    """The host library's launch(), noted; the kernel runs too if there is one."""

    def __init__(self, library=None):
        self.library, self.on_grid, self.launches = library, False, []

    def launch(self, name, struct, pointers, packed, threads, work):
        self.launches.append((name, struct, pointers, packed, work))
        if self.library is not None:
            self.library.launch(name, struct, pointers, packed, threads, work)


@pytest.fixture(scope="module")
def launches():
    """Every launch of every kernel, by name: with the widths that a GPU's alignment allows, and the CPU's."""
    recorder = Recorder(host.kernels())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "kernels", lambda: recorder)
        everything()
        patch.setattr(host, "VECTOR_ALIGNMENT", 16)
        everything(size=(32, 64))
        for width in (1, 2, 4, 8, 16):
            patch.setattr(Images, "widest", lambda self, least, width=width: max(width, least))
            everything(size=(32, 64))
    found = {}
    for name, *rest in recorder.launches:
        found.setdefault(name, []).append(rest)
    return found


def parameters(kernel):
    """[(bytes, alignment)] of a kernel's parameters, as its PTX declares them."""
    ptx = build(cuda.file_of(kernel), 80, 13).ptx
    (declared,) = re.findall(rf"\.entry {kernel}\((.*?)\n\)", ptx, re.DOTALL)
    found = []
    for text in declared.split(","):
        align, width = re.search(r"\.align (\d+) \.b8 \w+\[(\d+)\]", text), re.search(r"\.param \.[bu](\d+)", text)
        if align:
            found.append((int(align[2]), int(align[1])))
        else:
            found.append((int(width[1]) // 8,) * 2)
    return found


def test_every_kernel_is_launched_here(launches):
    assert set(launches) == set(ALL_KERNELS)


@pytest.mark.parametrize("kernel", ALL_KERNELS)
def test_a_launch_passes_what_the_kernel_takes(kernel, launches):
    """Addresses of 8 bytes, then one struct, of the compiled sizes and alignment."""
    pytest.importorskip("cupy")
    *addresses, struct = parameters(kernel)
    for name, pointers, packed, _ in launches[kernel]:
        assert packed.dtype == params.STRUCTS[name]
        assert [(np.uint64(pointer).nbytes, 8) for pointer in pointers] == addresses
        assert (packed.nbytes, packed.dtype.alignment) == struct


def fields(dtype, prefix=""):
    """(C expression, offset, bytes) of every number in a struct."""
    for name, (inner, offset, *_) in dtype.fields.items():
        item, shape = inner.subdtype or (inner, ())
        for k in range(int(np.prod(shape))):
            place = f"{prefix}{name}" + (f"[{k}]" if shape else "")
            if item.fields:
                for path, inside, size in fields(item, f"{place}."):
                    yield path, offset + k * item.itemsize + inside, size
            else:
                yield place, offset + k * item.itemsize, item.itemsize


@pytest.fixture(scope="module")
def compiled_fields(tmp_path_factory):
    """{struct: [(offset, bytes)]} by a C++ compiler, from the kernels' own declarations."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("fields")
    lines = [
        f'printf("{name} %zu %zu\\n", offsetof({name}, {path}), sizeof((({name}*)0)->{path}));'
        for name, dtype in params.STRUCTS.items()
        for path, *_ in fields(dtype)
    ]
    source = f'#include "{sources.directory() / "host.cpp"}"\n#include <cstddef>\n#include <cstdio>\n'
    (folder / "fields.cpp").write_text(f"{source}int main() {{\n" + "\n".join(lines) + "\n}\n")
    command = [compiler, "-std=c++17", "-w", str(folder / "fields.cpp"), "-o", str(folder / "fields")]
    subprocess.run(command, check=True, capture_output=True)
    printed = subprocess.run([str(folder / "fields")], check=True, capture_output=True, text=True).stdout
    found = {}
    for line in printed.splitlines():
        name, offset, size = line.split()
        found.setdefault(name, []).append((int(offset), int(size)))
    return found


@pytest.mark.parametrize("struct", params.STRUCTS)
def test_fields_are_where_the_compiler_puts_those_of_the_same_name(struct, compiled_fields):
    """Two fields that change places keep the size of the whole, and are found here."""
    assert compiled_fields[struct] == [(offset, size) for _, offset, size in fields(params.STRUCTS[struct])]


def test_packed_scalars_are_at_their_places():
    packed = params.pack("Targets", rows=(40, 0), samples=2, classes=3, keep=0.5, shift=0.25, floor=0.125, unknown=8.0)
    expected = np.array([40, 0, 2, 3], np.int32).tobytes() + np.array([0.5, 0.25, 0.125, 8], np.float32).tobytes()
    assert packed.tobytes() == expected


def test_the_gpu_launcher_passes_addresses_and_one_struct(monkeypatch):
    """runtime/cuda.py's own call, with a function that notes it in the place of CuPy's."""
    pytest.importorskip("cupy")
    noted = []
    monkeypatch.setattr(cuda, "_function", lambda name, device: lambda *call: noted.append((name, call)))
    monkeypatch.setattr("cupy.cuda.Device", lambda: type("Device", (), {"id": 0}))
    scalars = {"samples": 5, "map_h": 1, "map_w": 2, "grid_h": 3, "grid_w": 4}
    launch.launch("gpu", "crop_maps", "CropMaps", (16, 0, 32, 48), launch.Work(15, 4), **scalars)
    ((name, (grid, block, arguments)),) = noted
    assert (name, grid, block) == ("crop_maps", (1,), (4, 64))
    assert [int(a) for a in arguments[:-1]] == [16, 0, 32, 48]
    assert {a.dtype for a in arguments[:-1]} == {np.dtype("u8")}
    assert arguments[-1].tobytes() == np.array([5, 1, 2, 3, 4], np.int32).tobytes()


@pytest.mark.parametrize("size", [1, 224, 1023, 1024])
@pytest.mark.parametrize("batch", [1, 127, 128, 4096])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("mixer", [dtm.TokenMix(mask="random"), dtm.CutMix(), dtm.MixUp()])
def test_geometry_stays_within_a_devices_limits(mixer, layout, batch, size, monkeypatch):
    """Every pixel row has a row of threads, without a batch being there: its view is made up."""
    recorder = Recorder()
    monkeypatch.setattr(host, "kernels", lambda: recorder)
    monkeypatch.setattr(host, "VECTOR_ALIGNMENT", 16)
    shape = (batch, size, size, 4) if layout == "NHWC" else (batch, 3, size, size)
    made_up = View(2**40, shape, contiguous_strides(shape, 4), "float32", 4, "cpu", True, None)
    shapes = mixer.shapes((size, size))
    plan_shape = (batch, row_dtype(shapes).itemsize)
    rows = View(2**41, plan_shape, contiguous_strides(plan_shape, 1), "uint8", 1, "cpu", True, None)
    mix.apply_plan(images_of(made_up, layout=layout), rows, shapes, region_offsets(shapes))
    mix.mirror(images_of(made_up, layout=layout), rows)
    assert len(recorder.launches) == 2
    for _, _, _, packed, work in recorder.launches:
        x, y = work.block
        assert x * y <= MOST_THREADS
        assert 1 <= work.grid <= MOST_BLOCKS
        image = packed["image"]
        assert int(image["samples"]) == batch
        assert work.rows == batch * int(image["planes"]) * int(image["height"]) < 2**31  # counted in 32 bits
        assert work.grid * y >= work.rows


def test_more_rows_than_32_bits_count_are_refused():
    shape = (2**20, 3, 1024, 4)
    made_up = View(2**40, shape, contiguous_strides(shape, 1), "uint8", 1, "cpu", True, None)
    with pytest.raises(ValueError, match=r"images must have under 2\*\*31 pixel rows in all"):
        images_of(made_up, layout="NCHW")


def test_geometry_of_all_other_kernels(launches):
    for name, calls in launches.items():
        for _, _, _, work in calls:
            x, y = work.block
            assert x * y <= MOST_THREADS, name
            assert 1 <= work.grid <= MOST_BLOCKS, name
            assert work.grid * y >= work.rows, name
