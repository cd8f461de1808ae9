"""What is wrong with a file list, a tar, a TFRecord or an index is named, with the sample and what to do."""

from __future__ import annotations

import io
import re
import struct
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

import dali_tokenmix as dtm
from dali_tokenmix.sources.tf_example import masked_crc
from tests import containers
from tests.containers import write_records, write_tar

FileList, TFRecord, WebDataset = dtm.sources.FileList, dtm.sources.TFRecord, dtm.sources.WebDataset


def jpeg(gray=100):
    file = io.BytesIO()
    Image.new("RGB", (24, 24), (gray,) * 3).save(file, "jpeg")
    return file.getvalue()


IMAGE = jpeg()
TORN = np.random.default_rng(0).integers(0, 256, 300, np.uint8).tobytes()


def loader(source, **options):
    return dtm.Loader(source=source, **{"batch_size": 2, "image_size": 16, "device": "cpu", "seed": 2, **options})


def good(count=5, start=0):
    return {f"{k:03}": {"jpg": jpeg(8 * k), "cls": b"%d" % (k % 3)} for k in range(start, start + count)}


def example(gray=100, **changes):
    features = {"image/encoded": jpeg(gray), "image/class/label": 1, "image/height": 24, "aspect": 1.0} | changes
    return {name: value for name, value in features.items() if value is not None}


def refused(message, source, error=ValueError, **options):
    with pytest.raises(error, match=message):
        loader(source, **options)


@pytest.fixture
def tar(tmp_path):
    return write_tar(tmp_path / "a.tar", good())


@pytest.fixture
def records(tmp_path):
    return write_records(tmp_path / "a.tfrecord", [example(8 * k) for k in range(5)])


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        ("a.jpg 0\nb.jpg one\n", {}, "the label of b.jpg must be a whole number, got 'one': classes= says"),
        (
            "a.jpg 0\nb.jpg 2\n",
            {"classes": ["x", "y"]},
            r"class ids in \[0, 2\), the 2 classes, got 2 for b.jpg",
        ),
        ("a.jpg x\nb.jpg z\n", {"classes": ["x", "y"]}, "the label of b.jpg must be .*, got 'z': one of classes"),
        ("a.jpg 0\nb.jpg -1\n", {}, r"must be class ids in \[0, 1048576\), got -1 for b.jpg"),
        ("a.jpg 0\n\nb.jpg\n", {}, r"list.txt, line 3: must be 'path label', got 'b.jpg'"),
        ("\n", {}, "list.txt lists no image"),
        ("c.jpg 0\n", {}, r"lists c.jpg, and there is no .*c.jpg: root= is the folder"),
        ("a.jpg 0\nb.jpg 1\n", {"labels": [1, 0, 1]}, r"labels must be one for each sample, .*: got 3, .* has 2"),
        ("a.jpg 0\nb.jpg 1\n", {"classes": ["x"]}, r"must be class ids in \[0, 1\), the 1 classes, got 1 for b.jpg"),
        ("a.jpg 0\nb.jpg 1\n", {"classes": ["x", "x"]}, "classes must be a list of names, each once"),
        ("a.jpg x\nb.jpg x\n", {"classes": "x"}, "classes must be a list of names, each once, got 'x'"),
        ("a.jpg 0\nb.jpg 1\n", {"classes": 2}, "classes must be a list of names, each once, got 2"),
        ("my a.jpg,0\n", {}, "must be a whole number, got 'a.jpg,0': classes= says which names there are, and lines"),
        ("a.jpg,0\n", {}, "line 1: must be 'path label', got 'a.jpg,0'"),
        ("a.jpg 0\nb.jpg 1\n", {"labels": [1, 2], "classes": ["x", "y"]}, "names of all 3 classes .*, got 2"),
    ],
)
def test_file_lists(tmp_path, lines, options, message):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(IMAGE)
    (tmp_path / "list.txt").write_text(lines)
    refused(message, FileList(tmp_path / "list.txt", **options))


def test_a_byte_order_mark_is_no_part_of_a_path(tmp_path):
    (tmp_path / "a.jpg").write_bytes(IMAGE)
    (tmp_path / "list.txt").write_text("a.jpg 0\n", encoding="utf-8-sig")
    assert FileList(tmp_path / "list.txt").scan().files == ("a.jpg",)


