"""Every supervision, by a teacher and by a store, through the Loader and fn.token_mix."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

import dali_tokenmix as dtm
from dali_tokenmix import op, reference
from dali_tokenmix.dataset import scan
from dali_tokenmix.label_maps import token_grid, token_sides
from dali_tokenmix.pipeline import whole_image
from dali_tokenmix.planner import BatchPlanner
from tests.test_relabel import dense_labels, label_maps, scattered

CLASSES, SIZE = 6, 64
MIXERS = {
    "TokenMix": dtm.TokenMix(8),
    "CutMix": dtm.CutMix(),
    "MixUp": dtm.MixUp(),
    "Choice": dtm.Choice([dtm.MixUp(), dtm.TokenMix(8)], mode="pair"),
    "None": None,
}
SUPERVISIONS = ("tokenmix", "relabel", "tokenlabeling")


def small_teacher(cells=4, **options):
    """A linear head on the colours of cells x cells cells."""
    generator = torch.Generator().manual_seed(0)

    def features(images):
        return torch.nn.functional.adaptive_avg_pool2d(images, cells)

    weight, bias = torch.randn(CLASSES, 3, generator=generator) * 3, torch.randn(CLASSES, generator=generator)
    return dtm.Teacher(features=features, weight=weight, bias=bias, image_size=SIZE, **options)


@pytest.fixture(scope="module")
def store(photo_folder, tmp_path_factory):
    """float16 maps and all six classes of each cell, by a teacher of four classes' folders."""
    path = tmp_path_factory.mktemp("store") / "labels.safetensors"
    teacher = small_teacher(classes=[0, 1, 2, 3], k=4)
    return dtm.make_labels(photo_folder, teacher, path, maps="float16", topk=4, batch_size=8, device="cpu")


@pytest.fixture(params=["whole batch", "fallback"])
def operator(request, monkeypatch):
    monkeypatch.setenv(op.FALLBACK, "1" if request.param == "fallback" else "0")


def loader(root, **options):
    return dtm.Loader(
        root, **{"batch_size": 8, "image_size": SIZE, "mixer": dtm.TokenMix(8), "smoothing": 0.0, **options}
    )


def source_of(kind, store):
    return {"teacher": small_teacher(classes=[0, 1, 2, 3], k=4)} if kind == "teacher" else {"label_maps": store}


def parts(targets):
    return targets if isinstance(targets, tuple) else (targets,)


@pytest.mark.parametrize("supervision", ["relabel", "tokenlabeling"])
@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("kind", ["teacher", "store"])
def test_a_loader_yields_what_its_plan_and_its_labels_make(photo_folder, store, operator, kind, mixer, supervision):
    """The graph's own plan and crops, its targets by the slow definition."""
    source = loader(
        photo_folder,
        mixer=MIXERS[mixer],
        supervision=supervision,
        num_classes=5,
        dtype="uint8",
        layout="NHWC",
        smoothing=0.1,
        **source_of(kind, store),
    )
    plans = []
    call = BatchPlanner.__call__

    def listening(self, *args, **kwargs):
        packed, ids = call(self, *args, **kwargs)
        plans.append(packed.copy())
        return packed, ids

    clean = loader(photo_folder, mixer=None, dtype="uint8", layout="NHWC")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(BatchPlanner, "__call__", listening)
    try:
        _, targets = next(iter(source))
    finally:
        monkeypatch.undo()
    own_images, _ = next(iter(clean))
    shapes = () if MIXERS[mixer] is None else MIXERS[mixer].shapes((SIZE, SIZE))
    plan = dtm.plan.read_rows(plans[0].view(dtm.plan.row_dtype(shapes))[:, 0], shapes, (SIZE, SIZE))
    tokens = token_grid(shapes, (SIZE, SIZE))
    grid = tokens.grid
    if kind == "teacher":
        ids, scores = small_teacher(classes=[0, 1, 2, 3], k=4).topk(own_images)
        boxes, flips = np.tile(np.float32([0, 0, 1, 1]), (8, 1)), np.zeros(8, bool)
    else:
        ids, scores = map(torch.from_numpy, store.topk(source.indices))
        boxes, flips = crops_of(source)
    ids, scores = ids.numpy(), scores.half().float().numpy()
    labels = dense_labels(ids, scores, boxes, flips, (1, 1), 5)[:, 0, 0]
    mixed = plan.own[:, None] * labels + plan.other[:, None] * labels[plan.partner]
    np.testing.assert_allclose(parts(targets)[0].numpy(), 0.9 * mixed + 0.1 / 5, atol=1e-5)
    if supervision == "relabel":
        return
    assert isinstance(targets, dtm.TokenTargets)
    k = 4 * token_sides(shapes, tokens)
    assert targets.token_ids.shape == targets.token_probabilities.shape == (8, grid[0] * grid[1], k)
    assert (targets.token_ids.dtype, targets.token_probabilities.dtype) == (torch.int32, torch.float32)
    cut = dense_labels(ids, scores, boxes, flips, grid, 5)
    cut[..., 4] = 0  # never among the strongest four: a class that no cell has
    shares = reference.cell_shares(plan, grid)[..., None]
    expected = (1 - shares) * cut + shares * cut[plan.partner]
    dense = scattered(targets.token_ids.numpy(), targets.token_probabilities.numpy(), 5)
    np.testing.assert_allclose(dense, expected.reshape(8, -1, 5), atol=1e-5)


