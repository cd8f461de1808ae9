"""Wrong combinations of arguments, over all doors: the message names the argument, the value and what to do."""

from __future__ import annotations

import re

import numpy as np
import pytest
import timm
from nvidia.dali import fn, pipeline_def

import dali_tokenmix as dtm
from tests import pages
from tests.photos import SUBJECTS, write_folder

TROUBLES = pages.ROOT / "docs" / "troubleshooting.md"
MIXER, SMALL = dtm.TokenMix(), dtm.TokenMix(4)
PLAN = dtm.draw(MIXER, 4, 224)
IMAGES = np.zeros((4, 32, 32, 3), np.uint8)


class Place:
    """A data set, another one, a classifier, its Teacher and a store with maps; tries calls and keeps the messages."""

    def __init__(self, folder):
        self.root = write_folder(folder / "photos", dict.fromkeys(SUBJECTS, 2))
        self.other = write_folder(folder / "other", dict.fromkeys(SUBJECTS, 1))
        self.model = timm.create_model("resnet18", num_classes=4)
        self.teacher = dtm.Teacher(self.model, image_size=64)
        self.path = folder / "labels.safetensors"
        self.store = dtm.make_labels(self.root, self.teacher, self.path)

    def loader(self, **options):
        return dtm.Loader(self.root, **{"batch_size": 4, "device": "cpu", "mixer": MIXER} | options)

    def mix(self, labels=(0, 1, 2, 3), images=IMAGES, **options):
        @pipeline_def(batch_size=4, num_threads=1, device_id=None)
        def graph():
            given = fn.external_source(lambda: images, layout="HWC")
            ids = fn.external_source(lambda: np.array(labels)[:, None])
            return dtm.fn.token_mix(given, ids, **{"num_classes": 4, "mixer": SMALL} | options)

        pipeline = graph()
        pipeline.build()
        return pipeline.run()

    def message(self, call):
        with pytest.raises((ValueError, TypeError, RuntimeError, OSError)) as caught:
            call(self)
        return str(caught.value)


def by_store(place, **options):
    return place.loader(supervision="tokenmix", label_maps=place.path, **options)


