"""The commands as a user types them: what they print, write and refuse."""

import subprocess
import sys
import tempfile

import numpy as np
import pytest
from PIL import Image

from dali_tokenmix import __version__, cli, devices
from dali_tokenmix.commands.demo_data import Mix, Samples, telling
from dali_tokenmix.commands.demo_drawing import CORNER, PARTNER, TILE
from dali_tokenmix.commands.demo_picture import picture, tile_box

SAMPLE, PARTNERS, MIXUP, CUTMIX_MASK, CUTMIX, TOKENMIX_MASK, TOKENMIX = range(7)
NO_GPU = devices.gpu_problem() is not None
BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r} or name.startswith({module!r} + "."):
            raise ModuleNotFoundError(f"No module named {{name!r}}")
sys.meta_path.insert(0, Blocked())
from dali_tokenmix import cli
sys.exit(cli.main({arguments!r}))
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The demo run once, at the size of the picture's tiles, so that their pixels are those of the batch."""
    folder = tmp_path_factory.mktemp("demo")
    run = shell("demo", "--image-size", str(TILE), "--seconds", "0.3", "--out", str(folder / "demo.png"))
    assert run.returncode == 0, run.stderr
    with Image.open(folder / "demo.png") as image:
        return run, np.asarray(image.convert("RGB"))


