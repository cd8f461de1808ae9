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

    def run(name, *arguments):
        example(name).main(["--root", str(photo_folder), "--device", "cpu", *map(str, arguments)])
        return capsys.readouterr().out

    return run


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