def test_file_lists_of_every_form(tmp_path):
    (tmp_path / "my photos").mkdir()
    names = ["my photos/a 1.jpg", "my photos/b.jpg", "c.jpg"]
    for k, name in enumerate(names):
        (tmp_path / name).write_bytes(jpeg(50 * k))
    files = tmp_path / "spaces.txt", tmp_path / "tabs.txt", tmp_path / "names.txt", tmp_path / "paths.txt"
    for file, form in zip(files, ("{} {}", " {}\t{} ", "{} class{}", "{}"), strict=True):
        file.write_text("\r\n".join(form.format(name, k) for k, name in enumerate(names)) + "\n\n")
    classes = ["class0", "class1", "class2"]
    pairs = [(tmp_path / name, np.int64(k)) for k, name in enumerate(names)]
    given = [
        FileList(files[0]),
        FileList(files[1]),
        FileList(files[2], classes=classes),
        FileList(files[3], labels=[0, 1, 2]),
        FileList(files[0], labels=[0, 1, 2]),
        FileList(names, root=tmp_path, labels=[0, 1, 2]),
        FileList(pairs),
        FileList([(str(tmp_path / name), f"class{k}") for k, name in enumerate(names)], classes=classes),
    ]
    for source in given:
        data = source.scan()
        assert data.labels.tolist() == [0, 1, 2]
        assert data.paths() == [str(tmp_path / name) for name in names]
        assert data.classes == (("0", "1", "2") if source.classes is None else tuple(classes))
    for wrong, message in (
        (["a.jpg"], r"entry 0 of the list must be \(path, label\), or pass labels=, got 'a.jpg'"),
        ([("a.jpg",)], "entry 0 of the list must be"),
        (3, r"FileList takes a text file or a list of \(path, label\), got 3"),
    ):
        refused(message, FileList(wrong), TypeError)
    refused("cannot be read as a file list: No such file", FileList(tmp_path / "gone.txt"))
    refused("the list lists no image", FileList([]))


def test_a_listed_file_that_is_missing_or_torn_is_named(tmp_path):
    paths = [tmp_path / f"{k}.jpg" for k in range(6)]
    for k, path in enumerate(paths):
        path.write_bytes(TORN if k == 3 else jpeg(k))
    paths[4].unlink()
    source = FileList([(path, 0) for path in paths])
    with pytest.raises(RuntimeError, match=r"cannot read .*[34]\.jpg: no"):
        list(loader(source))
    skipping = loader(source, on_error="skip")
    assert sorted(skipping.skipped) == [str(paths[3]), str(paths[4])]
    assert len(skipping.files) == 4
    assert len(list(skipping)) == 2


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {"007": {"cls": b"1"}},
            {},
            r"a.tar/007 has no image \(.jpg, .jpeg, .png\), only .cls: pass image=, or",
        ),
        ({"007": {"jpg": IMAGE}}, {}, r"a.tar/007 has no .cls, only .jpg: pass label=, or labels=, or pass on_error"),
        (
            {"007": {"jpg": IMAGE, "cls": b"cat"}},
            {},
            "a.tar/007 has a .cls of b'cat', no class id: pass",
        ),
        ({"007": {"jpg": IMAGE, "cls": b"-2"}}, {}, r".cls files of .* must be class ids in .* got -2 for a.tar/007"),
        ({}, {"image": "webp"}, r"a.tar/000 has no image \(.webp\), only .jpg, .cls"),
        ({}, {"label": "id"}, "a.tar/000 has no .id, only .jpg, .cls"),
        ({}, {"labels": [1, 2]}, "labels must be one for each sample, in the source's order: got 2, .* has 5"),
        ({}, {"initial_fill": 0}, "initial_fill must be in 1"),
        ({}, {"index": ["x"]}, "index has .*x, and there is no such file"),
    ],
)
def test_samples_of_tars(tmp_path, change, options, message):
    refused(message, WebDataset(write_tar(tmp_path / "a.tar", good() | change), **options))


def test_tars_that_are_none(tmp_path, tar):
    refused(r"shards has .*gone.tar, and there is no such file", WebDataset(tmp_path / "gone.tar"))
    refused(r"shards .*\*.tgz matches no file", WebDataset(f"{tmp_path}/*.tgz"))
    refused("shards must be at least one file", WebDataset([]))
    refused("shards must be a path, a pattern or a list of paths, got 3", WebDataset(3), TypeError)
    refused("shards must have each file once, got .*a.tar twice", WebDataset([tar, str(tar)]))
    refused(r"has .*a1.tar, and there is no such file", WebDataset(f"{tmp_path}/a{{,1}}.tar"))
    whole = tar.read_bytes()
    for name, content in {
        "torn.tar": whole[: 2560 + 700],
        "cut.tar": whole[: 3 * 2560],
        "text.tar": b"no tar" * 300,
        "zipped.tar": b"\x1f\x8b" + bytes(600),
        "empty.tar": bytes(1024),
    }.items():
        (tmp_path / name).write_bytes(content)
        what = {"cut.tar": "is truncated: it has no end mark at 7680", "empty.tar": "has no samples"}
        refused(f"{name} {what.get(name, 'is no tar file, or compressed or truncated')}", WebDataset(tmp_path / name))