@pytest.fixture
def folders(tmp_path):
    """Two classes of six images each."""
    rng = np.random.default_rng(0)
    for name in ("noise", "stripes"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(6):
            pixels = rng.integers(0, 256, (80, 80 if name == "noise" else 1, 3), np.uint8).repeat(80, 1)[:, :80]
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{k}.jpg")
    return tmp_path / "images"


def test_demo_measures_with_and_without_mixing(drawn):
    run, _ = drawn
    lines = run.stdout.splitlines()
    rates = [float(line.split()[1].replace(",", "")) for line in lines if line.startswith("throughput")]
    assert len(rates) == 2
    assert min(rates) > 0
    assert "mixer=None" in run.stdout
    assert "mixer=TokenMix()" in run.stdout
    assert "threads" in run.stdout
    assert f"{TILE} x {TILE}" in run.stdout
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize(("mask", "mixed"), [(CUTMIX_MASK, CUTMIX), (TOKENMIX_MASK, TOKENMIX)])
def test_partner_shows_where_the_mask_says(drawn, row, mask, mixed):
    _, pixels = drawn
    sample, partner, made = (tile(pixels, row, column) for column in (SAMPLE, PARTNERS, mixed))
    shown = blue(tile(pixels, row, mask))
    assert shown.any()
    assert not shown.all()
    assert np.array_equal(made, np.where(shown[..., None], partner, sample))


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize(("mask", "mixed"), [(CUTMIX_MASK, CUTMIX), (TOKENMIX_MASK, TOKENMIX)])
def test_bars_are_as_long_as_the_mask_is_large(drawn, row, mask, mixed):
    _, pixels = drawn
    x0, y0, x1, y1 = tile_box(row, mask)
    share = blue(pixels[y0 + 1 : y1 - 1, x0 + CORNER : x1 - CORNER]).sum() + 2 * CORNER * TILE / 2
    assert partner_bar(pixels, row, mixed) == pytest.approx(share / TILE**2, abs=0.05)


@pytest.mark.parametrize("row", range(3))
def test_mixup_is_blended_by_its_target(drawn, row):
    _, pixels = drawn
    sample, partner, made = (tile(pixels, row, column).astype(float) for column in (SAMPLE, PARTNERS, MIXUP))
    weight = partner_bar(pixels, row, MIXUP)
    assert np.abs(made - (1 - weight) * sample - weight * partner).max() <= 1 + 255 / TILE / 2


def test_picture_of_a_small_batch_with_long_names_and_one_class():
    images = np.zeros((2, 40, 40, 3), np.uint8)
    halves, swap = np.full((2, 2), 0.5, np.float32), np.array([1, 0])
    mixes = tuple(Mix(p, images, halves, swap, np.ones((2, g, g), np.uint8)) for p, g in ((40, 1), (1, 40), (16, 3)))
    for labels in ([0, 1], [1, 1]):
        samples = Samples(("a name that is much wider than a tile", "b"), images, np.array(labels), mixes)
        assert len(telling(samples)) == 1
        image = np.asarray(picture(samples, telling(samples), "two samples"))
        assert (image[:, : tile_box(0, 0)[0]] == image[0, 0]).all()
        assert (image[:, tile_box(0, TOKENMIX)[2] + 2 :] == image[0, 0]).all()


def test_demo_on_own_folders(folders, tmp_path, capsys):
    arguments = ["demo", "--root", str(folders), "--image-size", "32", "--seconds", "0.1"]
    assert cli.main([*arguments, "--out", str(tmp_path / "own.png"), "--device", "cpu"]) == 0
    assert "12 in 2 class folders" in capsys.readouterr().out
    with Image.open(tmp_path / "own.png") as image:
        assert image.format == "PNG"
        assert image.width > 7 * TILE


def test_demo_removes_its_photographs(tmp_path, monkeypatch, capsys):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    out = str(tmp_path / "demo.png")
    assert refused(capsys, "demo", "--out", out, "--batch-size", "100000")
    assert not list((tmp_path / "temporary").iterdir())
    assert not (tmp_path / "demo.png").exists()


def test_mistakes_are_one_line(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / "class").mkdir(parents=True)
    for name in "abc":
        (tmp_path / "broken" / "class" / f"{name}.jpg").write_bytes(b"no image")
    here, out = str(folders), ("--out", str(tmp_path / "x.png"))
    assert str(tmp_path / "absent") in refused(capsys, "demo", "--root", str(tmp_path / "absent"), *out)
    assert str(tmp_path / "empty") in refused(capsys, "demo", "--root", str(tmp_path / "empty"), *out)
    assert "cannot read" in refused(capsys, "demo", "--root", str(tmp_path / "broken"), "--device", "cpu", *out)
    assert "absent" in refused(capsys, "demo", "--root", here, "--out", str(tmp_path / "absent" / "x.png"))
    assert "is a folder" in refused(capsys, "demo", "--root", here, "--out", str(tmp_path))
    assert "13 is more than the 12 images" in refused(capsys, "demo", "--root", here, "--batch-size", "13", *out)
    assert "--batch-size" in refused(capsys, "demo", "--batch-size", "1")
    assert "--image-size" in refused(capsys, "demo", "--image-size", "big")
    assert "--seconds" in refused(capsys, "demo", "--seconds", "nan")
    assert "--help" in refused(capsys, "dance")


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_gpu_asked_for_in_vain(capsys):
    line = refused(capsys, "demo", "--device", "gpu")
    assert str(devices.gpu_problem()) in line


@pytest.mark.parametrize(("module", "command"), [("skimage", "[demo]"), ("PIL", "[demo]"), ("nvidia.dali", "[cuda12]")])
def test_demo_names_what_to_install(tmp_path, module, command):
    run = without(module, "demo", "--out", str(tmp_path / "x.png"))
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert module in run.stderr
    assert command in run.stderr


def test_doctor_names_versions(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    for text in (__version__, np.__version__, "nvidia-dali", "torch", "NVRTC", "threads", "trial", "whole batch"):
        assert text in out


@pytest.mark.parametrize(
    ("module", "name", "code"), [("nvidia.dali", "DALI", 1), ("torch", "torch", 1), ("cupy", "CuPy", 0)]
)
def test_doctor_without(module, name, code):
    run = without(module, "doctor")
    line = next(line for line in run.stdout.splitlines() if line[4:].startswith(f"{name} "))
    assert "not installed" in line
    assert run.returncode == code
    assert "Traceback" not in run.stderr
    assert not code or f"{name}: pip install 'dali_tokenmix[cuda" in run.stdout


def test_commands_import_nothing_heavy():
    heavy = "{'torch', 'nvidia.dali', 'cupy', 'PIL', 'skimage'}"
    code = f"import sys, dali_tokenmix.cli; assert not {heavy} & set(sys.modules), sorted(sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


def shell(*arguments):
    command = [sys.executable, "-m", "dali_tokenmix.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def without(module, *arguments):
    """The command where a module is not installed."""
    code = BLOCK.format(module=module, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def refused(capsys, *arguments):
    """The error line of a command that must fail."""
    try:
        code = cli.main(arguments)
    except SystemExit as error:
        code = error.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2
    assert [line.startswith("dali-tokenmix: error: ") for line in lines[-1:]] == [True]
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


def tile(pixels, row, column):
    """A tile without its round corners."""
    x0, y0, x1, y1 = tile_box(row, column)
    return pixels[y0 + CORNER : y1 - CORNER, x0 + CORNER : x1 - CORNER]


def blue(pixels):
    """Where a mask tile has the partner's colour, fine lines included."""
    return pixels[..., 0] < 180


def partner_bar(pixels, row, column):
    """Length of the second bar below a tile, as a share of its width."""
    x0, _, x1, y1 = tile_box(row, column)
    colour = np.frombuffer(bytes.fromhex(PARTNER[1:]), np.uint8)
    return (pixels[y1 + 25 + 31 + 9, x0:x1] == colour).all(axis=1).sum() / TILE