def crops_of(source):
    """Boxes and flips of a loader's first batch, from a graph with the same seeds."""
    pipeline = Pipeline(8, 2, None, seed=source._run.planner.graph.seeds[4], enable_checkpointing=True)
    with pipeline:
        jpegs, index = source._run.planner.graph._read()
        _, crop = source._run.planner.graph._images(jpegs)
        pipeline.set_outputs(index, *crop.values())
    pipeline.build()
    index, *crop_values = (output.as_array() for output in pipeline.run())
    assert index.reshape(-1).tolist() == source.indices.tolist()
    return dtm.planner.boxes_of(**dict(zip(crop, crop_values, strict=True)))


@pytest.mark.parametrize("mixer", ["TokenMix", "CutMix", "MixUp"])
@pytest.mark.parametrize("supervision", SUPERVISIONS)
def test_online_and_stored_labels_of_whole_images_give_the_same_targets(
    photo_folder, store, supervision, mixer, device
):
    """float16 maps: a weight is off by 2^-10 at most; top-k scores are rounded alike on both ways."""
    teacher = small_teacher(classes=[0, 1, 2, 3], k=4, device="cuda" if device == "gpu" else None)
    files, labels = [str(photo_folder / file) for file in scan(photo_folder).files], list(range(40))
    pipeline = Pipeline(8, 2, 0 if device == "gpu" else None, seed=3)
    with pipeline:
        jpegs, index = fn.readers.file(files=files, labels=labels)
        pixels = whole_image(jpegs, fn.peek_image_shape(jpegs), "cpu")
        images = fn.resize(pixels, size=(SIZE, SIZE), interp_type=types.INTERP_LINEAR, antialias=True)
        images = images.gpu() if device == "gpu" else images
        ids = index // 10
        options = {"num_classes": 4, "mixer": MIXERS[mixer], "seed": 5, "smoothing": 0.0, "supervision": supervision}
        if supervision == "tokenmix":
            stored = dtm.fn.label_maps(
                store, index, grid=token_grid(MIXERS[mixer].shapes((SIZE, SIZE)), (SIZE, SIZE)).grid
            )
        else:
            stored = dtm.fn.top_labels(store, index, num_classes=4)
        _, online = dtm.fn.token_mix(images, ids, teacher=teacher, **options)
        _, by_store = dtm.fn.token_mix(images, ids, label_maps=stored, **options)
        pipeline.set_outputs(*parts(online), *parts(by_store))
    pipeline.build()
    for _ in range(3):
        outputs = [output.as_cpu().as_array() for output in pipeline.run()]
        half = len(outputs) // 2
        for seen, looked_up in zip(outputs[:half], outputs[half:], strict=True):
            np.testing.assert_allclose(seen, looked_up, atol=2**-10 if supervision == "tokenmix" else 1e-6)