def test_links_in_a_tar_are_not_left_out_in_silence(tmp_path):
    """tarfile writes a link where a file has two names; DALI reads through none."""
    (tmp_path / "a.jpg").write_bytes(IMAGE)
    (tmp_path / "a.cls").write_text("1")
    for ending in ("jpg", "cls"):
        (tmp_path / f"b.{ending}").hardlink_to(tmp_path / f"a.{ending}")
        (tmp_path / f"c.{ending}").symlink_to(tmp_path / f"a.{ending}")
    (tmp_path / "d.jpg").write_bytes(jpeg(7))
    (tmp_path / "d.cls").symlink_to(tmp_path / "a.cls")
    for dereference in (False, True):
        with tarfile.open(tmp_path / f"{dereference}.tar", "w", dereference=dereference) as archive:
            for name in ("a.jpg", "a.cls", "b.jpg", "b.cls", "c.jpg", "c.cls", "d.jpg", "d.cls"):
                archive.add(tmp_path / name, name)
    refused(
        r"False.tar/b has b.jpg as a link, which DALI does not follow: .*dereference",
        WebDataset(tmp_path / "False.tar"),
    )
    some = loader(WebDataset(tmp_path / "False.tar"), batch_size=1, on_error="skip")
    assert some.files == ("False.tar/a",)
    assert list(some.skipped) == ["False.tar/b", "False.tar/c", "False.tar/d"]
    assert "d.cls as a link" in some.skipped["False.tar/d"]
    assert len(loader(WebDataset(tmp_path / "True.tar")).files) == 4


def test_an_index_that_wds2idx_gets_wrong_is_refused_with_the_way_out(tmp_path):
    for name, key in (("blank", "a b"), ("long", "a" * 120)):
        path = tmp_path / f"{name}.tar"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
            for ending, content in (("jpg", IMAGE), ("cls", b"1")):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        refused("leave out index=", WebDataset(path, index=containers.index_tars([path])), batch_size=1)
        assert loader(WebDataset(path), batch_size=1).files == (f"{name}.tar/{key}",)


@pytest.mark.parametrize("options", [{"image": ["jpg", "png"]}, {"label": None}])
def test_endings_are_text(tar, options):
    refused(r"(image|label) must be text of endings, such as 'jpg;png', got", WebDataset(tar, **options), TypeError)


@pytest.mark.parametrize("labels", [[[0, 1], [1], [2], [0], [1]], torch.ones(5, 2, requires_grad=True)])
def test_labels_that_numpy_cannot_have_are_named(tar, labels):
    refused("labels must be what NumPy makes an array of numbers of", WebDataset(tar, labels=labels), TypeError)


