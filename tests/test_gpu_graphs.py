"""GPU graphs, written on a machine without one: devices, backends, and what crosses the bus.

A GPU graph can be written without a driver, and the part of it that runs on the CPU can run.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

import numpy as np
import pytest
from nvidia.dali import backend, fn, types
from nvidia.dali.pipeline import Pipeline

import dali_tokenmix as dtm
from dali_tokenmix.label_store.maker import graph as whole_images
from dali_tokenmix.planner import BatchPlanner
from dali_tokenmix.sources.samples import Files
from tests.test_supervision import SUPERVISIONS, parts, source_of, store

__all__ = ["store"]  # the fixture


# Of operators that are Python classes around another.
IMPLEMENTATION = {"PythonFunction": "DLTensorPythonFunctionImpl", "readers__TFRecord": "readers___TFRecord"}


def operators(nodes):
    """All operators that these nodes come from, by id."""
    found, pending = {}, list(nodes)
    while pending:
        operator = pending.pop().source
        if operator.id not in found:
            found[operator.id] = operator
            pending += operator.inputs or []
    return found


def crossings(nodes):
    """Nodes made on one device and read on the other, on the way to these: ({name: to the GPU}, {name: back})."""
    read = [*nodes, *(node for operator in operators(nodes).values() for node in operator.inputs or [])]
    made = {node.name: node for seen in read for node in seen.source.outputs}
    ways = {"cpu": {}, "gpu": {}}
    for node in read:
        if made[node.name].device != node.device:
            ways[made[node.name].device][node.name] = made[node.name]
    return ways["cpu"], ways["gpu"]


def check(nodes, device="gpu"):
    """Every node is on the device, every operator has the backend it is used with, nothing comes back to the CPU."""
    assert {node.device for node in nodes} == {device}
    for operator in operators(nodes).values():
        used, name = operator._op._device, operator._op.schema_name
        schema = backend.GetSchema(IMPLEMENTATION.get(name, name))
        assert used in schema.GetSupportedBackends(), (operator.name, used)
    assert crossings(nodes)[1] == {}


@pytest.mark.parametrize("train", [True, False])
def test_the_gpu_graph_is_the_cpu_graph_on_other_devices(photo_folder, train):
    """Without a driver a GPU graph cannot run, but it can be written: same operators, images never back on the CPU."""
    source = dtm.Loader(photo_folder, batch_size=6, train=train, mixer=dtm.TokenMix() if train else None)
    graphs = {}
    for device in ("cpu", "gpu"):
        graph = dataclasses.replace(source._graph, device=device)
        pipeline = Pipeline(6, 2, 0 if device == "gpu" else None)
        with pipeline:
            images, targets, index = graph.outputs(BatchPlanner(graph, True, 2))
        assert (images.device, targets.device, index.device) == (device, device, "cpu")
        graphs[device] = operators([images, targets])
        check([images, targets], device)
    on_cpu, on_gpu = (
        Counter(name for operator in graph.values() if "Copy" not in (name := re.sub(r"[_0-9]+$", "", operator.name)))
        for graph in graphs.values()
    )
    # our resize and normalise on the CPU, DALI's and the mirror kernel on the GPU
    expected = (Counter({"__WholeBatch": 1}), Counter({"__CropMirrorNormalize": 1}))
    if train:
        expected = (
            Counter({"__PythonFunction": 1, "__WholeBatch": 1}),
            Counter({"__CropMirrorNormalize": 1, "__Resize": 1}),
        )
    assert (on_cpu - on_gpu, on_gpu - on_cpu) == expected


# What crosses to the GPU beside the files, in bytes a sample: the README's table has them.
PLAN, CLASS, FLIP, BOX = 44, 4, 4, 16
LABEL_MAP = 4 * 4 * (4 * 4 + 2 * 4)  # 4 x 4 cells, four ids and four scores each
CROSSING = {
    ("imagenet", None): [PLAN, CLASS, FLIP],
    ("tokenmix", "store"): [PLAN, CLASS, FLIP],
    ("tokenmix", "teacher"): [PLAN, CLASS, FLIP],
    ("relabel", "teacher"): [PLAN, FLIP],
    ("relabel", "store"): [PLAN, FLIP, FLIP, BOX, LABEL_MAP // 3, LABEL_MAP * 2 // 3],
    ("tokenlabeling", "teacher"): [PLAN, FLIP],
    ("tokenlabeling", "store"): [PLAN, FLIP, FLIP, BOX, LABEL_MAP // 3, LABEL_MAP * 2 // 3],
}


@pytest.mark.parametrize(("supervision", "kind"), CROSSING)
def test_a_gpu_graph_moves_these_bytes_a_sample_and_images_never_back(photo_folder, store, supervision, kind):
    """A GPU graph can be written without a GPU, and the part of it that runs on the CPU can run."""
    options = source_of(kind, store) if kind else {}
    source = dtm.Loader(photo_folder, batch_size=8, mixer=dtm.TokenMix(), supervision=supervision, **options)
    graph = dataclasses.replace(source._graph, device="gpu")
    pipeline = Pipeline(8, 2, None)
    with pipeline:
        images, *targets, index = graph.outputs(BatchPlanner(graph, True, 2))
        assert index.device == "cpu"
        check([images, *targets])
        there, _ = crossings([images, *targets])
        pipeline.set_outputs(*there.values())
    pipeline.build()
    assert sorted(output.as_array()[0].nbytes for output in pipeline.run()) == sorted(CROSSING[supervision, kind])


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", ["area", "teacher", "store"])
@pytest.mark.parametrize("supervision", SUPERVISIONS)
def test_token_mix_in_somebodys_gpu_graph(store, supervision, kind, inplace, dtype):
    with Pipeline(8, 2, None):
        index = fn.constant(idata=[1], shape=[1])
        images = fn.random.uniform(range=[0, 255], shape=[64, 64, 3], dtype=types.UINT8).gpu()
        if dtype == "float16":
            images = fn.crop_mirror_normalize(images, dtype=types.FLOAT16, output_layout="CHW")
        options = {}
        if kind != "area":
            options = {"supervision": supervision, **source_of(kind, store)}
        if kind == "store":
            makes = dtm.fn.label_maps if supervision == "tokenmix" else dtm.fn.top_labels
            options["label_maps"] = makes(store, index)
        mixed, targets, plan = dtm.fn.token_mix(
            images, index, num_classes=4, mixer=dtm.TokenMix(8), inplace=inplace, return_plan=True, **options
        )
        check([mixed, *parts(targets)])
        assert {node.device for node in plan.values()} == {"cpu"}
        there, _ = crossings([mixed, *parts(targets)])
        copies = [operator.name for operator in operators([mixed]).values() if operator.name.startswith("__Copy")]
        assert len(copies) == (0 if inplace else 1)
        assert len(there) <= 7  # the made-up images, plan, class id; ids, scores, of a store


def test_an_augmented_graph_and_the_one_that_labels_images(photo_folder):
    augment = lambda images: fn.flip(images, vertical=1)  # noqa: E731
    source = dtm.Loader(photo_folder, batch_size=8, mixer=dtm.TokenMix(), augment=augment)
    graph = dataclasses.replace(source._graph, device="gpu")
    with Pipeline(8, 2, None):
        images, targets, _ = graph.outputs(BatchPlanner(graph, True, 2))
        check([images, targets])
    with Pipeline(8, 2, None):
        images, index = whole_images(Files("", ("0",), ("a.jpg",), np.zeros(1, np.int32), {}), (32, 32), "gpu")
        check([images])
        assert index.device == "cpu"


def test_a_backend_that_an_operator_lacks_is_found():
    with Pipeline(8, 2, None):
        jpegs, _ = fn.readers.file(files=["a.jpg"], labels=[0])
        shape = fn.peek_image_shape(jpegs)
    operator = shape.source
    operator._op._device = "gpu"
    with pytest.raises(AssertionError, match="PeekImageShape"):
        check([shape], "cpu")