def test_weights_by_uint8_maps_are_within_their_bound(photo_folder, tmp_path):
    """The largest value by the mean, by 255, whatever the mask: half a step in every cell, above and below the line."""
    teacher, indices = small_teacher(classes=[0, 1, 2, 3]), np.arange(40)
    exact = dtm.make_labels(photo_folder, teacher, tmp_path / "exact", maps="float16").maps(indices)
    rounded = dtm.make_labels(photo_folder, teacher, tmp_path / "rounded", maps="uint8").maps(indices)
    seen = np.flatnonzero(exact.any((1, 2)))
    exact, rounded = exact[seen], rounded[seen]
    bound = exact.max((1, 2)) / exact.mean((1, 2)) / 255 + 2**-10
    whole, unflipped = np.tile([0.0, 0, 1, 1], (len(seen), 1)), np.zeros(len(seen), bool)
    for seed in range(50):
        plan = dtm.draw(dtm.TokenMix(8, mode="elem"), len(seen), SIZE, seed=seed)
        own = [dtm.scored(plan, dtm.crop_maps(maps, whole, unflipped, (8, 8))).own for maps in (exact, rounded)]
        assert (np.abs(own[0] - own[1]) <= bound).all()
    assert bound.max() < 0.1


@pytest.mark.parametrize("supervision", SUPERVISIONS)
@pytest.mark.parametrize("kind", ["teacher", "store"])
def test_resume_and_shards_are_exact(photo_folder, store, kind, supervision):
    def make(**options):
        options = {**source_of(kind, store), "supervision": supervision, **options}
        return loader(photo_folder, **options)

    def flat(batch):
        return [batch[0].clone(), *(part.clone() for part in parts(batch[1]))]

    whole = [flat(batch) for source in [make()] for _ in range(2) for batch in source]
    first = make(num_threads=1, prefetch=3)
    batches = iter(first)
    for _ in range(3):
        next(batches)
    resumed = make()
    resumed.load_state_dict(first.state_dict())
    rest = [flat(batch) for _ in range(2) for batch in resumed]
    for before, after in zip(whole[3:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    seen = []
    for shard in range(2):
        source = make(shard_id=shard, num_shards=2, batch_size=10)
        for one, two in zip(source, make(shard_id=shard, num_shards=2, batch_size=10), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(flat(one), flat(two), strict=True))
            seen += source.indices.tolist()
    assert sorted(seen) == list(range(40))


@pytest.mark.parametrize("kind", ["teacher", "store"])
def test_without_mixing_images_keep_their_own_soft_labels(photo_folder, store, kind):
    source = loader(photo_folder, supervision="tokenlabeling", **source_of(kind, store))
    source.mixing = False
    _, targets = next(iter(source))
    _, unmixed = next(iter(loader(photo_folder, mixer=None, supervision="relabel", **source_of(kind, store))))
    torch.testing.assert_close(targets.targets, unmixed)
    assert ((targets.targets > 0) & (targets.targets < 1)).all()
    torch.testing.assert_close(targets.targets.sum(1), torch.ones(8))


def test_a_partial_last_batch_is_cut_in_all_its_parts(photo_folder, store):
    source = loader(photo_folder, supervision="tokenlabeling", label_maps=store, batch_size=24, last_batch="partial")
    sizes = [[len(images), *map(len, targets)] for images, targets in source]
    assert sizes == [[24] * 4, [16] * 4]


@pytest.mark.parametrize("samples", [1, 3])
def test_odd_batches_and_a_batch_of_one(photo_folder, store, samples):
    for supervision in SUPERVISIONS:
        for kind in ("teacher", "store"):
            _, targets = next(
                iter(loader(photo_folder, batch_size=samples, supervision=supervision, **source_of(kind, store)))
            )
            assert len(parts(targets)[0]) == samples
            assert all(part.isfinite().all() for part in parts(targets))


def test_token_labelling_loss_takes_the_targets_as_they_come(photo_folder, store):
    images, targets = next(iter(loader(photo_folder, supervision="tokenlabeling", label_maps=store)))
    logits, tokens = torch.zeros(8, 4, requires_grad=True), torch.zeros(8, 64, 4, requires_grad=True)
    loss = dtm.losses.TokenLabelingLoss()(logits, tokens, *targets)
    loss.backward()
    assert images.shape == (8, 3, SIZE, SIZE)
    assert loss.item() == pytest.approx(1.5 * np.log(4), abs=1e-4)
    assert tokens.grad.abs().sum() > 0


def test_the_teacher_works_ahead_of_the_training_step(photo_folder):
    """Batches are made by DALI's threads while the step runs: the next ones are there when it ends."""
    calls = []

    class Slow:
        num_classes = 4

        def __call__(self, images, labels):
            calls.append(threading.get_ident())
            time.sleep(0.2)
            return torch.ones(len(images), 4, 4)

    batches = iter(loader(photo_folder, supervision="tokenmix", teacher=Slow()))
    next(batches)
    time.sleep(0.8)  # a training step
    assert len(calls) == 2  # the batch yielded and the next one
    start = time.perf_counter()
    next(batches)
    assert time.perf_counter() - start < 0.15
    assert threading.get_ident() not in calls


def test_torchs_threads_are_the_same_in_every_call_of_a_teacher(photo_folder):
    seen = []

    def teacher(images, labels):
        seen.append(torch.get_num_threads())
        return torch.ones(len(images), 4, 4)

    before = torch.get_num_threads()
    for _ in loader(photo_folder, supervision="tokenmix", teacher=teacher):
        pass
    assert set(seen) == {before}
    assert torch.get_num_threads() == before


class Store:
    """Labels by index, of six classes."""

    def __init__(self, path="my store"):
        self.path = path
        self.ids, self.scores = label_maps(np.random.default_rng(0), 40, 2, 3, 3, CLASSES)

    def topk(self, indices):
        return self.ids[indices], self.scores[indices]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"supervision": "relabel"}, ValueError, "supervision='relabel' needs teacher= .* label_maps= .*, got neither"),
        (
            {"supervision": "tokenlabeling", "teacher": small_teacher(), "label_maps": Store()},
            ValueError,
            "got teacher and label_maps",
        ),
        ({"supervision": "relabel", "teacher": 7}, TypeError, "teacher must be a Teacher, or do what one does, got 7"),
        ({"supervision": "tokenmix", "teacher": dtm.Teacher}, TypeError, "teacher must be a Teacher"),
        (
            {"supervision": "relabel", "teacher": small_teacher()},
            ValueError,
            r"teacher has 6 classes, the data has 4 and the targets num_classes=4: Teacher\(classes=",
        ),
        (
            {"supervision": "tokenmix", "teacher": small_teacher(classes=[1, 2])},
            ValueError,
            "teacher has 2 classes, the data has 4",
        ),
        (
            {"supervision": "tokenmix", "teacher": small_teacher()},
            ValueError,
            "teacher has 6 classes, the data has 4",
        ),
        (
            {"supervision": "tokenmix", "teacher": torch.nn.Linear(2, 2)},
            TypeError,
            r"teacher must be a Teacher, got the model Linear: pass Teacher\(model\)",
        ),
        ({"supervision": "tokenmix", "label_maps": 3}, TypeError, "label_maps must be a LabelStore or its path, got 3"),
        ({"supervision": "relabel", "label_maps": dtm.LabelStore}, TypeError, "label_maps must be a LabelStore or its"),
        (
            {"supervision": "relabel", "label_maps": Store(), "train": False, "mixer": None},
            ValueError,
            "supervision must be 'imagenet' with train=False, got 'relabel': evaluation has true labels",
        ),
        (
            {"supervision": "tokenmix", "teacher": small_teacher(), "mixer": None},
            ValueError,
            "supervision='tokenmix' weighs mixed labels, and mixer is None",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(photo_folder, options, error, message):
    with pytest.raises(error, match=message):
        loader(photo_folder, **options)


def test_a_class_without_a_column_is_named_where_it_is_read(photo_folder):
    with pytest.raises(RuntimeError, match=r"class ids of my store must be in \[0, num_classes=4\), got"):
        next(iter(loader(photo_folder, supervision="relabel", label_maps=Store())))
    next(iter(loader(photo_folder, supervision="relabel", label_maps=Store(), num_classes=CLASSES)))


def test_a_store_without_the_labels_that_are_read_is_refused(photo_folder, tmp_path):
    teacher = small_teacher(classes=[0, 1, 2, 3])
    maps = dtm.make_labels(photo_folder, teacher, tmp_path / "maps.safetensors")
    top = dtm.make_labels(photo_folder, teacher, tmp_path / "top.safetensors", maps=None, topk=2)
    with pytest.raises(ValueError, match=r"maps\.safetensors has no top-k labels, .* make-labels --topk 5 stores them"):
        loader(photo_folder, supervision="relabel", label_maps=maps)
    with pytest.raises(ValueError, match=r"top\.safetensors has no ground-truth maps, .*make-labels --maps uint8"):
        loader(photo_folder, supervision="tokenmix", label_maps=top.path)
    with pytest.raises(ValueError, match="has no top-k labels"):
        dtm.fn.top_labels(maps, None)


def test_a_table_is_looked_up_by_index():
    table = np.arange(12, dtype=np.int32).reshape(6, 2) * 10
    indices = np.array([[5], [0], [3]], np.int64)
    pipeline = Pipeline(3, 2, None)
    with pipeline:
        index = fn.external_source(lambda: indices)
        pipeline.set_outputs(dtm.fn.look_up(table, index), dtm.fn.look_up([7, 8, 9, 6, 5, 4], index))
    pipeline.build()
    rows, numbers = (output.as_array() for output in pipeline.run())
    np.testing.assert_array_equal(rows, table[[5, 0, 3]])
    np.testing.assert_array_equal(numbers, [[4], [7], [6]])
    indices[0] = 6
    with pytest.raises(RuntimeError, match=r"index must be in \[0, 6\), the rows of the table, got 6"):
        [pipeline.run() for _ in range(5)]


def test_a_state_of_another_supervision_is_refused(photo_folder, store):
    one = loader(photo_folder, supervision="relabel", label_maps=store)
    next(iter(one))
    with pytest.raises(ValueError, match="state is of a run with supervision='relabel', this loader has"):
        loader(photo_folder, supervision="tokenlabeling", label_maps=store).load_state_dict(one.state_dict())


BAD_MAPS = {
    "signed": (lambda n: -torch.ones(n, 4, 4), "maps of the teacher must be finite and >= 0, got -1.0 to -1.0"),
    "nan": (lambda n: torch.full((n, 4, 4), torch.nan), "maps of the teacher must be finite and >= 0"),
    "shape": (
        lambda n: torch.ones(n, 16),
        r"must be a tensor of 3 dimensions, 8 samples, got \(8, 16\)",
    ),
    "none": (lambda n: None, "maps of the teacher must be a tensor of 3 dimensions, 8 samples, got NoneType"),
}


@pytest.mark.parametrize("name", BAD_MAPS)
def test_maps_of_somebodys_teacher_are_looked_at(photo_folder, name):
    make, message = BAD_MAPS[name]
    with pytest.raises(RuntimeError, match=message):
        next(iter(loader(photo_folder, supervision="tokenmix", teacher=lambda images, labels: make(len(images)))))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_maps_of_another_precision_are_the_same_maps(photo_folder, dtype):
    def teacher(dtype):
        return lambda images, labels: images[:, ::16, ::16, 0].to(dtype).requires_grad_()

    found, expected = (
        next(iter(loader(photo_folder, supervision="tokenmix", teacher=teacher(kind))))[1]
        for kind in (dtype, torch.float32)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": torch.zeros(8, 1, 3, 3)}, "topk of the teacher must be whole ids and scores"),
        ({"scores": torch.ones(8, 1, 3, 2)}, "topk of the teacher must be whole ids and scores, both"),
        ({"ids": torch.full((8, 1, 3, 3), 9)}, r"ids of the teacher must be in \[0, num_classes=4\), got 9"),
        ({"scores": torch.full((8, 1, 3, 3), 1e6)}, "scores of the teacher must be finite and at most 65504"),
    ],
)
def test_labels_of_somebodys_teacher_are_looked_at(photo_folder, change, message):
    class Given:
        def topk(self, images):
            given = {"ids": torch.zeros(8, 1, 3, 3, dtype=torch.int64), "scores": torch.ones(8, 1, 3, 3)} | change
            return given["ids"], given["scores"]

    with pytest.raises(RuntimeError, match=message):
        next(iter(loader(photo_folder, supervision="relabel", teacher=Given())))