def test_keys_differ_and_files_of_a_sample_lie_side_by_side(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in (("a.jpg", IMAGE), ("b.jpg", IMAGE), ("a.cls", b"1")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    refused("a.tar has the key a twice: files of a sample lie side by side", WebDataset(path, labels=[1, 2]))
    with tarfile.open(path, "w") as archive:
        for name in ("a.jpg", "a.JPG"):
            member = tarfile.TarInfo(name)
            member.size = len(IMAGE)
            archive.addfile(member, io.BytesIO(IMAGE))
    refused("a.tar has a.JPG twice", WebDataset(path))


def test_folders_hidden_files_long_names_and_capital_letters_in_tars(tmp_path):
    long, path = "a folder/" + "x" * 150, tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("a folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        parts = (("a folder/.hidden", b"x"), (f"{long}.JPG", IMAGE), (f"{long}.cls", b" 2\n"), ("b.seg.png", b""))
        for name, content in (*parts, ("b.png", IMAGE), ("b.cls", b"0")):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1.5  # which takes a header of its own
            archive.addfile(member, io.BytesIO(content))
    data = WebDataset(path).scan()
    assert data.files == (f"a.tar/{long}", "a.tar/b")
    assert data.labels.tolist() == [2, 0]
    assert [data.encoded(k).tobytes() for k in range(2)] == [IMAGE, IMAGE]
    assert sum(len(images) for images, _ in loader(WebDataset(path))) == 2


def test_index_files_of_tars(tmp_path, tar):
    other = write_tar(tmp_path / "b.tar", good(5, start=20))
    (index,), (wrong,) = containers.index_tars([tar]), containers.index_tars([other])
    text = index.read_text()
    assert len(loader(WebDataset(tar, index=index)).files) == 5
    refused(r"index .*b.tar.idx is of another tar: .*a.tar has no .* Make it again", WebDataset(tar, index=wrong))
    refused("index must be a file for each of the 2 shards", WebDataset([tar, other], index=index))
    refused(r"index .*b.tar.idx is of another", WebDataset([tar, other], index=[wrong, index]))
    for content, message in {
        "": r"is none of wds2idx: its first line must be 'v1.2 <samples>', got ''",
        "v3 5\n": "is none of wds2idx",
        text.rsplit("\n", 2)[0]: "is truncated: it says 5 samples and has 4",
        text.replace("000.jpg", ""): r"line 2 must be 'ending offset size name' for each file of a sample",
        "v1.2 0\n": "has no samples",
    }.items():
        index.write_text(content)
        refused(message, WebDataset(tar, index=index))
    index.write_bytes(b"\xff\xfe")
    refused("index .* cannot be read", WebDataset(tar, index=index))


def test_an_index_may_have_another_order_than_the_tar(tmp_path, tar):
    (index,) = containers.index_tars([tar])
    head, *lines = index.read_text().splitlines()
    index.write_text("\n".join([head, *(lines[k] for k in (3, 0, 4))]).replace("v1.2 5", "v1.2 3"))
    source = loader(WebDataset(tar, index=index), train=False, dtype="uint8", last_batch="partial")
    assert source.files == ("a.tar/003", "a.tar/000", "a.tar/004")
    grays = [round(float(image.float().mean()) / 8) for images, _ in source for image in images]
    assert grays == [3, 0, 4]
    trained = loader(WebDataset(tar, index=index), dtype="uint8", last_batch="partial")
    for images, _ in trained:
        assert [round(float(image.float().mean()) / 8) for image in images] == [[3, 0, 4][k] for k in trained.indices]


def test_an_older_index_has_no_names_and_the_tar_tells_them(tmp_path, tar):
    (index,) = containers.index_tars([tar])
    index.write_text(re.sub(r" \S+\.(jpg|cls)", "", index.read_text()).replace("v1.2", "v1.1"))
    assert WebDataset(tar, index=index).scan().files == WebDataset(tar).scan().files
    tar.write_bytes(write_tar(tmp_path / "b.tar", {"x": {"jpg": IMAGE, "cls": b"0"}}).read_bytes())
    refused("is of another tar", WebDataset(tar, index=index))


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_torn_image_in_a_tar(tmp_path, on_error):
    samples = good(6) | {"006": {"jpg": TORN, "cls": b"1"}, "007": {"jpg": b"", "cls": b"1"}, "008": {"txt": b"x"}}
    source = WebDataset(write_tar(tmp_path / "a.tar", samples))
    if on_error == "raise":
        source = WebDataset(write_tar(tmp_path / "a.tar", good(6) | {"006": samples["006"]}))
        offset = source.scan().offset[6]
        with pytest.raises(RuntimeError, match=rf"cannot read .*a.tar:{offset}:006: no image that DALI decodes"):
            list(loader(source, last_batch="partial"))
        return
    skipping = loader(source, on_error="skip", last_batch="partial")
    assert sorted(skipping.skipped) == ["a.tar/006", "a.tar/007", "a.tar/008"]
    assert skipping.skipped["a.tar/006"].startswith("no image that DALI decodes")
    assert "only .txt" in skipping.skipped["a.tar/008"]
    assert skipping.files == tuple(f"a.tar/{k:03}" for k in range(6))
    assert sum(len(images) for images, _ in skipping) == 6


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {"image/encoded": None},
            {},
            r"a.tfrecord/2 has no feature 'image/encoded' of bytes: it has 'aspect' \(f",
        ),
        ({}, {"image": "jpeg"}, r"has no feature 'jpeg' of bytes: it has .*'image/encoded' \(bytes\), .*Pass image="),
        ({}, {"image": "aspect"}, "a.tfrecord/0 has no feature 'aspect' of bytes"),
        ({"image/class/label": None}, {}, "a.tfrecord/2 has no feature 'image/class/label' of int64: it has 'aspect'"),
        ({}, {"label": "id"}, "a.tfrecord/0 has no feature 'id' of int64: .*Pass label=, or labels="),
        ({"image/class/label": [1, 2]}, {}, "a.tfrecord/2 has 2 numbers in 'image/class/label', not one class id"),
        ({"image/class/label": []}, {}, "a.tfrecord/2 has 0 numbers in 'image/class/label'"),
        (
            {"image/class/label": 0},
            {"first_label": 1},
            r"label - 1 of .* must be .*, got -1 for a.tfrecord/2",
        ),
        ({}, {"first_label": 2}, "first_label must be one of 0, 1, got 2"),
        ({}, {"labels": [1]}, "labels must be one for each sample, in the source's order: got 1, .* has 3"),
        ({}, {"labels": [1, 2, 3], "image": "jpeg"}, "a.tfrecord/0 has no feature 'jpeg' of bytes"),
    ],
)
def test_features_of_records(tmp_path, change, options, message):
    file = write_records(tmp_path / "a.tfrecord", [example(), example(), example(**change)])
    refused(message, TFRecord(file, **options))


