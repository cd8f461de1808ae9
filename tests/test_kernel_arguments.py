"""Each address of a launch is that of the parameter's own array, and arrives through CuPy as it was passed."""

from __future__ import annotations

import re
import sys
from importlib import import_module

import numpy as np
import pytest

from dali_tokenmix.runtime import blend, cuda, params, quarters, resized, sources
from dali_tokenmix.runtime.images import Images
from tests import cupy_launch
from tests.compiled import ALL_KERNELS
from tests.test_grid import everything

BYTES = "bytes"  # of any dtype
ITEMS = {"uint8_t": BYTES, "uint16_t": "float16", "int16_t": "int16", "float": "float32", "Entry": "float32"}
ITEMS |= {"int32_t": "int32", "uint32_t": "uint32", "uint64_t": "uint64"}
NAMED = {"rows": "plan", "memory": "scratch"}  # what the launcher's variable is called -> the kernel's parameter


@pytest.fixture(scope="module")
def launches():
    """{kernel: [([(array's name, dtype)], struct, pointers, packed, work)]}, of every launch of every kernel."""
    found = {}

    def note(launch):
        def noting(device, name, struct, pointers, work, *, threads=None, **scalars):
            arrays = arrays_of(sys._getframe(1).f_locals)
            packed = params.pack(struct, **scalars)
            named = [arrays.get(pointer, ("null", "null")) for pointer in pointers]
            found.setdefault(name, []).append((named, struct, pointers, packed, work))
            if [array for array, _ in named if array != "null"] == present(name, pointers):  # or else it would crash
                launch(device, name, struct, pointers, work, threads=threads, **scalars)

        return noting

    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "mix",
            "exchange",
            "blend",
            "chains",
            "erase",
            "quarters",
            "luminance",
            "place",
            "score",
            "relabel",
            "resize",
            "normalise",
            "draw",
            "resized",
        ):
            module = import_module(f"dali_tokenmix.runtime.{name}")
            patch.setattr(module, "launch", note(module.launch))
        everything()
        for module in (blend, quarters, resized):
            patch.setattr(module, "vector_alignment", lambda device: 16)
        for width in (1, 2, 4, 8, 16):
            patch.setattr(Images, "widest", lambda self, least, width=width: max(width, least))
            everything(size=(32, 64))
    return found


def arrays_of(variables):
    """{address: (name, dtype)} of the arrays that a function has in its variables."""
    found = {}
    for name, value in variables.items():
        array = value.view if isinstance(value, Images) else value
        if isinstance(array, np.ndarray):
            found[array.ctypes.data] = name, array.dtype.name
        elif hasattr(array, "address"):
            found[array.address] = NAMED.get(name, name), array.dtype
    return found


def declared(kernel):
    """([(name, item, constant)], struct) of a kernel's parameters, as its source declares them."""
    text = sources.text(cuda.file_of(kernel))
    for name, inside in re.findall(r"KERNEL ([\w#]+)\(([^)]*)\)", text):
        if re.fullmatch(re.sub("[A-Z]+", "[a-z0-9]+", name.replace("##", "")), kernel):
            *pointers, struct = (parameter.strip() for parameter in inside.split(","))
            found = [re.fullmatch(r"(const )?(\w+)\* (\w+)", pointer).groups() for pointer in pointers]
            return [(name, item, bool(constant)) for constant, item, name in found], struct.split()[0]
    raise AssertionError(f"no {kernel} in its source")


def present(kernel, pointers):
    """The names of a kernel's parameters that are no null pointers."""
    return [name for (name, *_), pointer in zip(declared(kernel)[0], pointers, strict=True) if pointer]


@pytest.mark.parametrize("kernel", ALL_KERNELS)
def test_every_address_is_that_of_the_parameter_s_own_array(kernel, launches):
    """By name, by dtype and in order: two parameters that change places are found, whatever their types."""
    parameters, declared_struct = declared(kernel)
    for named, struct, pointers, _, _ in launches[kernel]:
        assert struct == declared_struct
        assert len(named) == len(parameters)
        for (array, dtype), (name, item, _), pointer in zip(named, parameters, pointers, strict=True):
            if pointer == 0:
                assert name in ("boxes", "flips"), f"{kernel}: {name} must not be null"
                continue
            assert array == name, f"{kernel} takes {name} where {array} is passed"
            if name != "images":
                assert dtype.replace("uint8", BYTES) == ITEMS[item], f"{kernel}: {name} is {item}*, passed as {dtype}"


def test_every_array_has_been_passed_once(launches):
    """So that the names above were found, and nothing was null by chance."""
    assert set(launches) == set(ALL_KERNELS)
    for kernel, calls in launches.items():
        passed = {name for named, *_ in calls for name, _ in named} - {"null"}
        assert passed == {name for name, *_ in declared(kernel)[0]}


def test_what_is_written_is_no_constant_and_something_is():
    written = {kernel: [name for name, _, constant in declared(kernel)[0] if not constant] for kernel in ALL_KERNELS}
    assert all(written.values())
    assert written["targets"] == ["out"]
    assert written["score"] == ["plan"]
    assert written["token_labels"] == ["scratch", "token_ids", "probabilities"]


def test_arguments_arrive_through_cupy_byte_for_byte(launches):
    """Those of every kernel, in CuPy's own launch: addresses of 8 bytes, then the struct, by value."""
    pytest.importorskip("cupy")
    sent = [(kernel, *calls[0][2:]) for kernel, calls in sorted(launches.items())]
    arrived = cupy_launch.arrived(
        [
            (kernel, pointers, packed, work.grid, work.block, [8] * len(pointers) + [packed.nbytes])
            for kernel, pointers, packed, work in sent
        ]
    )
    if arrived is None:
        pytest.skip("this CuPy's modules call one another otherwise than CuPy 14's")
    assert len(arrived) == len(sent) == len(ALL_KERNELS)
    for (kernel, pointers, packed, work), (grid, block, arguments) in zip(sent, arrived, strict=True):
        assert (grid, block) == ((work.grid, 1, 1), (*work.block, 1)), kernel
        assert arguments == [*(pointer.to_bytes(8, "little") for pointer in pointers), packed.tobytes()], kernel
