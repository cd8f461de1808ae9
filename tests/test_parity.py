"""benchmarks/parity.py on a few photographs, and that it would see what is wrong."""

from __future__ import annotations

import csv
import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dali_tokenmix.dataset import scan

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def module(name):
    return importlib.import_module(name)


@pytest.fixture
def results():
    return module("results").Results("parity", "cpu")


@pytest.fixture(scope="module")
def ran(photo_folder, tmp_path_factory):
    """(rows, what was printed) of the script."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, str(BENCHMARKS / "parity.py"), "--quick", "--device", "cpu", "--root", str(photo_folder)]
    command += ["--results", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    with (folder / "parity-cpu.csv").open() as file:
        return list(csv.DictReader(file)), done.stdout


def test_our_images_and_boxes_are_torchvisions(ran):
    claims = re.findall(r"^  (holds |MISSED)  (.*)", ran[1], re.M)
    assert len(claims) == 7
    assert not [line for verdict, line in claims if verdict != "holds "]


def test_rows_are_complete(ran):
    rows = {(row["case"], row["metric"]): row for row in ran[0]}
    assert float(rows.pop(("the whole run", "wall"))["p50"]) > 0
    assert len(rows) == len(ran[0]) - 1 == 2 * (2 * 2 * 3 + 3) + 2 * 4 + 1
    for row in rows.values():
        assert 0 <= float(row["p20"]) <= float(row["p50"]) <= float(row["p80"]) <= 255
    for task in ("evaluation", "training"):
        for way in ("same pixels", "own decoders"):
            mean = rows[f"{task}, {way}: ours against Pillow images", "mean difference"]
            assert mean["rounds"] == "40"
            assert mean["setting"] == "images=40"
    assert float(rows["boxes: mirrored", "share"]["p50"]) == pytest.approx(0.5, abs=0.12)


@pytest.fixture
def drawn(photo_folder, tmp_path):
    return module("geometry").trained(photo_folder, 32, "cpu", 2, 400, tmp_path / "maps")


def test_boxes_are_those_of_the_images(photo_folder, drawn):
    """With any other box, or side, an image is far from what torchvision cuts."""
    theirs = module("torchvision_geometry")
    paths = scan(photo_folder).paths()
    assert sorted(crop.index for crop in drawn[:40]) == list(range(40))

    def far(crop):
        expected = theirs.array(theirs.training(theirs.pillow(paths[crop.index]), crop, 32))
        return np.abs(crop.image - expected.astype(int)).mean()

    assert max(map(far, drawn)) < 1
    moved = [replace(crop, box=(crop.box[0], crop.box[1] // 2, *crop.box[2:])) for crop in drawn if crop.box[1] > 40]
    assert np.mean([far(crop) for crop in moved]) > 5
    assert np.mean([far(replace(crop, mirrored=not crop.mirrored)) for crop in drawn]) > 5


def test_boxes_with_sides_exchanged_are_told(results, drawn):
    claims = module("parity").boxes(results, drawn)
    assert [holds for _, holds in claims] == [True] * 5
    turned = [replace(crop, box=(*crop.box[1::-1], *crop.box[:1:-1])) for crop in drawn]
    assert not all(holds for _, holds in module("parity").boxes(results, turned))
    sided = [replace(crop, mirrored=True) for crop in drawn]
    assert not module("parity").boxes(results, sided)[-1][1]


def test_a_level_more_is_missed(results, tmp_path, photo_folder, capsys):
    parity, theirs = module("parity"), module("torchvision_geometry")
    twins = parity.write_twins(photo_folder, tmp_path / "png")
    same = [theirs.array(theirs.evaluation(theirs.pillow(path), 224)) for path in scan(twins).paths()]

    def claimed(ours):
        ((line, holds),) = parity.pixels(
            results, "evaluation", twins, photo_folder, ours, same, lambda image, _: theirs.evaluation(image, 224)
        )
        return line, holds

    assert claimed(same) == ("evaluation, same pixels: mean 0.000 <= 0.4, largest 0 <= 2", True)
    assert claimed([image ^ 1 for image in same]) == (
        "evaluation, same pixels: mean 1.000 <= 0.4, largest 1 <= 2",
        False,
    )


def test_dalis_decoder_gets_the_box_that_was_meant(photo_folder):
    paths = scan(photo_folder).paths()[:4]
    whole = [module("torchvision_geometry").array(module("torchvision_geometry").pillow(path)) for path in paths]
    boxes = [(10 * k, 3 + k, 50 + k, 90) for k in range(4)]
    parts = module("geometry").decoded(paths, boxes, "cpu", 1)
    for image, part, (y, x, h, w) in zip(whole, parts, boxes, strict=True):
        assert part.shape == (h, w, 3)
        assert np.abs(part - image[y : y + h, x : x + w].astype(int)).max() <= 8