def test_tf_records_that_are_none(tmp_path, records):
    whole = records.read_bytes()
    head, junk = struct.pack("<Q", 34), b"no example at all" * 2
    for name, content, message in (
        ("torn", whole[:-10], "torn is truncated, or damaged: there is no whole record at byte "),
        ("half", whole[: len(whole) // 2], "half is truncated, or damaged"),
        ("changed", whole[:4] + b"x" + whole[5:], "changed is no TFRecord file, or damaged"),
        ("image", IMAGE, "image is no TFRecord file, or damaged: there is no whole record at byte 0"),
        ("empty", b"", "empty has no records"),
        (
            "junk",
            head + containers.masked_crc(head) + junk + bytes(4),
            "junk/0 is no",
        ),
    ):
        (tmp_path / name).write_bytes(content)
        refused(message, TFRecord(tmp_path / name))
    refused("files has .*gone, and there is no such file", TFRecord(tmp_path / "gone"))


def test_index_files_of_records(tmp_path, records):
    other = write_records(tmp_path / "b.tfrecord", [example(8 * k, more=b"x" * k) for k in range(5)])
    (index,), (wrong,) = containers.index_records([records]), containers.index_records([other])
    assert len(loader(TFRecord(records, index=index)).files) == 5
    refused(r"index .*b.tfrecord.idx is of another file: .*a.tfrecord has no record of", TFRecord(records, index=wrong))
    index.write_text("0 ten\n")
    refused("line 1: must be 'offset size', got '0 ten'", TFRecord(records, index=index))
    index.write_text("")
    refused(r"a.tfrecord.idx has no records", TFRecord(records, index=index))


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_torn_image_in_a_record(tmp_path, on_error):
    torn, empty = example(**{"image/encoded": TORN}), example(**{"image/encoded": b""})
    examples = [example(8 * k) for k in range(5)] + [torn] + ([empty, {}] if on_error == "skip" else [])
    source = TFRecord(write_records(tmp_path / "a.tfrecord", examples))
    if on_error == "raise":
        offset = source.scan().offset[5]
        with pytest.raises(RuntimeError, match=rf"cannot read .*a.tfrecord at index {offset}: no image that DALI"):
            list(loader(source))
        return
    skipping = loader(source, on_error="skip")
    assert sorted(skipping.skipped) == ["a.tfrecord/5", "a.tfrecord/6", "a.tfrecord/7"]
    assert len(list(skipping)) == 2


def test_the_checksum_is_crc32c():
    rotate = lambda crc: ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF  # noqa: E731
    assert masked_crc(b"123456789") == rotate(0xE3069283)  # the check value of RFC 3720's CRC-32C
    assert masked_crc(bytes(32)) == rotate(0x8A9136AA)  # RFC 3720, B.4


@pytest.mark.parametrize("kind", [WebDataset, TFRecord])
def test_what_is_far_away_needs_an_index_and_labels(tmp_path, kind):
    index = tmp_path / "index"
    index.write_text("v1.2 1\njpg 0 1 a.jpg\n" if kind is WebDataset else "0 100\n")
    refused(r"s3://bucket/a can only be read by DALI's reader, not scanned: pass index=", kind("s3://bucket/a"))
    refused(r"s3://bucket/a can only .*: pass labels=, one for each", kind("s3://bucket/a", index=index))
    refused("index must be local files, got gs", kind("gs://bucket/a", index="gs://bucket/b", labels=[1]))
    refused(r"DALI reads files, s3:// and gs:// .*, not http://, got http://x/a", kind("http://x/a"))
    skip = {"on_error": "skip", "batch_size": 1}
    far = kind("s3://bucket/a", index=index, labels=[0])
    refused(r"on_error='skip' reads every image beforehand, which it cannot do at s3://bucket/a", far, **skip)