def test_a_teacher_is_told_by_its_whole_model_and_by_what_it_keeps(photo_folder):
    import torchvision

    torch.manual_seed(0)
    one, two = (torchvision.models.resnet18(num_classes=4) for _ in range(2))
    two.fc.load_state_dict(one.fc.state_dict())
    first, second = (dtm.Teacher(model, image_size=64).description() for model in (one, two))
    assert {name for name in first if first[name] != second[name]} == {"weights"}
    assert first == dtm.Teacher(one, image_size=64).description()
    mine = loader(photo_folder, supervision="relabel", teacher=small_teacher(classes=[0, 1, 2, 3], k=2))
    next(iter(mine))
    with pytest.raises(ValueError, match="state is of a run with teacher="):
        loader(photo_folder, supervision="relabel", teacher=small_teacher(classes=[0, 1, 2, 3], k=3)).load_state_dict(
            mine.state_dict()
        )


@pytest.mark.parametrize("other", ["teacher", "store"])
def test_a_state_of_another_teacher_or_store_is_refused(photo_folder, store, other, tmp_path):
    mine = source_of(other, store)
    if other == "teacher":
        changed = {"teacher": small_teacher(classes=[0, 1, 2, 4], k=4)}
    else:
        teacher = small_teacher(classes=[0, 1, 2, 4])
        changed = {"label_maps": dtm.make_labels(photo_folder, teacher, tmp_path / "other", maps="float16")}
    one = loader(photo_folder, supervision="tokenmix", **mine)
    next(iter(one))
    with pytest.raises(
        ValueError, match=f"state is of a run with {'teacher' if other == 'teacher' else 'label_maps'}="
    ):
        loader(photo_folder, supervision="tokenmix", **changed).load_state_dict(one.state_dict())
    loader(photo_folder, supervision="tokenmix", **source_of(other, store)).load_state_dict(one.state_dict())


