"""The examples of DALI pipelines with fn.token_mix in them: what they print, and that it is so."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def example():
    """Imports a script of examples/ by name, as Python does that runs it: its folder comes first in the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))

        def load(name, source=None):
            spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
            module = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, spec.name, module)
            source = (EXAMPLES / f"{name}.py").read_text() if source is None else source
            exec(compile(source, EXAMPLES / f"{name}.py", "exec"), module.__dict__)
            return module

        yield load


@pytest.fixture
def printed(example, photo_folder, capsys):
    """Runs main of an example on the photographs, on the CPU; gives what it prints."""

    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two would wait for each other on a busy machine

    def run(name, *arguments):
        example(name).main(["--root", str(photo_folder), "--device", "cpu", *map(str, arguments)])
        return capsys.readouterr().out

    yield run
    torch.set_num_threads(threads)


def test_the_table_lists_every_script_and_no_other():
    table = (EXAMPLES / "README.md").read_text()
    scripts = {path.name for path in EXAMPLES.glob("*.py")} - {"strip.py"}  # which others import
    assert set(re.findall(r"\]\((\w+\.py)\)", table)) == scripts
    assert set(re.findall(r"examples/(\w+\.py)", table)) == scripts


def tokens(images, patch):
    """(N, 3, H, W) to (N, tokens, values of a token)."""
    n, channels, height, width = images.shape
    split = images.reshape(n, channels, height // patch, patch, width // patch, patch)
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(n, (height // patch) * (width // patch), -1)


def test_resnet50_trains(printed):
    out = printed("resnet50_dali", "--steps", 9, "--arch", "resnet18", "--image-size", 64)
    losses = [float(loss) for loss in re.findall(r"step \d+: \d+ images, loss (\S+)", out)]
    assert len(losses) == 9
    assert np.isfinite(losses).all()
    assert np.mean(losses[6:]) < np.mean(losses[:3])
    assert re.findall(r"(\d+) images, loss", out) == ["16", "16", "8"] * 3  # PARTIAL: 40 photographs an epoch
    assert "(8, 3, 64, 64) images, (8, 4) labels" in out


def test_three_lines_make_all_the_difference(example, photo_folder):
    """Without the lines marked `# +` the script is a stock pipeline, and its images are what was mixed."""
    script = (EXAMPLES / "resnet50_dali.py").read_text()
    stock = re.sub(r".*  # \+\n", "", script)
    assert len(script.splitlines()) - len(stock.splitlines()) == 3
    assert "dtm" not in stock

    options = {"batch_size": 16, "num_threads": 2, "device_id": None, "seed": 0}
    with_them, without = (
        example("resnet50_dali", source.replace("probability=0.5", "probability=0")).train_pipeline(
            str(photo_folder), 64, "cpu", 4, **options
        )
        for source in (script, stock)
    )
    images, targets = (output.as_array() for output in with_them.run())
    clean, labels = (output.as_array() for output in without.run())
    assert labels.shape == (16, 1)
    of_own, of_partner = ((tokens(images, 16) == tokens(source, 16)).all(2) for source in (clean, clean[::-1]))
    assert (of_own | of_partner).all()
    share = of_own.mean(1, keepdims=True)
    assert 0.4 < share.mean() < 0.6
    one_hot = np.eye(4)[labels[:, 0]]
    np.testing.assert_allclose(targets, 0.9 * (share * one_hot + (1 - share) * one_hot[::-1]) + 0.1 / 4, atol=1e-6)


def test_float16_nchw(printed, tmp_path):
    from PIL import Image

    out = printed("float16_nchw", "--steps", 2, "--image-size", 72, "--out", tmp_path / "mixed.png")  # 4.5 patches
    assert out.count("torch.float16 (8, 3, 72, 72)") == 2
    assert out.count("every bit is where it belongs") == 2
    assert Image.open(tmp_path / "mixed.png").size[0] > 500


def test_float16_nchw_knows_when_it_is_not_so(example, printed, monkeypatch):
    """The check in the script sees a single changed value."""
    import torch

    equal = torch.equal
    monkeypatch.setattr(torch, "equal", lambda a, b: equal(a, b.index_fill(0, torch.tensor([3]), 1)))
    assert "every bit is NOT where it belongs" in printed("float16_nchw", "--steps", 1, "--image-size", 64)


def test_classification_iterator(printed):
    out = printed("classification_iterator")
    assert "PARTIAL: len 4, batches of [12, 12, 12, 4], label (4, 4) torch.float32, sums to 1.0000 an image" in out
    assert "FILL: len 4, batches of [12, 12, 12, 12], label (12, 4) torch.float32, sums to 1.0000 an image" in out
    assert "DROP: len 3, batches of [12, 12, 12], label (12, 4) torch.float32, sums to 1.0000 an image" in out


def test_conditionals(printed):
    out = printed("conditionals", "--steps", 4)
    after = re.findall(r"after the if: (\d+) of 10 grey, (\d+) mixed, other 0.50", out)
    assert [mixed for _, mixed in after] == ["10"] * 4  # grey or not
    assert any(0 < int(grey) < 10 for grey, _ in after)
    inside = re.findall(r"(\d+) of 10 chosen, (\d+) mixed, (\d+) of the others; (\d+) one-hot", out)
    assert len(inside) == 4
    for chosen, mixed, others, one_hot in ([int(number) for number in numbers] for numbers in inside):
        assert mixed == chosen - chosen % 2  # the one left over is its own partner
        assert others == 0
        assert one_hot >= 10 - mixed


def test_grey_and_colour_are_mixed_after_an_if(example, photo_folder):
    """What half of an image is grey: a grey image's own pixels, or those of a grey partner."""
    graph = example("conditionals").after(
        str(photo_folder), 64, "cpu", 4, batch_size=10, num_threads=2, device_id=None, seed=1
    )
    for _ in range(3):
        mixed, targets, clean, labels, grey, other = (output.as_array() for output in graph.run())
        is_grey = (clean.min(3) == clean.max(3)).all((1, 2))
        np.testing.assert_array_equal(is_grey, grey.reshape(-1) != 0)
        sides = np.stack([tokens(images.transpose(0, 3, 1, 2), 8) for images in (clean, clean[::-1])])
        assert (tokens(mixed.transpose(0, 3, 1, 2), 8) == sides).all(3).any(0).all()
        rows = np.eye(4)[labels.reshape(-1)]
        weight = other.reshape(-1, 1)
        np.testing.assert_allclose(targets, 0.9 * ((1 - weight) * rows + weight * rows[::-1]) + 0.025, atol=1e-6)


@pytest.mark.parametrize("policy", ["rand", "trivial"])
def test_augmented_then_mixed(policy, example, photo_folder, tmp_path, capsys):
    script, compared = example("auto_aug"), []
    differing = script.differing

    def remembered(one, other):
        compared.append((one.numpy().copy(), other.numpy().copy()))
        return differing(one, other)

    script.differing = remembered
    options = {"--root": photo_folder, "--policy": policy, "--steps": 5, "--image-size": 64, "--device": "cpu"}
    arguments = [str(word) for option in options.items() for word in option]
    script.main([*arguments, "--out", str(tmp_path / "mixed.png")])
    steps = re.findall(r"(\d+) of 12 augmented, then 12 mixed", capsys.readouterr().out)
    assert len(steps) == 5  # an epoch has four
    assert all(int(augmented) >= 6 for augmented in steps)
    assert (tmp_path / "mixed.png").stat().st_size > 10_000
    for mixed, augmented in compared[1::2]:  # whole tokens, of augmented images
        sides = np.stack([tokens(side.transpose(0, 3, 1, 2), 16) for side in (augmented, augmented[::-1])])
        assert (tokens(mixed.transpose(0, 3, 1, 2), 16) == sides).all(3).any(0).all()


def test_random_erasing(printed, example, photo_folder, tmp_path):
    out = printed("random_erasing", "--steps", 5, "--probability", 0.5, "--out", tmp_path / "mixed.png")
    erased = [int(number) for number in re.findall(r"(\d+) of 12 erased", out)]
    assert len(erased) == 5
    assert 15 <= sum(erased) <= 45
    assert out.count("targets sum to 1.000 .. 1.000") == 5
    assert (tmp_path / "mixed.png").exists()

    where = {"batch_size": 40, "num_threads": 2, "device_id": None, "seed": 0}
    images, _, before = (
        o.as_array() for o in example("random_erasing").pipeline(str(photo_folder), 100, "cpu", 4, 0.5, **where).run()
    )
    changed = (images != before).any(1)
    for image, where in zip(images[changed.any((1, 2))], changed[changed.any((1, 2))], strict=True):
        rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        assert where[np.ix_(range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1))].mean() > 0.98
        assert (image[:, where] == 0).all()  # the mean colour
        assert 13 <= len(rows) <= 58
        assert 13 <= len(columns) <= 58


def test_train_and_val(printed):
    out = printed("train_val", "--steps", 24)
    found = re.findall(r"step (\d+): loss (\S+), accuracy (\S+)% of 40 images", out)
    assert [int(step) for step, *_ in found] == list(range(4, 25, 4))
    assert float(found[-1][1]) < float(found[0][1])
    assert max(float(accuracy) for *_, accuracy in found[-3:]) > 60  # four classes


def test_validation_is_left_alone_by_training(example, photo_folder):
    """Each image of the validation pipeline is, of all photographs as Pillow resizes them, closest to its own."""
    from PIL import Image

    script, where = example("train_val"), {"batch_size": 10, "num_threads": 2, "device_id": None, "seed": 0}
    train = script.train_pipeline(str(photo_folder), 64, "cpu", 4, **where)
    val = script.val_pipeline(str(photo_folder), 64, "cpu", **where)
    photos = []
    for file in sorted(photo_folder.rglob("*.jpg")):
        photo = Image.open(file)
        size = [round(side * 73 / min(photo.size)) for side in photo.size]
        left, top = ((side - 64) // 2 for side in size)
        photos.append(np.asarray(photo.resize(size, Image.Resampling.BILINEAR))[top : top + 64, left : left + 64])
    for batch in range(4):
        train.run()
        images, labels = (output.as_array() for output in val.run())
        np.testing.assert_array_equal(labels.reshape(-1), [batch] * 10)
        pixels = images.transpose(0, 2, 3, 1)[:, None] * script.STD + script.MEAN
        distance = np.abs(pixels - np.stack(photos)).mean((2, 3, 4))
        np.testing.assert_array_equal(distance.argmin(1), np.arange(10 * batch, 10 * batch + 10))


@pytest.mark.parametrize("steps", [10, 13])  # a checkpoint at the end of an epoch, and in the middle of one
def test_checkpoint(steps, printed, tmp_path):
    out = printed("checkpoint", "--steps", steps, "--file", tmp_path / "run.dali")
    pairs = re.findall(r"step (\d+): (\w{12}) and (\w{12}), the same", out)
    assert [int(step) for step, *_ in pairs] == list(range(steps // 2 + 1, steps + 1))
    assert len({digest for _, digest, _ in pairs}) == len(pairs)  # batches differ
    assert "a new run repeats the first steps" in out
    assert "NOT" not in out
    assert (tmp_path / "run.dali").stat().st_size > 100