# what is done: (call, what the message says: argument, value, fix)
WRONG = {
    "Loader: teacher and store": (
        lambda p: by_store(p, teacher=p.teacher),
        ("supervision='tokenmix'", "got teacher and label_maps", "pass one of them"),
    ),
    "Loader: supervision without a source": (
        lambda p: p.loader(supervision="relabel"),
        ("supervision='relabel'", "got neither", "pass one of them"),
    ),
    "Loader: a teacher that is not used": (
        lambda p: p.loader(teacher=p.teacher),
        ("teacher", "supervision='imagenet'", "pass supervision='tokenmix'"),
    ),
    "Loader: a model for a teacher": (
        lambda p: p.loader(supervision="tokenmix", teacher=p.model),
        ("teacher", "the model ResNet", r"pass Teacher\(model\)"),
    ),
    "Loader: a teacher of other classes": (
        lambda p: p.loader(
            supervision="tokenmix", teacher=dtm.Teacher(timm.create_model("resnet18", num_classes=7), image_size=64)
        ),
        ("teacher has 7 classes", "the data has 4", r"Teacher\(classes=\.\.\.\)"),
    ),
    "Loader: a store of another data set": (
        lambda p: dtm.Loader(
            p.other, batch_size=4, device="cpu", mixer=MIXER, supervision="tokenmix", label_maps=p.path
        ),
        ("labels.safetensors", "it is of 8 files, .*other has 4", "make-labels makes a store"),
    ),
    "Loader: a store without the labels": (
        lambda p: p.loader(supervision="relabel", label_maps=p.store),
        ("labels.safetensors", "supervision='relabel'", "make-labels --topk 5"),
    ),
    "Loader: no such store": (
        lambda p: p.loader(supervision="tokenmix", label_maps=p.root / "gone.safetensors"),
        ("gone.safetensors", "does not exist", "make-labels or import-labels writes it"),
    ),
    "Loader: a teacher, but nothing mixed": (
        lambda p: p.loader(supervision="tokenmix", teacher=p.teacher, mixer=None),
        ("supervision='tokenmix'", "mixer is None", "pass a mixer, or 'imagenet'"),
    ),
    "Loader: evaluation that mixes": (
        lambda p: p.loader(train=False),
        ("mixer", r"train=False, got TokenMix\(", "mixer must be None"),
    ),
    "Loader: a mixer's class": (
        lambda p: p.loader(mixer=dtm.TokenMix),
        ("mixer", "got <class", r"such as TokenMix\(\)"),
    ),
    "Loader: bytes that are normalised": (
        lambda p: p.loader(dtype="uint8", mean=(0.5, 0.5, 0.5)),
        ("mean and std must be None", r"\(0.5, 0.5, 0.5\)", "or pass dtype='float32'"),
    ),
    "Loader: mean of bytes": (
        lambda p: p.loader(mean=(123.7, 116.3, 103.5)),
        ("mean", "123.7", "divide mean and std by 255"),
    ),
    "Loader: no mean": (
        lambda p: p.loader(mean=None),
        ("mean must be 3 numbers", "got None", "pass dtype='uint8'"),
    ),
    "Loader: a batch larger than the data": (
        lambda p: p.loader(batch_size=64),
        ("batch_size", "got 64", "use 'partial' or 'fill', or a smaller batch"),
    ),
    "Loader: too few classes": (
        lambda p: p.loader(num_classes=2),
        ("num_classes", "got 2", "at least the 4 classes"),
    ),
    "Loader: a device of torch": (
        lambda p: p.loader(device="cuda"),
        ("device", "got 'cuda'", "one of None, 'cpu', 'gpu'"),
    ),
    "Loader: a GPU's number on the CPU": (
        lambda p: p.loader(device_id=1),
        ("device_id", "got 1 with device='cpu'", "leave it out"),
    ),
    "Loader: a shard that is not there": (
        lambda p: p.loader(shard_id=2, num_shards=2),
        ("shard_id", "got 2", r"in 0\.\.1"),
    ),
    "Loader: repeats that do not divide": (
        lambda p: p.loader(repeats=3),
        ("batch_size", "repeats=3", "must divide by repeats"),
    ),
    "Loader: root and source": (
        lambda p: dtm.Loader(p.root, source=p.root),
        ("root", "got both", "either root.* or source="),
    ),
    "Loader: a folder of images": (
        lambda p: dtm.Loader(p.root / "coffee", batch_size=4),
        ("images must be in class folders", r"coffee/000\.jpg", "directly in root"),
    ),
    "Loader: images of one token": (
        lambda p: next(iter(p.loader(image_size=16))),
        ("patch_size=16", "1 x 1 grid", "smaller patches or larger images"),
    ),
    "token_mix: teacher and store": (
        lambda p: p.mix(supervision="tokenmix", teacher=p.teacher, label_maps=1),
        ("supervision='tokenmix'", "got teacher and label_maps", "pass one of them"),
    ),
    "token_mix: supervision without a source": (
        lambda p: p.mix(supervision="tokenmix"),
        ("supervision='tokenmix'", "got neither", "teacher= .* or label_maps="),
    ),
    "token_mix: a store in place of its labels": (
        lambda p: p.mix(supervision="tokenmix", label_maps=p.store),
        ("label_maps", "got <.*LabelStore", r"dtm\.fn\.label_maps"),
    ),
    "token_mix: another layout than DALI's": (
        lambda p: p.mix(layout="NCHW"),
        ("images of shape", "NHWC to DALI", "pass layout='NHWC'"),
    ),
    "token_mix: arrays": (
        lambda p: dtm.fn.token_mix(IMAGES, [0, 1, 2, 3], num_classes=4, mixer=SMALL),
        ("images", "got ndarray", "must be a DALI node"),
    ),
    "token_mix: a class id too high": (
        lambda p: p.mix(labels=(0, 1, 2, 9)),
        ("labels", "got 9", r"in \[0, num_classes=4\)"),
    ),
    "Teacher: nothing": (
        lambda p: dtm.Teacher(),
        ("model, or features and weight", "got None and None", r"Pass Teacher\(features="),
    ),
    "Teacher: features without a head": (
        lambda p: dtm.Teacher(features=p.model),
        ("features and weight", "ResNet.* and None", r"Pass Teacher\(features="),
    ),
    "Teacher: a name": (
        lambda p: dtm.Teacher("resnet18"),
        ("model", "got 'resnet18'", "must be a torch.nn.Module"),
    ),
    "Teacher: both ways": (
        lambda p: dtm.Teacher(p.model, features=p.model),
        ("features", "got a ResNet", "model must be left out"),
    ),
    "make_labels: a model": (
        lambda p: dtm.make_labels(p.root, p.model, p.path),
        ("teacher", "got ResNet", r"pass Teacher\(model\)"),
    ),
    "make_labels: nothing to store": (
        lambda p: dtm.make_labels(p.root, p.teacher, p.path, maps=None),
        ("maps is None", "topk is 0", "Pass maps='uint8' or topk=5"),
    ),
    "make_labels: more classes than there are": (
        lambda p: dtm.make_labels(p.root, p.teacher, p.path, topk=9),
        ("topk", "got 9", r"in 0\.\.4"),
    ),
    "make_labels: a folder to write": (
        lambda p: dtm.make_labels(p.root, p.teacher, p.root),
        ("out", "got the folder .*photos", "must be a file"),
    ),
    "draw: a mixer's class": (
        lambda p: dtm.draw(dtm.MixUp, 4, 224),
        ("mixer", "got <class", r"such as TokenMix\(\)"),
    ),
    "draw: a whole shape": (
        lambda p: dtm.draw(MIXER, 4, (3, 224, 224)),
        ("image_size", r"got \(3, 224, 224\)", r"one number or \(height, width\)"),
    ),
    "apply: another batch": (
        lambda p: dtm.apply(PLAN, np.zeros((3, 224, 224, 3), np.uint8)),
        ("plan is for 4 samples", "images are 3", r"draw\(mixer, 3, image_size\)"),
    ),
    "apply: another size": (
        lambda p: dtm.apply(PLAN, np.zeros((4, 64, 64, 3), np.uint8), layout="NHWC"),
        ("images", "64 x 64 .* 224 x 224", r"draw\(\) it for their size"),
    ),
    "apply: a layout that does not fit": (
        lambda p: dtm.apply(PLAN, np.zeros((4, 224, 224, 3), np.uint8), layout="NCHW"),
        ("images", "224 x 3 as NCHW", "pass the other layout="),
    ),
    "apply: images that cannot be written": (
        lambda p: dtm.apply(PLAN, np.broadcast_to(np.zeros((1, 224, 224, 3), np.uint8), (4, 224, 224, 3))),
        ("images", "read-only", "pass a copy"),
    ),
    "soft_targets: fewer labels": (
        lambda p: dtm.soft_targets(PLAN, [0, 1], 4),
        ("labels", "got 2", r"must be \(4,\)"),
    ),
    "soft_targets: float class ids": (
        lambda p: dtm.soft_targets(PLAN, [0.0, 1.0, 2.0, 3.0], 4),
        ("labels", "got float64", "whole numbers"),
    ),
    "soft_targets: percent": (
        lambda p: dtm.soft_targets(PLAN, [0, 1, 2, 3], 4, smoothing=10),
        ("smoothing", "got 10", ">= 0 and <= 1"),
    ),
    "soft_targets: maps of another batch": (
        lambda p: dtm.soft_targets(PLAN, [0, 1, 2, 3], 4, maps=np.ones((3, 14, 14), np.float32)),
        ("maps", r"got shape \(3, 14, 14\)", r"must be \(4, gh, gw\)"),
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("refusals"))


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_combination_is_refused_by_name_with_the_fix(what, place):
    call, says = WRONG[what]
    message = place.message(call)
    for part in says:
        assert re.search(part, message, re.DOTALL), message


def test_what_troubleshooting_quotes_is_really_raised(place):
    quoted = re.findall(r"^\| `([^`]+)` \|", TROUBLES.read_text(), re.MULTILINE)
    raised = [place.message(call) for call, _ in WRONG.values()]
    assert len(quoted) >= 15
    for quote in quoted:
        pattern = ".*".join(map(re.escape, quote.split("…")))
        assert any(re.search(pattern, message, re.DOTALL) for message in raised), quote
