"""Kernels on a GPU's grid, gone through by a CPU: every row and lane once, whatever the order and the number of blocks.

make grid runs the whole kernel suite in this mode; here is what that rests on, and larger geometries.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest

import dali_tokenmix as dtm
from dali_tokenmix import runtime
from dali_tokenmix.placing import placed
from dali_tokenmix.plan import Plan
from dali_tokenmix.regions import Fill
from dali_tokenmix.runtime import grid, host, sources
from dali_tokenmix.runtime.arrays import view
from dali_tokenmix.runtime.images import images_of
from dali_tokenmix.runtime.luminance import luminance
from dali_tokenmix.runtime.work import Work
from tests.chains import chains_plan
from tests.helpers import erased_region, provenance, random_plan, unplaced_plan
from tests.test_relabel import label_maps


@pytest.fixture(params=["0", "1", "2"])
def on_grid(request, strict_library, monkeypatch):
    """Seed 0 goes in order, the others shuffle."""
    monkeypatch.setenv(grid.SEED, request.param)
    return lambda: monkeypatch.setattr(host, "kernels", lambda: strict_library)


@pytest.fixture(params=["all blocks", "three blocks"])
def blocks(request, monkeypatch):
    """Kernels stride over rows that have no block of their own."""
    if request.param == "three blocks":
        monkeypatch.setattr(Work, "grid", property(lambda self: 3))


def everything(n=6, size=(70, 52), classes=37):
    """What each kernel makes of one batch, all by name."""
    rng, made = np.random.default_rng(0), {}
    for kind in ("tokens", "box", "blend", "quarters", "resized"):
        for dtype in ("uint8", "float16", "float32"):
            for layout in ("NHWC", "NCHW"):
                images = provenance(n, *size, dtype=dtype)
                images = images if layout == "NHWC" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
                plan = random_plan(kind, np.random.default_rng(1), n, size, patch_size=5)
                planes = made[kind, "luminance", dtype, layout] = np.empty((n, 9, 7), np.float32)
                luminance(view("images", images), view("planes", planes), layout)
                made[kind, dtype, layout] = dtm.apply(plan, images, layout=layout)
        # rows that begin where 16 bytes may be read at once, and end where they may not
        whole = np.zeros((n, size[0], 64, 3), np.uint8)
        whole[:, :, : size[1]] = provenance(n, *size)
        dtm.apply(random_plan(kind, np.random.default_rng(1), n, size, patch_size=5), whole[:, :, : size[1]])
        made[kind, "row ends"] = whole
    for kind, dtype, layout in product(("boxes", "cells"), ("uint8", "float16", "float32"), ("NHWC", "NCHW")):
        for fill in (Fill("constant", (1, 2, 3)), Fill("noise")):
            images = provenance(n, size[0], 64, dtype=dtype)
            images = images if layout == "NHWC" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
            region = erased_region(kind, np.random.default_rng(4), n, (size[0], 64), fill)
            made["erased", kind, dtype, layout, fill.kind] = dtm.apply(
                Plan(np.arange(n), (region,), (size[0], 64)), images, layout=layout
            )
    for layout in ("NHWC", "NCHW"):
        images = rng.integers(0, 256, (n, *size, 3), np.uint8)
        images = images if layout == "NHWC" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        made["chains", layout] = dtm.apply(chains_plan(np.random.default_rng(1), n, size), images, layout=layout)
    mirrored, flips = provenance(n, *size), rng.integers(0, 2, n).astype(np.int32)
    runtime.mirror(images_of(view("images", mirrored)), view("flips", flips))
    crops = [rng.integers(0, 256, (40 + 30 * k, 90 - k, 3), np.uint8) for k in range(n)]
    plan = dtm.draw(dtm.TokenMix(5, mode="elem"), n, size, seed=3)
    maps = rng.random((n, 9, 7)).astype(np.float32)
    boxes = np.tile(np.float32([0.1, 0.2, 0.8, 0.7]), (n, 1))
    ids, scores = label_maps(rng, n, 3, 9, 7, classes)
    labels = dtm.crop_labels(ids, scores, boxes, num_classes=classes)
    token_ids, probabilities = dtm.token_labels(plan, ids, scores, boxes, flips, num_classes=classes)
    for kind in ("box", "tokens"):
        made["placed", kind] = placed(unplaced_plan(kind, np.random.default_rng(2), n, size), maps).rows()
    made |= {
        "mirror": mirrored,
        "resize": runtime.resize(crops, flips, (33, 45)),
        "normalise": runtime.normalise(
            provenance(n, *size), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), np.empty((n, 3, *size), np.float32), planar=True
        ),
        "normalise float16": runtime.normalise(
            provenance(n, *size), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), np.empty((n, *size, 3), np.float16), planar=False
        ),
        "block mask": plan.mask(),
        "philox": runtime.philox(rng.integers(0, 2**32, (700, 4)), rng.integers(0, 2**32, (700, 2))),
        "crop_maps": dtm.crop_maps(maps, boxes, flips, (6, 40)),
        "score": np.stack([(scored := dtm.scored(plan, maps)).own, scored.other]),
        "targets": dtm.soft_targets(plan, np.arange(n), classes),
        "crop_labels": labels,
        "mix_labels": dtm.soft_targets(plan, labels, classes),
        "token_ids": token_ids,
        "token_probabilities": probabilities,
    }
    return made


@pytest.fixture(scope="module")
def expected():
    return everything()


def test_any_order_and_any_number_of_blocks_give_the_same(expected, on_grid, blocks, capfd):
    """Bit for bit what the CPU library gives, and no access that UBSan reports as misaligned."""
    on_grid()
    for name, array in everything().items():
        np.testing.assert_array_equal(array, expected[name], err_msg=str(name))
    assert capfd.readouterr().err == ""


def test_the_library_for_any_processor_gives_the_same(expected, monkeypatch):
    """Where this one has AVX2, the tests run with the other library."""
    path = next(sources.PACKAGE.glob(f"{host.ANY}.*"))
    monkeypatch.setattr(host, "kernels", cache(lambda: host.HostKernels(path)))
    for name, array in everything().items():
        np.testing.assert_array_equal(array, expected[name], err_msg=str(name))


def test_every_thread_of_the_grid_is_gone_through_once(strict_library, monkeypatch):
    seen = []
    indices = [grid.Index.in_dll(strict_library._library, name) for name in ("blockIdx", "threadIdx")]
    sizes = [grid.Index.in_dll(strict_library._library, name) for name in ("blockDim", "gridDim")]
    for seed in (0, 5):
        monkeypatch.setenv(grid.SEED, str(seed))
        seen.clear()
        work = Work(rows=100, lanes=12)
        grid.run(strict_library._library, lambda: seen.append(tuple((i.x, i.y) for i in indices)), (), work)
        assert [(size.x, size.y) for size in sizes] == [(16, 16), (7, 1)]
        assert len(seen) == len(set(seen)) == 7 * 256
        assert {thread for _, thread in seen} == {(x, y) for x in range(16) for y in range(16)}
        assert {block for block, _ in seen} == {(b, 0) for b in range(7)}
        assert (seen == sorted(seen, key=lambda at: (at[0], at[1][1], at[1][0]))) == (seed == 0)


def test_the_usual_library_has_no_grid(strict_library):
    assert strict_library.on_grid
    if not host.kernels().on_grid:  # make grid runs this suite with a library that has
        assert not grid.is_built_for(host.kernels()._library)
