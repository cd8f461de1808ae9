"""Every kernel compiles for every architecture we name. Needs NVRTC (CuPy) and no GPU."""

from __future__ import annotations

import re

import pytest

from dali_tokenmix.runtime import cuda, sources

pytest.importorskip("cupy")

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
KERNELS = {
    "block_mask": {"block_mask", "philox"},
    "blend": {
        f"blend_{name}_{width}" for name, item in (("uint8", 1), ("float16", 2), ("float32", 4)) for width in (item, 16)
    },
    "exchange": {f"exchange_{region}_{width}" for region in ("tokens", "box") for width in (1, 2, 4, 8, 16)},
    "targets": {"targets"},
    "mirror": {"mirror"},
    "resize": {"resize_taps", "resize_rows", "resize_columns"},
    "score": {"score"},
    "crop_maps": {"crop_maps"},
    "roi_weights": {"roi_weights"},
    "relabel": {"relabel_pool", "relabel_softmax", "relabel_mix"},
    "token_labels": {"token_labels"},
}


def test_every_kernel_file_is_listed():
    assert set(sources.names()) == set(KERNELS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("stem", KERNELS)
def test_kernels_compile_and_are_in_the_cubin(stem, architecture):
    cubin = cuda.compile_cubin(stem, architecture)
    assert cubin.startswith(b"\x7fELF")
    entries = {name.decode() for name in re.findall(rb"\.text\.(\w+)\0", cubin)}
    assert entries == KERNELS[stem]


@pytest.mark.parametrize("name", sorted(set().union(*KERNELS.values())))
def test_the_launcher_finds_the_file_of_each_kernel(name):
    """By the rule that cuda.launch() goes by, which needs a device to be run."""
    assert name in KERNELS[cuda.file_of(name)]


def test_a_kernel_that_does_not_compile_says_why(monkeypatch):
    monkeypatch.setattr(sources, "text", lambda stem: "KERNEL broken() {}")
    with pytest.raises(RuntimeError, match=r"blend.cu does not compile for sm_80: .*KERNEL"):
        cuda.compile_cubin("blend", 80)


def test_sources_are_one_text_with_each_header_once():
    for stem in sources.names():
        text = sources.text(stem)
        assert '#include "' not in text
        assert "#pragma once" not in text
        assert text.count("#define FOR_EACH_ROW") == 2  # for CUDA and for the CPU
