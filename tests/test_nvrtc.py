"""Every kernel compiles for every architecture we name, by every NVRTC we name. Needs no GPU."""

from __future__ import annotations

import re

import pytest

from dali_tokenmix.runtime import cuda, sources
from tests.compiled import ALL_KERNELS, ARCHITECTURES, KERNELS, NVRTCS, build, nvrtc

pytest.importorskip("cupy")


def test_every_kernel_file_is_listed():
    assert set(sources.names()) == set(KERNELS)


@pytest.mark.parametrize("major", NVRTCS)
def test_the_nvrtc_is_the_one_we_name(major):
    assert nvrtc(major).getVersion()[0] == major


@pytest.mark.parametrize("major", NVRTCS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("stem", KERNELS)
def test_kernels_compile_and_are_in_the_cubin(stem, architecture, major):
    cubin = build(stem, architecture, major).cubin
    assert cubin.startswith(b"\x7fELF")
    assert len(cubin) == end_of_tables(cubin)
    assert set(code_of(cubin)) == KERNELS[stem]


@pytest.mark.parametrize("stem", KERNELS)
def test_asking_for_figures_does_not_change_the_code(stem):
    """What the tests measure is what runs: only the note that holds the command line differs."""
    architecture, major = 90, nvrtc_of_cupy()
    assert code_of(build(stem, architecture, major).cubin) == code_of(cuda.compile_cubin(stem, architecture))


@pytest.mark.parametrize("name", ALL_KERNELS)
def test_the_launcher_finds_the_file_of_each_kernel(name):
    """By the rule that cuda.launch() goes by, which needs a device to be run."""
    assert name in KERNELS[cuda.file_of(name)]


@pytest.mark.parametrize("major", NVRTCS)
def test_a_kernel_that_does_not_compile_says_why(major, monkeypatch):
    monkeypatch.setattr("cupy.cuda.nvrtc", nvrtc(major))
    monkeypatch.setattr(sources, "text", lambda stem: "KERNEL broken() {}")
    with pytest.raises(RuntimeError, match=r"blend.cu does not compile for sm_80: .*KERNEL"):
        cuda.compile_cubin("blend", 80)


def test_sources_are_one_text_with_each_header_once():
    for stem in sources.names():
        text = sources.text(stem)
        assert '#include "' not in text
        assert "#pragma once" not in text
        assert text.count("#define FOR_EACH_ROW") == 2  # for CUDA and for the CPU


def nvrtc_of_cupy():
    from cupy.cuda import nvrtc

    return nvrtc.getVersion()[0]


def end_of_tables(cubin):
    """Where a 64-bit ELF file's tables of program and section headers say that it ends; CuPy 14.2 loses a byte."""
    number = {name: int.from_bytes(cubin[a:b], "little") for name, (a, b) in ELF.items()}
    tables = (("phoff", "phentsize", "phnum"), ("shoff", "shentsize", "shnum"))
    return max(number[at] + number[size] * number[count] for at, size, count in tables)


ELF = {
    "phoff": (32, 40),
    "shoff": (40, 48),
    "phentsize": (54, 56),
    "phnum": (56, 58),
    "shentsize": (58, 60),
    "shnum": (60, 62),
}


def code_of(cubin):
    """The machine code of each kernel: the .text sections of a 64-bit little-endian ELF file."""
    table, entry_size, count, names_at = (
        int.from_bytes(cubin[at : at + size], "little") for at, size in ((40, 8), (58, 2), (60, 2), (62, 2))
    )
    headers = [cubin[table + i * entry_size :][:entry_size] for i in range(count)]

    def section(header):
        offset, size = (int.from_bytes(header[at : at + 8], "little") for at in (24, 32))
        return cubin[offset : offset + size]

    names = section(headers[names_at])
    named = {names[int.from_bytes(header[:4], "little") :].split(b"\0")[0].decode(): header for header in headers}
    return {
        match[1]: section(header) for name, header in named.items() if (match := re.fullmatch(r"\.text\.(\w+)", name))
    }