@pytest.mark.parametrize("supervision", SUPERVISIONS)
@pytest.mark.parametrize(
    ("dtype", "layout"),
    [
        ("uint8", "HWC"),
        ("uint8", "CHW"),
        ("float16", "HWC"),
        ("float16", "CHW"),
        ("float32", "HWC"),
        ("float32", "CHW"),
    ],
)
def test_a_teacher_sees_images_of_every_form_that_token_mix_takes(dtype, layout, supervision, device):
    """Of another size than its own, normalised as it would do it where they are floating."""
    teacher = small_teacher(classes=[0, 1, 2, 3], k=4, device="cuda" if device == "gpu" else None)
    noise = np.random.default_rng(0).integers(0, 256, (6, 48, 80, 3))
    pixels = (noise * np.linspace(0.1, 1, 18).reshape(6, 1, 1, 3)).astype(np.uint8)  # of colours of their own
    given = pixels if dtype == "uint8" else ((pixels / 255 - teacher.mean) / teacher.std).astype(dtype)
    given = given if layout == "HWC" else np.ascontiguousarray(given.transpose(0, 3, 1, 2))
    pipeline = Pipeline(6, 2, 0 if device == "gpu" else None, seed=3)
    with pipeline:
        ids = fn.external_source(lambda: np.arange(6, dtype=np.int32)[:, None] % 4)
        options = {"num_classes": 4, "mixer": dtm.TokenMix(8), "seed": 5, "supervision": supervision}
        made = []
        for images, kind in ((given, layout), (pixels, "HWC")):
            node = fn.external_source(itertools.repeat(images), layout=kind)
            node = node.gpu() if device == "gpu" else node
            made += parts(dtm.fn.token_mix(node, ids, teacher=teacher, **options)[1])
        pipeline.set_outputs(*made)
    pipeline.build()
    outputs = [output.as_cpu().as_array() for output in pipeline.run()]
    half = len(outputs) // 2
    np.testing.assert_allclose(outputs[0], outputs[half], atol=0.03)  # bytes are resized as bytes
    assert np.ptp(outputs[0], axis=0).max() > 0.1


@pytest.mark.parametrize(
    ("supervision", "label_maps", "message"),
    [
        (
            "tokenmix",
            "top",
            "label_maps must be a CPU node of maps, see dtm.fn.label_maps, with supervision='tokenmix'",
        ),
        ("relabel", "maps", "label_maps must be CPU nodes of top-k labels, see dtm.fn.top_labels"),
        ("relabel", "path", "label_maps must be CPU nodes of top-k labels"),
    ],
)
def test_fn_refuses_labels_of_another_kind(store, supervision, label_maps, message):
    pipeline = Pipeline(4, 2, None)
    with pipeline:
        images = fn.random.uniform(range=[0, 255], shape=[8, 8, 3], dtype=types.UINT8)
        index = fn.constant(idata=0, shape=[1])
        given = {"top": lambda: dtm.fn.top_labels(store, index), "maps": lambda: dtm.fn.label_maps(store, index)}
        with pytest.raises(TypeError, match=message):
            dtm.fn.token_mix(
                images,
                index,
                num_classes=4,
                mixer=dtm.MixUp(),
                supervision=supervision,
                label_maps=given.get(label_maps, lambda: "labels.safetensors")(),
            )
