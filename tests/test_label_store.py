"""The label store on real files: what goes in comes out, what is wrong is refused by name, nothing is read in vain."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from dali_tokenmix.dataset import ImageFolder
from dali_tokenmix.label_store import LabelStore
from dali_tokenmix.label_store import journal as label_journal
from dali_tokenmix.label_store import rows as label_rows
from dali_tokenmix.label_store import writer as label_writer
from dali_tokenmix.label_store.writer import Run

IMAGENET = 1_281_167
GRID = (3, 5)


def folder(n, name="image"):
    files = tuple(f"class/{name}{k:07}.jpg" for k in range(n))
    return ImageFolder(Path("/data"), ("class",), files, np.zeros(n, np.int32), {})


def a_run(path, n, *, maps="uint8", topk=0, grid=GRID, teacher=None, shards=1, step=4):
    labels = label_rows.describe(folder(n), teacher or {"teacher": "t"}, grid, maps, topk)
    return Run(path, labels, {"batch_size": step}, step, shards)


def given(n, *, topk=0, grid=GRID, seed=0):
    rng = np.random.default_rng(seed)
    labels = {"maps": rng.random((n, *grid), np.float32) * 7}
    if topk:
        labels["ids"] = rng.integers(0, 2**31, (n, topk, *grid)).astype(np.int32)
        labels["scores"] = rng.normal(0, 9, (n, topk, *grid)).astype(np.float32)
    return labels


def fill(run, labels, shard=0):
    files = folder(run.labels["files"]).files
    with run.journal(shard) as journal:
        for start in run.samples(shard)[journal.done :: run.step]:
            batch = slice(start, min(start + run.step, run.samples(shard).stop))
            journal.append(label_rows.pack(run.layout, files[batch], **{k: v[batch] for k, v in labels.items()}))
    return run.finish(shard)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.safetensors"


@pytest.fixture
def store(path):
    """Ten samples with uint8 maps and two classes."""
    return fill(a_run(path, 10, topk=2), given(10, topk=2))


def resaved(path, *, metadata=None, **tensors):
    """The file with other tensors or metadata, written by the library; None removes one."""
    known = load_file(path) | tensors
    length = int.from_bytes(path.read_bytes()[:8], "little")
    strings = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"] | (metadata or {})
    save_file({k: v for k, v in known.items() if v is not None}, path, {k: v for k, v in strings.items() if v})


@pytest.mark.parametrize("n", [1, 10, 4097])
@pytest.mark.parametrize("exponent", [-34, -6, 0, 4, 37])
def test_uint8_maps_are_off_by_half_a_step(path, n, exponent):
    maps = given(n)["maps"] * np.float32(10.0**exponent)
    maps[-1] = 0
    read = fill(a_run(path, n, step=64), {"maps": maps}).maps(np.arange(n))
    bound = maps.max((1, 2), keepdims=True).astype(float) / 510  # and what float32 rounds
    assert read.dtype == np.float32
    assert (np.abs(read.astype(float) - maps) <= bound * (1 + 1e-4)).all()
    assert not read[-1].any()
    assert np.allclose(read.max((1, 2)), maps.max((1, 2)), rtol=1e-6)


def test_maps_of_nothing_measurable_become_zero(path):
    maps = np.full((4, *GRID), [[[1e-36]], [[1e-44]], [[0]], [[1]]], np.float32).reshape(4, *GRID) * 1
    read = fill(a_run(path, 4), {"maps": maps}).maps([0, 1, 2, 3])
    assert not read[:3].any()
    assert np.allclose(read[3], 1)


def test_float16_maps(path):
    maps = given(9)["maps"]
    store = fill(a_run(path, 9, maps="float16"), {"maps": maps})
    assert np.allclose(store.maps(np.arange(9)), maps, rtol=2**-11, atol=0)
    assert store.map_type == "float16"


def test_class_ids_to_the_last(path):
    labels = given(3, topk=4)
    labels["ids"].reshape(-1)[:5] = [0, 2048, 2049, 2**24 + 1, 2**31 - 1]
    ids, scores = fill(a_run(path, 3, maps=None, topk=4), labels).topk([0, 1, 2])
    assert ids.dtype == np.int32
    assert np.array_equal(ids, labels["ids"])
    assert np.array_equal(scores, labels["scores"].astype(np.float16).astype(np.float32))
    assert (scores < 0).any()


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda k: np.array(k, np.uint8)])
def test_rows_come_as_they_are_asked_for(store, kind):
    everything = store.maps(np.arange(10))
    for indices in ([3], [9, 0, 9, 4], [0]):
        assert np.array_equal(store.maps(kind(indices)), everything[indices])
        assert np.array_equal(store.topk(kind(indices))[0], store.topk(np.arange(10))[0][indices])


def test_no_rows(store):
    assert store.maps([]).shape == (0, *GRID)
    assert store.topk(np.zeros(0, np.int64))[1].shape == (0, 2, *GRID)


def test_what_is_read_may_be_written_to(store):
    before = store.maps([1])
    store.maps([1])[:] = 5
    store.topk([1])[1][:] = 5
    assert np.array_equal(store.maps([1]), before)


def test_attributes(store, path):
    assert (len(store), store.map_size, store.map_type, store.k, store.path) == (10, GRID, "uint8", 2, path)
    assert store.metadata["teacher"] == {"teacher": "t"}
    assert store.metadata["fingerprint"] == folder(10).fingerprint()
    assert store.metadata["files"] == 10


def test_the_library_reads_it_too(store, path):
    tensors = load_file(path)
    assert {name: tensor.dtype.name for name, tensor in tensors.items()} == {
        "maps": "uint8",
        "scales": "float32",
        "ids": "int32",
        "scores": "float16",
    }
    assert np.array_equal(tensors["maps"] * tensors["scales"][:, None, None], store.maps(np.arange(10)))


@pytest.mark.parametrize("index", [-1, 10, 2**40])
def test_an_index_out_of_range_is_named(store, path, index):
    for read in (store.maps, store.topk):
        with pytest.raises(IndexError, match=rf"index {index} is out of range for {path}, which has 10 samples"):
            read(np.array([0, index]))


@pytest.mark.parametrize("indices", [[0.5], [True], np.zeros((2, 1), int), 3, np.zeros((0, 1))])
def test_indices_that_are_none(store, indices):
    with pytest.raises(TypeError, match="indices must be"):
        store.maps(indices)


def test_labels_that_are_not_stored_are_named(tmp_path):
    only_maps = fill(a_run(tmp_path / "a", 4), given(4))
    only_topk = fill(a_run(tmp_path / "b", 4, maps=None, topk=2), given(4, topk=2))
    assert (only_maps.k, only_topk.map_type) == (0, None)
    with pytest.raises(ValueError, match=f"{tmp_path / 'a'} has no top-k labels"):
        only_maps.topk([0])
    with pytest.raises(ValueError, match=f"{tmp_path / 'b'} has no ground-truth maps"):
        only_topk.maps([0])


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p: p.unlink(), "does not exist"),
        (lambda p: (p.unlink(), p.mkdir()), "is no safetensors file"),
        (lambda p: p.write_text("labels " * 99), "is no safetensors file, or truncated"),
        (lambda p: cut(p, 0), "is no safetensors file, or truncated"),
        (lambda p: cut(p, 100), "is no safetensors file, or truncated"),
        (lambda p: cut(p, p.stat().st_size - 1), "is no safetensors file, or truncated"),
        (lambda p: p.write_bytes(p.read_bytes() + b"x"), "is no safetensors file, or truncated"),
        (lambda p: save_file({"maps": np.zeros((10, 3, 5))}, p), "no label store: its metadata"),
        (lambda p: save_file({"maps": np.zeros((10, 3, 5))}, p, {"format": "pt"}), "no label store: its metadata"),
        (lambda p: resaved(p, metadata={"version": "2"}), "is of version 2 of the format, this program reads 1"),
        (lambda p: resaved(p, metadata={"version": ""}), "is of version None"),
        (lambda p: resaved(p, metadata={"files": ""}), "files must be a whole number >= 1, got None"),
        (lambda p: resaved(p, metadata={"files": '"10"'}), "files must be a whole number >= 1, got '10'"),
        (lambda p: resaved(p, metadata={"files": "11"}), r"tensor scales must be F32 \[11\], got F32 \[10\]"),
        (lambda p: resaved(p, maps=np.zeros((10, 5, 3), np.uint8)), r"tensor maps must be U8 \[10, 3, 5\]"),
        (lambda p: resaved(p, maps=np.zeros((10, 3, 5), np.int8)), r"tensor maps must be U8 .*got I8"),
        (lambda p: resaved(p, ids=None), r"tensor ids must be I32 .*got none"),
        (lambda p: resaved(p, scales=np.array([1] * 9 + [np.nan], np.float32)), "scale of sample 9 is nan"),
        (lambda p: resaved(p, scales=np.array([1, -1] + [1] * 8, np.float32)), "scale of sample 1 is -1"),
        (lambda p: resaved(p, scales=np.array([np.inf] + [1] * 9, np.float32)), "scale of sample 0 is inf"),
    ],
)
def test_a_file_that_is_no_sound_store_is_refused(store, path, damage, reason):
    damage(path)
    with pytest.raises(ValueError, match=reason) as caught:
        LabelStore.open(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "sample"),
    [
        ({"maps": (3, np.nan)}, 3),
        ({"maps": (4, np.inf)}, 4),
        ({"maps": (5, -0.5)}, 5),
        ({"ids": (6, -1)}, 6),
        ({"scores": (7, np.nan)}, 7),
        ({"scores": (8, -np.inf)}, 8),
    ],
)
def test_damaged_rows_are_refused_when_they_are_read(path, tensors, sample):
    fill(a_run(path, 10, maps="float16", topk=2), given(10, topk=2) | {"scores": np.zeros((10, 2, *GRID))})
    ((name, (row, value)),) = tensors.items()
    array = load_file(path)[name].copy()
    array[row].reshape(-1)[1] = value
    resaved(path, **{name: array})
    store = LabelStore.open(path)
    read = store.maps if name == "maps" else store.topk
    read([0, 1, 2, 9])
    with pytest.raises(ValueError, match=f"{path} is damaged at sample {sample}"):
        read([9, sample, 0])


def test_labels_of_another_data_set_are_refused(store, path):
    assert len(LabelStore.open(path, expect=folder(10))) == 10
    assert len(LabelStore.open(path, expect=folder(10).fingerprint())) == 10
    with pytest.raises(ValueError, match=f"{path} belongs to another data set: it is of 10 files, /data has 11"):
        LabelStore.open(path, expect=folder(11))
    with pytest.raises(ValueError, match=f"{path} belongs to another data set: the names or the order"):
        LabelStore.open(path, expect=folder(10, "photo"))
    with pytest.raises(ValueError, match=f"{path} belongs to another data set"):
        LabelStore.open(path, expect="0123456789abcdef")


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("maps", "size"), [("float16", 4 * IMAGENET * 18 * 18 * 2), ("uint8", IMAGENET * (18 * 18 + 4))]
)
def test_a_large_store_is_not_read(path, maps, size):
    """A sparse file: 3.3 GB of float16 maps; of 420 MB of uint8 maps the 5 MB of scales are looked at."""
    n = IMAGENET * (4 if maps == "float16" else 1)
    entries, offset = {}, 0
    for name, (dtype, shape) in label_rows.layout(maps, 0, (18, 18)).items():
        end = offset + n * int(np.prod(shape, dtype=int)) * label_rows.DTYPES[dtype].itemsize
        entries[name] = {"dtype": dtype, "shape": [n, *shape], "data_offsets": [offset, end]}
        offset = end
    assert offset == size
    described = {"format": label_writer.FORMAT, "version": 1, "files": n, "fingerprint": "f", "map_size": [18, 18]}
    described |= {"maps": maps, "topk": 0, "teacher": {}}
    header = json.dumps(entries | {"__metadata__": {k: json.dumps(v) for k, v in described.items()}}).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    before = resident()
    store = LabelStore.open(path)
    assert store.maps(np.linspace(0, n - 1, 128).astype(int)).shape == (128, 18, 18)
    assert resident() - before < 48e6


@pytest.mark.parametrize(("grid", "limit"), [((18, 18), 0.6e9), ((7, 7), 0.1e9)])
def test_imagenet_fits(tmp_path, grid, limit):
    sizes = []
    for n in (1000, 3000):
        path = tmp_path / str(n)
        fill(a_run(path, n, grid=grid, step=500), given(n, grid=grid))
        sizes.append(path.stat().st_size)
    each = (sizes[1] - sizes[0]) / 2000
    assert sizes[0] - each * 1000 + each * IMAGENET <= limit


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"maps": np.nan}, "map must be finite and >= 0, got nan"),
        ({"maps": np.inf}, "map must be finite and >= 0, got inf"),
        ({"maps": -1e-9}, "map must be finite and >= 0, got -9.99"),
        ({"ids": -1}, r"class ids must be in 0..2\^31-1, got -1"),
        ({"scores": np.nan}, "scores must be finite"),
        ({"scores": 1e5}, "scores must be finite and at most 65504, got 100000"),
    ],
)
@pytest.mark.parametrize("maps", ["uint8", "float16"])
def test_labels_that_are_none_are_not_written(path, maps, change, rule):
    labels = given(10, topk=2)
    ((name, value),) = change.items()
    labels[name][6, ..., 1, 2] = value
    with pytest.raises(ValueError, match=f"labels of class/image0000006.jpg: {rule}"):
        fill(a_run(path, 10, maps=maps, topk=2), labels)
    assert not path.exists()


def test_what_float16_does_not_hold_is_not_written(path):
    labels = given(10)
    labels["maps"][7] = 1e5
    with pytest.raises(ValueError, match=r"image0000007.jpg: map must be at most 65504, or be stored as uint8"):
        fill(a_run(path, 10, maps="float16"), labels)
    with pytest.raises(ValueError, match=r"maps must be of shape \(4, 3, 5\), got \(4, 5, 3\)"):
        fill(a_run(path.with_name("b"), 10), {"maps": labels["maps"].transpose(0, 2, 1)})


def test_nothing_but_the_store_is_left(store, path):
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("shards", [1, 2, 3, 8])
@pytest.mark.parametrize("backwards", [False, True])
def test_shards_make_the_same_file_in_any_order(tmp_path, shards, backwards):
    labels = given(21, topk=2)
    fill(a_run(tmp_path / "one", 21, topk=2), labels)
    run = a_run(tmp_path / "many", 21, topk=2, shards=shards)
    assert [k for shard in range(shards) for k in run.samples(shard)] == list(range(21))
    order = range(shards)[::-1] if backwards else range(shards)
    made = [fill(run, labels, shard) for shard in order]
    assert [store is None for store in made] == [True] * (shards - 1) + [False]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["many", "one"]


def test_all_shards_may_finish_at_once(path):
    labels, run = given(4000), a_run(path, 4000, shards=4)
    for shard in range(4):
        with run.journal(shard) as journal:
            samples = run.samples(shard)
            rows = slice(samples.start, samples.stop)
            journal.append(label_rows.pack(run.layout, folder(4000).files[rows], labels["maps"][rows]))
    made, gate = [None] * 4, threading.Barrier(4)

    def finish(shard):
        gate.wait()
        made[shard] = run.finish(shard)

    threads = [threading.Thread(target=finish, args=(shard,)) for shard in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store is not None for store in made)
    assert np.allclose(made[0].maps(np.arange(4000)), labels["maps"], atol=7 / 510 + 1e-6)


def test_a_store_is_not_written_over(store, path):
    before = path.stat().st_mtime_ns
    assert a_run(path, 10, topk=2).finished() is not None
    with pytest.raises(ValueError, match=rf"{path} is there already, with other labels: topk was 2, is 3\."):
        a_run(path, 10, topk=3).finished()
    with pytest.raises(ValueError, match=r"teacher.teacher was 't', is 'u'"):
        a_run(path, 10, topk=2, teacher={"teacher": "u"}).finished()
    assert path.stat().st_mtime_ns == before
    path.write_text("precious")
    with pytest.raises(ValueError, match=f"{path} is no safetensors file"):
        a_run(path, 10).finished()
    assert path.read_text() == "precious"


def test_a_store_appears_whole_or_not_at_all(path, monkeypatch):
    def fails(*_):
        assert not path.exists()
        raise OSError("no space left on device")

    run, labels = a_run(path, 10), given(10)
    with monkeypatch.context() as patch:
        patch.setattr(label_writer.os, "replace", fails)
        with pytest.raises(OSError, match="no space"):
            fill(run, labels)
    assert not path.exists()
    with run.journal(0) as journal:
        assert journal.done == 10
    assert np.array_equal(run.finish(0).maps([3]), fill(a_run(path.with_name("b"), 10), labels).maps([3]))
    assert sorted(os.listdir(path.parent)) == ["b", path.name]


def begun(run, rows):
    """The journal of a run that was killed after some of its first rows, uncommitted ones behind them."""
    labels = label_rows.pack(run.layout, folder(10).files[: rows + 2], given(10)["maps"][: rows + 2])
    with run.journal(0) as journal:
        journal.append(labels[:rows])
        journal.commit()
        (path,) = run.store.parent.glob("*.partial")
        kept = path.read_bytes()
    path.write_bytes(kept + labels[rows:].tobytes()[:-3])
    return path


def test_only_counted_rows_are_kept(path):
    run = a_run(path, 10, step=2)
    begun(run, 4)
    with run.journal(0) as journal:
        assert journal.done == 4
    fill(run, given(10))
    fill(a_run(path.with_name("b"), 10, step=2), given(10))
    assert path.read_bytes() == path.with_name("b").read_bytes()


@pytest.mark.parametrize("size", [0, 5, 20])
def test_a_journal_killed_at_its_beginning_begins_again(path, size):
    run = a_run(path, 10)
    cut(begun(run, 4), size)
    with run.journal(0) as journal:
        assert journal.done == 0
    assert fill(run, given(10)) is not None


def test_a_truncated_journal_is_named(path):
    run = a_run(path, 10)
    journal = begun(run, 4)
    cut(journal, journal.stat().st_size - 100)
    with pytest.raises(ValueError, match=f"{journal} is truncated: remove it"):
        run.journal(0)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"teacher": {"teacher": "u"}}, "teacher.teacher was 't', is 'u'"),
        ({"n": 12}, "files was 10, is 12, fingerprint was"),
        ({"maps": "float16"}, "maps was 'uint8', is 'float16'"),
        ({"topk": 1}, "topk was 0, is 1"),
        ({"grid": (4, 4)}, r"map_size was \[3, 5\], is \[4, 4\]"),
        ({"step": 8}, "batch_size was 4, is 8"),
        ({"shards": 2}, "processes was 1, is 2"),
    ],
)
def test_the_journal_of_another_run_is_not_gone_on_with(path, other, difference):
    journal = begun(a_run(path, 10), 4)
    before = journal.read_bytes()
    with pytest.raises(ValueError, match=rf"{journal} is of another run: {difference}.*Finish that run, or remove"):
        a_run(path, **{"n": 10} | other).journal(0)
    assert journal.read_bytes() == before


def test_two_processes_do_not_write_one_journal(path):
    run = a_run(path, 10)
    with run.journal(0) as journal, pytest.raises(RuntimeError, match=f"{journal.path} is being written by another"):
        run.journal(0)


def test_rows_are_committed_now_and_then(path, monkeypatch):
    monkeypatch.setattr(label_journal, "COMMIT_SECONDS", 0)
    run = a_run(path, 10)
    with run.journal(0) as journal:
        for n in (4, 8):
            journal.append(label_rows.pack(run.layout, folder(10).files[:4], given(10)["maps"][:4]))
            assert journal.done == label_journal.read_key(journal.path)[0] == n


@pytest.mark.parametrize("out", [".", "absent/labels.safetensors"])
def test_where_nothing_can_be_written(tmp_path, out):
    with pytest.raises(ValueError, match="out must be"):
        label_writer.checked_path(tmp_path / out)
