"""make-labels and import-labels on real images: what is stored, going on after a kill, several processes, bad files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tests.slow_teacher as slow_teacher
from dali_tokenmix import cli
from dali_tokenmix.commands.make_labels import summary
from dali_tokenmix.dataset import scan
from dali_tokenmix.label_store import LabelStore
from dali_tokenmix.label_store.importer import import_labels
from dali_tokenmix.label_store.maker import make_labels
from dali_tokenmix.teacher import Teacher
from tests.photos import SUBJECTS

SIZE, GRID, CLASSES = 32, 4, 4
SLOW = Path(slow_teacher.__file__)


class Bright:
    """Sees how bright each cell of a GRID x GRID grid is, in [0, 1], and adds the label; top-k is of the colours."""

    image_size, map_size, num_classes, device = (SIZE, SIZE), (GRID, GRID), CLASSES, torch.device("cpu")

    def __init__(self, name="bright"):
        self.name, self.batches = name, []

    def __call__(self, images, labels):
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (SIZE, SIZE, 3)
        self.batches.append(len(images))
        return self.cells(images).mean(3) + labels[:, None, None]

    def topk(self, images, k):
        scores, ids = self.cells(images).permute(0, 3, 1, 2).topk(k, dim=1)
        return ids.int(), scores

    def cells(self, images):
        return images.float().div(255).unflatten(2, (GRID, -1)).unflatten(1, (GRID, -1)).mean((2, 4))

    def description(self):
        return {"teacher": self.name}


@pytest.fixture
def folder(tmp_path, photo_folder):
    return shutil.copytree(photo_folder, tmp_path / "images")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "labels.safetensors"


def squashed(root):
    """The images as torchvision would resize them whole, (N, SIZE, SIZE, 3) uint8."""
    images = []
    for path in scan(root).paths():
        with Image.open(path) as image:
            images.append(np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
    return torch.from_numpy(np.stack(images))


def test_the_store_holds_what_the_teacher_sees_of_whole_images(photo_folder, out):
    labels = torch.from_numpy(scan(photo_folder).labels)
    store = make_labels(photo_folder, Bright(), out, maps="float16", topk=2, batch_size=16)
    expected = Bright()(squashed(photo_folder), labels)
    assert np.abs(store.maps(np.arange(40)) - expected.numpy()).max() < 0.01
    ids, scores = store.topk(np.arange(40))
    assert (ids == Bright().topk(squashed(photo_folder), 2)[0].numpy()).mean() > 0.9
    assert (scores[:, 0] >= scores[:, 1]).all()
    assert len(LabelStore.open(out, expect=scan(photo_folder))) == 40
    assert store.metadata["image_size"] == [SIZE, SIZE]
    assert "whatever its aspect ratio" in store.metadata["resize"]


def test_a_map_covers_the_whole_image(tmp_path, out):
    """A bright corner at the end of a long image: a centre crop would not see it."""
    (tmp_path / "images" / "wide").mkdir(parents=True)
    pixels = np.zeros((64, 320, 3), np.uint8)
    pixels[:16, -80:] = 255
    Image.fromarray(pixels).save(tmp_path / "images" / "wide" / "corner.png")
    teacher = Bright()
    teacher.num_classes = 1
    (seen,) = make_labels(tmp_path / "images", teacher, out).maps([0])
    assert seen[0, 3] > 0.95
    assert np.delete(seen.reshape(-1), 3).max() < 0.05


def test_uint8_maps_are_within_the_bound(photo_folder, out):
    exact = make_labels(photo_folder, Bright(), out.with_name("exact"), maps="float16").maps(np.arange(40))
    store = make_labels(photo_folder, Bright(), out)
    assert np.abs(store.maps(np.arange(40)) - exact).max() <= exact.max() * (1 / 510 + 2**-11)


def test_real_teacher_online_and_stored(tmp_path, out):
    """Images of the teacher's own size, without loss: the store's bound is all that may differ."""
    timm = pytest.importorskip("timm")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    for k, image in enumerate(images):
        (tmp_path / "images" / f"class{k // 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / f"class{k // 2}" / f"{k}.png")
    torch.manual_seed(0)
    teacher = Teacher(timm.create_model("resnet10t", num_classes=3), image_size=64)
    store = make_labels(tmp_path / "images", teacher, out, topk=2, batch_size=4)
    online = teacher(torch.from_numpy(images), torch.tensor([0, 0, 1, 1, 2, 2])).numpy()
    bound = online.max((1, 2), keepdims=True) / 510
    assert online.max() > 0
    assert (np.abs(store.maps(np.arange(6)) - online) <= bound + 1e-5).all()
    ids, logits = (array.numpy() for array in teacher.topk(torch.from_numpy(images), 2))
    stored_ids, stored_logits = store.topk(np.arange(6))
    assert np.allclose(stored_logits, logits, atol=1e-5, rtol=2**-10)
    assert (stored_ids == ids).mean() > 0.99
    assert store.metadata["teacher"] == teacher.description()


def test_maps_that_are_all_zero_are_counted(photo_folder, out, capsys):
    class Blind(Bright):
        def __call__(self, images, labels):
            return super().__call__(images, labels) * (labels > 0)[:, None, None]

    for maps in ("uint8", "float16"):
        store = make_labels(photo_folder, Blind(), out.with_name(maps), maps=maps)
        assert store.blank() == 10
        assert "10 of them all zero" in summary(store)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batches_are_never_padded(photo_folder, out, batch_size):
    teacher = Bright()
    make_labels(photo_folder, teacher, out, batch_size=batch_size)
    assert teacher.batches == [min(batch_size, 40 - start) for start in range(0, 40, batch_size)]


def test_a_store_that_is_there_is_returned(photo_folder, out):
    make_labels(photo_folder, Bright(), out)
    written, teacher = out.stat(), Bright()
    assert len(make_labels(photo_folder, teacher, out, batch_size=3)) == 40
    assert teacher.batches == []
    assert out.stat().st_mtime_ns == written.st_mtime_ns
    with pytest.raises(ValueError, match=f"{out} is there already, with other labels: maps was 'uint8'"):
        make_labels(photo_folder, Bright(), out, maps="float16")


class Failing(Bright):
    """Raises after some batches."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def __call__(self, images, labels):
        if len(self.batches) == self.after:
            raise ZeroDivisionError("the teacher's own")
        return super().__call__(images, labels)


