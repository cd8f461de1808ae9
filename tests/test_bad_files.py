"""Files that cannot be read: the file is named, nothing hangs, nothing is silently replaced."""

from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import dali_tokenmix as dtm
from tests.photos import write_folder


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def header_only(path):
    path.write_bytes(path.read_bytes()[:20])


def empty(path):
    path.write_bytes(b"")


def garbage(path):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def text(path):
    path.write_text("not an image\n" * 100)


def gif(path):
    Image.new("P", (60, 60)).save(path, format="GIF")


def truncated_png(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save(path, format="PNG")
    truncated(path)


DAMAGES = [truncated, header_only, empty, garbage, text, gif, truncated_png]


@pytest.fixture
def folder(tmp_path, photo_folder):
    return shutil.copytree(photo_folder, tmp_path / "images")


def loader(root, **options):
    return dtm.Loader(root, **{"batch_size": 8, "image_size": 32, "mixer": dtm.TokenMix(patch_size=8), **options})


def full_decode(root, **options):
    """Evaluation decodes whole files; a training crop above the damage of a truncated file is what it should be."""
    return loader(root, train=False, mixer=None, **options)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_file_is_named(folder, damage):
    bad = folder / "coffee" / "004.jpg"
    damage(bad)
    with pytest.raises(RuntimeError, match=f"^cannot read {re.escape(str(bad))}: .+") as caught:
        list(full_decode(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [garbage, empty])
def test_training_names_it_too_and_again(folder, damage):
    bad = folder / "coffee" / "004.jpg"
    damage(bad)
    source = loader(folder)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=re.escape(str(bad))):
            list(source)


def test_a_file_that_vanished_is_named(folder):
    source = loader(folder)
    bad = folder / "rocket" / "003.jpg"
    bad.unlink()
    with pytest.raises(RuntimeError, match=f"cannot read {re.escape(str(bad))}: no such file"):
        list(source)


@pytest.mark.parametrize("damage", DAMAGES)
def test_skip_leaves_it_out_and_lists_it(folder, damage):
    damage(folder / "coffee" / "004.jpg")
    (folder / "rocket" / "notes.txt").write_text("none")
    source = loader(folder, on_error="skip", last_batch="partial")
    assert set(source.skipped) == {"coffee/004.jpg", "rocket/notes.txt"}
    assert len(source.files) == 39
    seen = np.concatenate([source.indices for _ in source])
    assert sorted(source.files[k] for k in seen) == sorted(
        str(path.relative_to(folder))
        for path in folder.glob("*/*.jpg")
        if path.name != "004.jpg" or "coffee" not in str(path)
    )


def test_skip_of_a_sound_folder_skips_nothing(photo_folder):
    source = loader(photo_folder, on_error="skip")
    assert source.skipped == {}
    assert len(source.files) == 40


def test_a_class_without_a_readable_image_is_an_error_even_then(folder):
    for path in (folder / "coffee").iterdir():
        garbage(path)
    with pytest.raises(ValueError, match="coffee has no readable image"):
        loader(folder, on_error="skip")


def test_an_empty_class_folder_is_named(folder):
    (folder / "nothing").mkdir()
    with pytest.raises(ValueError, match=r"class folder .*nothing has no images"):
        loader(folder)


def test_a_file_of_another_kind_is_named(folder):
    (folder / "rocket" / "notes.txt").write_text("none")
    with pytest.raises(ValueError, match=r"rocket/notes.txt does not end like an image.*on_error='skip'"):
        loader(folder)


def test_an_image_outside_the_classes_is_named(folder):
    shutil.copy(folder / "rocket" / "001.jpg", folder / "loose.jpg")
    with pytest.raises(ValueError, match=r"images must be in class folders, got .*loose\.jpg"):
        loader(folder)


@pytest.mark.parametrize("missing", ["absent", "file.jpg"])
def test_a_root_that_is_no_folder_is_named(tmp_path, missing):
    (tmp_path / "file.jpg").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=missing):
        loader(tmp_path / missing)


def test_a_root_without_classes_is_named(tmp_path):
    with pytest.raises(ValueError, match="root must have a folder for each class, got none in"):
        loader(tmp_path)


def test_hidden_files_and_other_formats_are_no_problem(folder):
    (folder / ".cache").mkdir()
    (folder / "rocket" / ".DS_Store").write_bytes(b"x")
    with Image.open(folder / "rocket" / "001.jpg") as photo:
        photo.convert("L").save(folder / "rocket" / "gray.jpg")
        photo.convert("CMYK").save(folder / "rocket" / "cmyk.JPG")
        photo.save(folder / "rocket" / "photo.png")
        photo.save(folder / "rocket" / "photo.webp")
        photo.save(folder / "rocket" / "photo.bmp")
        photo.save(folder / "rocket" / "progressive.jpeg", progressive=True)
    source = loader(folder, last_batch="partial", mixer=None)
    assert len(source.files) == 46
    assert sum(len(images) for images, _ in source) == 46


def test_the_folder_order_is_torchvisions(tmp_path):
    from torchvision.datasets import ImageFolder

    root = write_folder(tmp_path / "root", {"coffee": 3, "rocket": 2})
    nested = root / "coffee" / "deep" / "er"
    nested.mkdir(parents=True)
    shutil.copy(root / "rocket" / "000.jpg", nested / "a.jpg")
    shutil.copy(root / "rocket" / "000.jpg", root / "coffee" / "Z.jpg")
    theirs, ours = ImageFolder(root), loader(root, batch_size=2)
    assert list(ours.classes) == theirs.classes
    assert sorted(ours.files) == sorted(str(path).removeprefix(f"{root}/") for path, _ in theirs.samples)


def test_the_longer_of_two_names_is_told_apart(folder):
    source_file = folder / "rocket" / "001.jpg"
    shutil.copy(source_file, folder / "rocket" / "001.jpg.jpg")
    source = loader(folder)
    (folder / "rocket" / "001.jpg.jpg").unlink()
    with pytest.raises(RuntimeError, match=r"001\.jpg\.jpg: no such file"):
        list(source)


def test_what_is_no_file_is_named(folder):
    os.mkfifo(folder / "rocket" / "pipe.jpg")
    with pytest.raises(ValueError, match=r"pipe\.jpg is no file"):
        loader(folder)
    (folder / "rocket" / "pipe.jpg").unlink()
    (folder / "rocket" / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    with pytest.raises(ValueError, match=r"gone\.jpg is no file"):
        loader(folder)
    (folder / "rocket" / "gone.jpg").unlink()
    (folder / "rocket" / "loop").symlink_to(folder / "rocket")
    with pytest.raises(ValueError, match="links to a folder that it lies in"):
        loader(folder)
    (folder / "rocket" / "loop").unlink()
    (folder / "lost").symlink_to(folder / "nowhere")
    with pytest.raises(ValueError, match="lost is neither a folder nor a file"):
        loader(folder)


def test_links_to_files_and_folders_are_followed(folder, tmp_path):
    (folder / "rocket" / "more").symlink_to(shutil.copytree(folder / "coffee", tmp_path / "elsewhere"))
    (folder / "rocket" / "one.jpg").symlink_to(folder / "chelsea" / "001.jpg")
    assert len(loader(folder).files) == 51