def test_what_the_teacher_raises_is_not_touched_and_what_is_done_is_kept(photo_folder, out):
    with pytest.raises(ZeroDivisionError, match=r"^the teacher's own$"):
        make_labels(photo_folder, Failing(3), out, batch_size=8)
    assert not out.exists()
    teacher = Bright()
    make_labels(photo_folder, teacher, out, batch_size=8)
    assert teacher.batches == [8, 8]
    assert np.array_equal(
        out.read_bytes(), make_labels(photo_folder, Bright(), out.with_name("b"), batch_size=8).path.read_bytes()
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_the_image_of_a_map_that_is_none_is_named(photo_folder, out, value):
    class Broken(Bright):
        def __call__(self, images, labels):
            maps = super().__call__(images, labels)
            if labels[0] == 2:
                maps[3, 0, 0] = value
            return maps

    with pytest.raises(ValueError, match=r"labels of coffee/003\.jpg: map must be finite and >= 0, got"):
        make_labels(photo_folder, Broken(), out, batch_size=10)


def test_another_run_is_not_gone_on_with(folder, out):
    with pytest.raises(ZeroDivisionError):
        make_labels(folder, Failing(2), out, batch_size=8)
    (journal,) = out.parent.glob("*.partial")
    with pytest.raises(ValueError, match=f"{journal} is of another run: teacher.teacher was 'bright', is 'brighter'"):
        make_labels(folder, Bright("brighter"), out, batch_size=8)
    with pytest.raises(ValueError, match=f"{journal} is of another run: batch_size was 8, is 4"):
        make_labels(folder, Bright(), out, batch_size=4)
    shutil.copy(folder / "coffee" / "001.jpg", folder / "coffee" / "new.jpg")
    with pytest.raises(ValueError, match=f"{journal} is of another run: files was 40, is 41, fingerprint was"):
        make_labels(folder, Bright(), out, batch_size=8)


@pytest.mark.parametrize("content", [b"no image" * 99, b""])
def test_an_unreadable_image_is_named_and_the_work_goes_on_once_it_is_mended(folder, out, content):
    bad = folder / "coffee" / "004.jpg"
    good = bad.read_bytes()
    bad.write_bytes(content)
    with pytest.raises(RuntimeError, match=f"^cannot read {bad}: "):
        make_labels(folder, Bright(), out, batch_size=4)
    bad.write_bytes(good)
    teacher = Bright()
    make_labels(folder, teacher, out, batch_size=4)
    assert 4 <= sum(teacher.batches) < 40


def test_a_teacher_of_other_classes_is_refused(photo_folder, out):
    teacher = Bright()
    teacher.num_classes = 1000
    with pytest.raises(ValueError, match=r"the teacher has 1000 classes, .* has 4: Teacher\(classes"):
        make_labels(photo_folder, teacher, out)


@pytest.mark.parametrize(
    "wrong",
    [
        {"maps": None},
        {"maps": "uint4"},
        {"topk": -1},
        {"batch_size": 0},
        {"shard_id": 1},
        {"num_shards": 0},
        {"num_threads": 0},
    ],
)
def test_arguments_are_named(photo_folder, out, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_labels(photo_folder, Bright(), out, **wrong)
    assert not list(out.parent.glob("labels*"))


def slow(root, out, *, seconds=0.0, shard=0, shards=1):
    """make_labels in a process of its own, by a teacher that takes so long for a batch."""
    command = [sys.executable, str(SLOW), str(root), str(out), str(seconds), str(shard), str(shards)]
    environment = os.environ | {"PYTHONPATH": str(SLOW.parent.parent)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def test_killed_and_started_again_it_makes_the_same_file(photo_folder, out):
    undisturbed = slow(photo_folder, out.with_name("undisturbed"))
    killed = slow(photo_folder, out, seconds=0.3)
    for _ in range(4):
        killed.stdout.readline()  # one for each batch of 4
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait(30) == -signal.SIGKILL
    assert not out.exists()
    again = slow(photo_folder, out)
    batches = again.communicate(timeout=60)[0].splitlines()
    assert again.returncode == undisturbed.wait(60) == 0
    assert 0 < len(batches) < 10
    assert out.read_bytes() == out.with_name("undisturbed").read_bytes()
    assert sorted(os.listdir(out.parent)) == ["labels.safetensors", "undisturbed"]


def test_killed_at_any_time(photo_folder, out):
    """Again and again, whatever it is doing, until it is done."""
    for after in (2.0, 3.0):
        run = slow(photo_folder, out, seconds=0.05)
        time.sleep(after)
        run.kill()
        run.wait(30)
    run = slow(photo_folder, out)
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert out.read_bytes() == make_labels_of_slow(photo_folder, out.with_name("one")).read_bytes()


def make_labels_of_slow(root, out):
    return make_labels(root, slow_teacher.Slow(0), out, batch_size=4, topk=2).path


def test_two_processes_at_a_time_make_what_one_makes(photo_folder, out):
    runs = [slow(photo_folder, out, shard=shard, shards=2, seconds=0.05) for shard in (1, 0)]
    counts = [len(run.communicate(timeout=60)[0].splitlines()) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sum(counts) == 10
    assert out.read_bytes() == make_labels_of_slow(photo_folder, out.with_name("one")).read_bytes()
    assert sorted(os.listdir(out.parent)) == ["labels.safetensors", "one"]


def test_a_second_process_for_the_same_shard_is_refused(photo_folder, out):
    first = slow(photo_folder, out, seconds=0.3)
    first.stdout.readline()
    with pytest.raises(RuntimeError, match="is being written by another process"):
        make_labels_of_slow(photo_folder, out)
    first.kill()
    first.wait(30)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of timm's resnet10t with 4 classes, untrained."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet10t.pth"
    model = timm.create_model("resnet10t", num_classes=CLASSES)
    torch.nn.init.normal_(model.fc.weight)
    torch.save(model.state_dict(), path)
    return path


def command(root, out, weights, *more, device="cpu"):
    teacher = ("--teacher", "timm:resnet10t", "--checkpoint", str(weights), "--num-classes", str(CLASSES))
    size = ("--image-size", "64", "--batch-size", "16", "--device", device)
    return ["make-labels", "--root", str(root), "--out", str(out), *teacher, *size, *more]


def test_the_command(photo_folder, out, weights, device, capsys):
    assert cli.main(command(photo_folder, out, weights, "--topk", "3", device=device)) == 0
    assert "top 3 classes of 2 x 2 of 40 images" in capsys.readouterr().out
    store = LabelStore.open(out, expect=scan(photo_folder))
    assert store.metadata["teacher"]["teacher"] == "timm:resnet10t"
    assert store.maps(np.arange(40)).max() > 0


def test_the_command_under_torchrun(photo_folder, out, weights, monkeypatch, capsys):
    assert cli.main(command(photo_folder, out.with_name("one"), weights)) == 0
    for rank, said in ((1, "shard 1 of 2 is done"), (0, "maps of 2 x 2")):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert cli.main(command(photo_folder, out, weights)) == 0
        assert said in capsys.readouterr().out
    assert out.read_bytes() == out.with_name("one").read_bytes()


def test_the_command_leaves_out_what_the_loader_leaves_out(folder, out, weights):
    (folder / "coffee" / "004.jpg").write_bytes(b"no image")
    assert cli.main(command(folder, out.with_name("a"), weights)) == 2
    assert cli.main(command(folder, out, weights, "--on-error", "skip")) == 0
    data = scan(folder).without({"coffee/004.jpg": "no image"})
    assert len(LabelStore.open(out, expect=data)) == 39


def test_classes_of_the_teacher_by_folder(folder, out, weights, tmp_path):
    """Two folders of four: their maps are those of the teacher's classes 3 and 0."""
    for name in SUBJECTS[2:]:
        shutil.rmtree(folder / name)
    (tmp_path / "classes.txt").write_text(f"{SUBJECTS[1]} 0\n\n{SUBJECTS[0]} 3\n")
    assert cli.main(command(folder, out, weights)) == 2
    assert cli.main(command(folder, out, weights, "--classes", str(tmp_path / "classes.txt"), "--topk", "2")) == 0
    model = __import__("timm").create_model("resnet10t", num_classes=CLASSES)
    model.load_state_dict(torch.load(weights, weights_only=True))
    chosen = Teacher(model, image_size=64, classes=[3, 0])
    expected = make_labels(folder, chosen, tmp_path / "b", batch_size=16).maps(np.arange(20))
    assert np.array_equal(LabelStore.open(out).maps(np.arange(20)), expected)
    assert expected[:10].any()
    assert expected[10:].any()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--classes", "absent.txt"), "absent.txt"),
        (("--image-size", "0"), "image_size"),
        (("--topk", "5"), "topk must be in 0..4"),
        (("--out", "absent/labels"), "out must be in a folder that exists"),
        (("--teacher", "resnet10t"), "'timm:<model>'"),
        (("--checkpoint", "absent.pth"), "absent.pth"),
        (("--maps", "none"), "nothing to store"),
        (("--root", "absent"), "absent"),
        (("--batch-size", "many"), "--batch-size"),
    ],
)
def test_mistakes_are_one_line(photo_folder, out, weights, capsys, more, said):
    try:
        code = cli.main(command(photo_folder, out, weights, *more))
    except SystemExit as error:
        code = error.code
    *_, line = capsys.readouterr().err.splitlines()
    assert code == 2
    assert line.startswith("dali-tokenmix: error: ")
    assert said in line


@pytest.fixture
def tree(tmp_path, photo_folder):
    """Label files as the released generators write them: float16, [2, 5, 3, 3]; the own class first in one corner."""
    rng = np.random.default_rng(0)
    data = scan(photo_folder)
    for k, (file, label) in enumerate(zip(data.files, data.labels, strict=True)):
        logits = -np.sort(-rng.normal(3, 4, (5, 3, 3)), axis=0)
        ids = rng.permuted(np.tile(np.arange(100, 1000)[:, None, None], (1, 3, 3)), axis=0)[:5]
        logits[0, 0, 2], ids[0, 0, 2] = k + 1, label
        logits[4, 1, 1], ids[4, 1, 1] = -2, label
        path = tmp_path / "tree" / Path(file).with_suffix(".pt")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(torch.from_numpy(np.stack([logits, ids])).half(), path)
    return tmp_path / "tree"


def test_a_tree_becomes_a_store(photo_folder, tree, out, capsys):
    store = import_labels(photo_folder, tree, out)
    ids, logits = store.topk(np.arange(40))
    for k, file in enumerate(scan(photo_folder).files):
        expected = torch.load(tree / Path(file).with_suffix(".pt"), weights_only=True).float().numpy()
        assert np.array_equal(logits[k], expected[0])
        assert np.array_equal(ids[k], expected[1])
    assert (store.k, store.map_size, store.map_type) == (5, (3, 3), None)
    assert LabelStore.open(out, expect=scan(photo_folder)).metadata["teacher"] == {"teacher": "imported from tree"}


def test_own_maps_of_a_tree(photo_folder, tree, out, capsys):
    arguments = ["--root", str(photo_folder), "--labels", str(tree), "--out", str(out), "--maps", "float16"]
    assert cli.main(["import-labels", *arguments]) == 0
    assert "top 5 classes of 3 x 3 of 40 images" in capsys.readouterr().out
    expected = np.zeros((40, 3, 3), np.float32)
    expected[:, 0, 2] = np.arange(1, 41)
    assert np.array_equal(LabelStore.open(out).maps(np.arange(40)), expected)


def saved(change):
    """A damage: the file's tensor, changed."""

    def damage(path):
        torch.save(change(torch.load(path, weights_only=True)), path)

    return damage


def put(place, value):
    def change(tensor):
        tensor[place] = value
        return tensor

    return saved(change)


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harm",)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p: p.unlink(), r"does not exist, the label file of coffee/003\.jpg"),
        (lambda p: p.write_bytes(b""), "cannot be read"),
        (lambda p: p.write_bytes(p.read_bytes()[:300]), "cannot be read"),
        (lambda p: p.write_bytes(b"garbage" * 99), "cannot be read"),
        (lambda p: torch.save(Harmful(), p), "cannot be read"),
        (lambda p: torch.save({"a": 1}, p), r"must hold one tensor \[2, k, H, W\], logits and class ids, got dict"),
        (saved(lambda t: t[0]), r"must hold one tensor \[2, k, H, W\], .*got \(5, 3, 3\)"),
        (saved(lambda t: t[:, :4]), r"must be \[2, 5, 3, 3\] as the other label files are, got \[2, 4, 3, 3\]"),
        (put((0, 2, 1, 1), np.nan), "must have finite logits, got nan"),
        (put((0, 2, 1, 1), np.inf), "must have finite logits, got inf"),
        (put((1, 2, 1, 1), 1.5), r"must have class ids that are whole numbers in 0..2\^31-1, got 1.5"),
        (put((1, 2, 1, 1), -1), "must have class ids that are whole numbers"),
        (put((1, 2, 1, 1), np.nan), "must have class ids that are whole numbers"),
    ],
)
def test_the_label_file_that_is_wrong_is_named(photo_folder, tree, out, damage, reason, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    bad = tree / "coffee" / "003.pt"
    good = bad.read_bytes()
    damage(bad)
    with pytest.raises(ValueError, match=f"^{bad} {reason}"):
        import_labels(photo_folder, tree, out)
    assert not out.exists()
    assert not (tmp_path / "harm").exists()
    bad.write_bytes(good)
    assert len(import_labels(photo_folder, tree, out)) == 40


def test_ids_that_float16_rounds_are_warned_of(photo_folder, tree, out, capsys):
    put((1, 2, 1, 1), 2049)(tree / "coffee" / "003.pt")
    with pytest.warns(UserWarning, match=r"1 label files of .*torch\.float16"):
        store = import_labels(photo_folder, tree, out)
    assert store.topk([23])[0].max() == 2048
    saved(lambda t: t.double())(tree / "astronaut" / "000.pt")
    arguments = ["--root", str(photo_folder), "--labels", str(tree), "--out", str(out.with_name("b"))]
    assert cli.main(["import-labels", *arguments]) == 0
    assert "warning: 1 label files of" in capsys.readouterr().out


def test_two_images_of_one_label_file_are_refused(folder, tree, out):
    with Image.open(folder / "coffee" / "003.jpg") as image:
        image.save(folder / "coffee" / "003.png")
    with pytest.raises(
        ValueError, match=r"coffee/003\.jpg and coffee/003\.png would both have the label file .*003\.pt"
    ):
        import_labels(folder, tree, out)


def test_a_tree_that_is_none_is_named(photo_folder, out):
    with pytest.raises(ValueError, match="labels must be a folder"):
        import_labels(photo_folder, out, out)


def test_commands_need_what_they_need(monkeypatch, tmp_path, photo_folder, capsys):
    monkeypatch.setattr("dali_tokenmix.commands.make_labels.is_installed", lambda name: name != "torch")
    for name, more in (("make-labels", "--teacher"), ("import-labels", "--labels")):
        assert cli.main([name, "--root", str(photo_folder), "--out", str(tmp_path / "x"), more, "x"]) == 2
        assert "torch is not installed: pip install" in capsys.readouterr().err
