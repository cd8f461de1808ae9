"""Mixers that look at the images, and Saliency as a teacher, in Loader, fn.token_mix and dynamic mode."""

from __future__ import annotations

import dataclasses

import numpy as np
import nvidia.dali.experimental.dynamic as ndd
import pytest
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

import dali_tokenmix as dtm
from dali_tokenmix import fn as tokenmix_fn
from dali_tokenmix import op, planner, reference
from dali_tokenmix.mixing import drawn
from dali_tokenmix.placing import placed
from tests.test_fn import provenance
from tests.test_gpu_graphs import check, crossings

CLASSES, SIZE = 4, (48, 64)
MIXERS = {
    "saliency": dtm.SaliencyMix(mode="elem", prob=0.8),
    "attentive": dtm.AttentiveCutMix(partner="random"),
    "choice": dtm.Choice([dtm.AttentiveCutMix(), dtm.MixUp(), dtm.SaliencyMix(), dtm.TokenMix(16)], mode="pair"),
}
every_mixer = pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)


class Attending:
    """A teacher of sorts: attention, maps and label maps are colours of cells. Counts how often it looks."""

    num_classes = CLASSES

    def __init__(self, cells=7):
        self.cells, self.looks = cells, 0

    def attention(self, images):
        self.looks += 1
        return self._pooled(images).mean(1)

    def __call__(self, images, labels):
        self.looks += 1
        pooled = self._pooled(images).abs()
        return pooled[torch.arange(len(images)), torch.as_tensor(labels).reshape(-1).long() % 3]

    def topk(self, images):
        self.looks += 1
        scores, ids = self._pooled(images).sort(1, descending=True)
        return ids[:, :2].int(), scores[:, :2] / 300

    def _pooled(self, images):
        planar = images.permute(0, 3, 1, 2) if images.dtype == torch.uint8 else images
        return torch.nn.functional.adaptive_avg_pool2d(planar.float(), self.cells)


@pytest.fixture(params=["whole batch", "fallback"])
def operator(request, monkeypatch):
    monkeypatch.setenv(op.FALLBACK, "1" if request.param == "fallback" else "0")


@pytest.fixture
def draws(monkeypatch):
    """The plans that are drawn in graphs, before they are placed."""
    found = []

    def noting(*arguments, real=planner.seeded_plan, **options):
        found.append(real(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(planner, "seeded_plan", noting)
    monkeypatch.setattr(tokenmix_fn, "seeded_plan", noting)
    return found


def placed_by_hand(plan, images, teacher):
    """The plan as the maps of clean images, a NumPy array as a teacher takes them, place it."""
    maps = {"saliency": dtm.Saliency()(torch.from_numpy(images)).numpy()}
    maps["attention"] = None if teacher is None else teacher.attention(torch.from_numpy(images)).numpy()
    needed = {region.shape.maps for region in plan.regions if hasattr(region.shape, "maps")}
    return placed(plan, {kind: maps[kind] for kind in needed})


def loader(root, **options):
    options = {"batch_size": 8, "image_size": SIZE, "smoothing": 0.0, "dtype": "uint8", "layout": "NHWC"} | options
    return dtm.Loader(root, **options)


def teacher_for(mixer):
    return None if mixer is MIXERS["saliency"] else Attending()


# --- Loader ----------------------------------------------------------------------------------------------------------


@every_mixer
def test_the_loader_mixes_as_what_is_in_its_images_says(photo_folder, mixer, operator, draws):
    teacher = teacher_for(mixer)
    mixed = loader(photo_folder, mixer=mixer, teacher=teacher, prefetch=1)
    clean = loader(photo_folder, mixer=None)
    for number, ((images, targets), (own, hard)) in enumerate(zip(mixed, clean, strict=True)):
        plan = placed_by_hand(draws[number], own.numpy(), teacher)
        np.testing.assert_array_equal(images.numpy(), reference.mixed(plan, own.numpy()))
        expected = dtm.soft_targets(plan, hard.argmax(1).numpy(), CLASSES, 0.0)
        np.testing.assert_array_equal(targets.numpy(), expected)
        assert plan.other.any()


def test_what_the_loader_places_may_be_cut_afterwards(photo_folder, draws):
    mixer = dtm.Sequence([dtm.SaliencyMix(), dtm.Cutout(length=20)])
    mixed, clean = loader(photo_folder, mixer=mixer, prefetch=1), loader(photo_folder, mixer=None)
    for number, ((images, targets), (own, hard)) in enumerate(zip(mixed, clean, strict=True)):
        plan = placed_by_hand(draws[number], own.numpy(), None)
        np.testing.assert_array_equal(images.numpy(), reference.mixed(plan, own.numpy()))
        np.testing.assert_array_equal(targets, dtm.soft_targets(plan, hard.argmax(1).numpy(), CLASSES, 0.0))


@every_mixer
def test_runs_are_resumed_bit_for_bit_and_threads_change_nothing(photo_folder, mixer):
    one = loader(photo_folder, mixer=mixer, teacher=teacher_for(mixer), num_threads=1)
    batches = [tuple(part.clone() for part in batch) for batch in one]
    other = loader(photo_folder, mixer=mixer, teacher=teacher_for(mixer), num_threads=2)
    for _ in zip(range(2), other, strict=False):
        pass
    again = loader(photo_folder, mixer=mixer, teacher=teacher_for(mixer))
    again.load_state_dict(other.state_dict())
    for (images, targets), (same, alike) in zip(batches[2:], again, strict=True):
        assert torch.equal(images, same)
        assert torch.equal(targets, alike)


@every_mixer
def test_without_mixing_images_are_clean_and_nobody_looks(photo_folder, mixer):
    teacher = teacher_for(mixer)
    off, clean = loader(photo_folder, mixer=mixer, teacher=teacher), loader(photo_folder, mixer=None)
    off.mixing = False
    for (images, targets), (own, hard) in zip(off, clean, strict=True):
        assert torch.equal(images, own)
        assert torch.equal(targets, hard)
    assert teacher is None or teacher.looks == 0


def test_a_schedule_changes_size_and_probability(photo_folder):
    def schedule(epoch):
        return {"image_size": 32 + 32 * epoch, "prob": 1.0 - epoch}

    changing = loader(photo_folder, mixer=dtm.SaliencyMix(), schedule=schedule)
    mixed = [
        (images.shape[1], float((targets > 0).sum(1).float().mean())) for _ in range(2) for images, targets in changing
    ]
    assert {size for size, _ in mixed[:5]} == {32}
    assert {size for size, _ in mixed[5:]} == {64}
    assert max(count for _, count in mixed[:5]) > 1
    assert {count for _, count in mixed[5:]} == {1}


@every_mixer
@pytest.mark.parametrize("last_batch", ["partial", "fill"])
def test_last_batches(photo_folder, mixer, last_batch):
    batches = list(loader(photo_folder, mixer=mixer, teacher=teacher_for(mixer), batch_size=12, last_batch=last_batch))
    assert [len(images) for images, _ in batches] == [12, 12, 12, 4 if last_batch == "partial" else 12]
    for _, targets in batches:
        np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)


class Store:
    """Maps of whole images, looked up by index."""

    def __init__(self, samples):
        self.all = np.random.default_rng(0).random((samples, 9, 9)).astype(np.float32)

    def maps(self, indices):
        return self.all[indices]


@every_mixer
@pytest.mark.parametrize("source", ["teacher", "store", "saliency"])
def test_tokenmix_labels_score_what_is_placed(photo_folder, mixer, source, draws, monkeypatch):
    """By the teacher's own maps, by stored ones, which follow the crop, and by Saliency instead of a teacher."""
    teacher, store, cut = teacher_for(mixer), None, []
    if source == "saliency":
        if teacher is not None:
            pytest.skip("a mixer that needs attention needs a Teacher")
        teacher = dtm.Saliency()
    elif source == "store":
        store = Store(40)
        real = planner.crop_maps
        monkeypatch.setattr(planner, "crop_maps", lambda *arguments: cut.append(real(*arguments)) or cut[-1])
    else:
        teacher = teacher or Attending()
    scored = loader(photo_folder, mixer=mixer, supervision="tokenmix", teacher=teacher, label_maps=store, prefetch=1)
    clean = loader(photo_folder, mixer=None)
    for number, ((images, targets), (own, hard)) in enumerate(zip(scored, clean, strict=True)):
        attending = teacher if isinstance(teacher, Attending) else None
        plan, labels = placed_by_hand(draws[number], own.numpy(), attending), hard.argmax(1)
        np.testing.assert_array_equal(images.numpy(), reference.mixed(plan, own.numpy()))
        if store is not None:
            maps = cut[number]
        else:
            seen = teacher(own, labels).numpy()
            whole = np.tile([0.0, 0.0, 1.0, 1.0], (8, 1))
            maps = dtm.crop_maps(seen, whole, np.zeros(8, bool), (3, 4))
        expected = dtm.soft_targets(dtm.scored(plan, maps), labels.numpy(), CLASSES, 0.0)
        np.testing.assert_allclose(targets.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("supervision", ["relabel", "tokenlabeling"])
@every_mixer
def test_labels_of_a_teacher_follow_what_is_placed(photo_folder, mixer, supervision, draws):
    teacher = Attending()
    if mixer is MIXERS["choice"]:
        mixer = dtm.Choice([dtm.AttentiveCutMix(), dtm.SaliencyMix()])
    labelled = loader(photo_folder, mixer=mixer, supervision=supervision, teacher=teacher, prefetch=1)
    clean = loader(photo_folder, mixer=None)
    for number, ((images, targets), (own, _)) in enumerate(zip(labelled, clean, strict=True)):
        plan = placed_by_hand(draws[number], own.numpy(), teacher)
        np.testing.assert_array_equal(images.numpy(), reference.mixed(plan, own.numpy()))
        ids, scores = (part.numpy() for part in teacher.topk(own))
        soft = dtm.soft_targets(plan, dtm.crop_labels(ids, scores, num_classes=CLASSES), CLASSES, 0.0)
        if supervision == "relabel":
            np.testing.assert_allclose(targets.numpy(), soft, atol=1e-6)
            continue
        np.testing.assert_allclose(targets.targets.numpy(), soft, atol=1e-6)
        expected = dtm.token_labels(plan, ids, scores, num_classes=CLASSES)
        np.testing.assert_array_equal(targets.token_ids.numpy(), expected[0])
        np.testing.assert_allclose(targets.token_probabilities.numpy(), expected[1], atol=1e-6)


# --- fn.token_mix ----------------------------------------------------------------------------------------------------


def through_a_pipeline(decode, mixer, samples, batches=2, **options):
    """[(clean, mixed, targets, plan)], of decode(), which gives images and labels, both nodes."""
    pipeline = Pipeline(samples, 2, None, seed=5)
    with pipeline:
        clean, ids = decode()
        mixed, targets, plan = dtm.fn.token_mix(
            clean, ids, num_classes=CLASSES, mixer=mixer, smoothing=0.0, return_plan=True, **options
        )
        pipeline.set_outputs(clean, ids, mixed, targets, *plan.values())
    pipeline.build()
    found = []
    for _ in range(batches):
        clean, ids, mixed, targets, *arrays = (output.as_array() for output in pipeline.run())
        found.append((clean, ids.reshape(-1), mixed, targets, dict(zip(plan, arrays, strict=True))))
    return found


@every_mixer
@pytest.mark.parametrize(
    ("dtype", "layout"), [("uint8", "HWC"), ("uint8", "CHW"), ("float16", "CHW"), ("float32", "HWC")]
)
def test_token_mix_of_real_jpegs(photo_folder, mixer, dtype, layout, operator, draws):
    def decode():
        jpegs, ids = fn.readers.file(file_root=str(photo_folder), random_shuffle=True)
        images = fn.resize(fn.decoders.image(jpegs), size=SIZE)
        kinds = {"uint8": types.UINT8, "float16": types.FLOAT16, "float32": types.FLOAT}
        kind = {"dtype": kinds[dtype], "output_layout": layout}
        if dtype == "uint8":
            return (images if layout == "HWC" else fn.transpose(images, perm=[2, 0, 1])), ids
        return fn.crop_mirror_normalize(images, mean=[110.0] * 3, std=[60.0] * 3, **kind), ids

    teacher = teacher_for(mixer)
    for number, (clean, ids, mixed, targets, plan) in enumerate(through_a_pipeline(decode, mixer, 7, teacher=teacher)):
        last = clean if layout == "HWC" else clean.transpose(0, 2, 3, 1)
        as_taken = last if dtype == "uint8" else last.transpose(0, 3, 1, 2)
        expected = placed_by_hand(draws[number], np.ascontiguousarray(as_taken), teacher)
        shown = mixed if layout == "HWC" else mixed.transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(shown, reference.mixed(expected, last))
        np.testing.assert_array_equal(plan["mask"], expected.mask())
        np.testing.assert_array_equal(plan["other"], expected.other)
        np.testing.assert_array_equal(targets, dtm.soft_targets(expected, ids, CLASSES, 0.0))


@every_mixer
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_targets_of_token_mix_are_the_shares_of_the_pixels(mixer, samples):
    """Labels are the sample's numbers; a sample that is blended shows no one."""
    images = provenance(samples, *SIZE, "uint8")

    def decode():
        return (
            fn.external_source(lambda: list(images), layout="HWC"),
            fn.external_source(lambda: list(np.arange(samples, dtype=np.int32) % CLASSES)),
        )

    for clean, _, mixed, targets, plan in through_a_pipeline(decode, mixer, samples, teacher=teacher_for(mixer)):
        np.testing.assert_array_equal(clean, images)
        for n in np.flatnonzero(plan["blend"] == 0):
            expected = np.zeros(CLASSES)
            for source in range(samples):
                expected[source % CLASSES] += (mixed[n, ..., 0] == source).mean()
            np.testing.assert_allclose(targets[n], expected, atol=1e-6)


def test_stored_maps_score_what_token_mix_places(draws):
    images, maps = provenance(6, *SIZE, "uint8"), np.random.default_rng(0).random((6, 3, 4)).astype(np.float32)
    pipeline = Pipeline(6, 2, None, seed=5)
    with pipeline:
        clean = fn.external_source(lambda: list(images), layout="HWC")
        ids = fn.external_source(lambda: list(np.arange(6, dtype=np.int32)))
        known = fn.external_source(lambda: list(maps))
        options = {"supervision": "tokenmix", "label_maps": known, "num_classes": 6, "smoothing": 0.0}
        pipeline.set_outputs(*dtm.fn.token_mix(clean, ids, mixer=dtm.SaliencyMix(), **options))
    pipeline.build()
    mixed, targets = (output.as_array() for output in pipeline.run())
    plan = placed_by_hand(draws[0], images, None)
    np.testing.assert_array_equal(mixed, reference.mixed(plan, images))
    np.testing.assert_allclose(targets, dtm.soft_targets(plan, np.arange(6), 6, 0.0, maps), atol=1e-6)


# --- on a GPU, as far as it goes without one -------------------------------------------------------------------------

HEAD, BOX, CELLS, CLASS, FLIP = 16, 16, 8, 4, 4  # bytes a sample


@pytest.mark.parametrize("supervision", ["imagenet", "tokenmix", "relabel", "tokenlabeling"])
@pytest.mark.parametrize(("mixer", "region"), [("saliency", BOX), ("attentive", CELLS)])
def test_a_gpu_graph_places_there_and_nothing_comes_back(photo_folder, mixer, region, supervision):
    teacher = None if (mixer, supervision) == ("saliency", "imagenet") else Attending()
    source = loader(photo_folder, mixer=MIXERS[mixer], supervision=supervision, teacher=teacher)
    graph = dataclasses.replace(source._graph, device="gpu")
    pipeline = Pipeline(8, 2, None)
    with pipeline:
        images, *targets, _ = graph.outputs(planner.BatchPlanner(graph, True, 2))
        check([images, *targets])
        there, _ = crossings([images, *targets])
        pipeline.set_outputs(*there.values())
    pipeline.build()
    crossing = sorted(output.as_array()[0].nbytes for output in pipeline.run())
    labels = [CLASS] if supervision in ("imagenet", "tokenmix") else []
    assert crossing == sorted([HEAD + region, FLIP, *labels])


# --- dynamic mode ----------------------------------------------------------------------------------------------------


@every_mixer
@pytest.mark.parametrize("supervision", ["imagenet", "tokenmix"])
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_dynamic_mode_mixes_as_what_is_in_the_images_says(mixer, supervision, layout):
    images = np.random.default_rng(3).integers(0, 256, (6, *SIZE, 3), np.uint8)
    given = images if layout == "HWC" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    teacher = Attending() if supervision == "tokenmix" else teacher_for(mixer)
    labels = np.arange(6) % CLASSES
    mixed, targets, plan = dtm.dynamic.token_mix(
        ndd.as_batch(given, layout=layout), labels, num_classes=CLASSES, mixer=mixer, seed=4, teacher=teacher,
        supervision=supervision, smoothing=0.0, return_plan=True,
    )  # fmt: skip
    expected = placed_by_hand(drawn(mixer, 6, SIZE, seed=4), images, teacher)
    shown = np.asarray(ndd.as_tensor(mixed))
    np.testing.assert_array_equal(
        shown if layout == "HWC" else shown.transpose(0, 2, 3, 1), reference.mixed(expected, images)
    )
    np.testing.assert_array_equal(plan.mask(), expected.mask())
    if supervision == "imagenet":
        np.testing.assert_array_equal(plan.rows(), expected.rows())
        np.testing.assert_array_equal(ndd.as_tensor(targets), dtm.soft_targets(expected, labels, CLASSES, 0.0))
    else:
        assert (plan.other != expected.other).any()


# --- teachers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["loader", "fn", "dynamic"])
def test_saliency_is_a_teacher_of_token_mix_s_own_labels(photo_folder, where):
    """The paper's ablation: own = sum((1 - m) A_own) with A the saliency map, on the token grid."""
    images, labels = np.random.default_rng(3).integers(0, 256, (6, 64, 96, 3), np.uint8), np.arange(6) % CLASSES
    mixer, options = dtm.TokenMix(16), {"supervision": "tokenmix", "teacher": dtm.Saliency()}
    if where == "loader":
        loaded = loader(photo_folder, mixer=mixer, **options)
        assert loaded.state_dict()["run"]["teacher"] == {"k": None, "saliency": "spectral", "side": 64, "sigma": 2.5}
        for _, targets in loaded:
            assert (targets >= 0).all()
            assert (targets > 0).sum() > 8
        return
    if where == "dynamic":
        batch = ndd.as_batch(images, layout="HWC")
        _, targets, plan = dtm.dynamic.token_mix(
            batch, labels, num_classes=CLASSES, mixer=mixer, seed=1, smoothing=0.0, return_plan=True, **options
        )
        targets, plan = np.asarray(ndd.as_tensor(targets)), {"mask": plan.mask(), "partner": plan.partner}
    else:

        def decode():
            return (
                fn.external_source(lambda: list(images), layout="HWC"),
                fn.external_source(lambda: list(labels.astype(np.int32))),
            )

        ((_, _, _, targets, plan),) = through_a_pipeline(decode, mixer, 6, batches=1, **options)
    saliency = dtm.Saliency()(images)
    assert saliency.shape == (6, 43, 64)
    maps = reference.roi_align(saliency, np.tile(np.float32([0, 0, 1, 1]), (6, 1)), np.zeros(6), (4, 6))
    for n in range(6):
        expected = np.zeros(CLASSES)
        for side, shown in ((n, 1 - plan["mask"][n]), (plan["partner"][n], plan["mask"][n])):
            expected[labels[side]] += (shown * maps[side]).sum() / maps[side].sum()
        np.testing.assert_allclose(targets[n], expected, atol=1e-5)


def small_teacher():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(CLASSES, 3, generator=generator), torch.zeros(CLASSES)

    def features(images):
        return torch.nn.functional.adaptive_avg_pool2d(images, (4, 6))

    return dtm.Teacher(features=features, weight=weight, bias=bias, image_size=SIZE)


def test_attention_of_a_teacher_is_the_channel_mean_of_its_features():
    teacher = small_teacher()
    images = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(1)) - 0.5
    attention = teacher.attention(images)
    assert attention.shape == (3, 4, 6)
    assert attention.dtype == torch.float32
    torch.testing.assert_close(attention, torch.nn.functional.adaptive_avg_pool2d(images, (4, 6)).mean(1))
    maps, same = teacher.maps_and_attention(images, [0, 1, 3])
    assert torch.equal(same, attention)
    assert torch.equal(maps, teacher(images, [0, 1, 3]))
    with pytest.raises(ValueError, match="attention of the teacher must be finite"):
        teacher.attention(images * torch.inf)


def test_one_look_of_a_teacher_is_enough_for_labels_and_mixing(photo_folder, monkeypatch):
    looks, real = [], dtm.Teacher._features
    teacher = small_teacher()
    monkeypatch.setattr(dtm.Teacher, "_features", lambda self, images: looks.append(len(images)) or real(self, images))
    for supervision in ("imagenet", "tokenmix"):
        looks.clear()
        batches = list(loader(photo_folder, mixer=dtm.AttentiveCutMix(), supervision=supervision, teacher=teacher))
        assert len(batches) == 5
        assert 5 <= len(looks) <= 8  # some batches ahead


def on_gpu_node():
    pipeline = Pipeline(4, 1, 0)
    with pipeline:
        images = fn.external_source(lambda: None, layout="HWC").gpu()
        return dtm.fn.token_mix(
            images, fn.external_source(lambda: None), num_classes=4, mixer=dtm.SaliencyMix(), return_plan=True
        )


REFUSED = {
    "no teacher": ({"teacher": None}, ValueError, "teacher must be a Teacher, whose attention the mixer cuts by.*None"),
    "no attention": (
        {"teacher": dtm.Saliency()},
        TypeError,
        r"teacher must be a Teacher, or .*Saliency",
    ),
    "a class": ({"teacher": dtm.Teacher}, TypeError, "teacher must be a Teacher, or have its attention"),
    "of no use": (
        {"teacher": Attending(), "mixer": dtm.SaliencyMix()},
        ValueError,
        "teacher is of no use to supervision='imagenet'",
    ),
    "no labels": (
        {"mixer": dtm.SaliencyMix(), "supervision": "tokenmix"},
        ValueError,
        "supervision='tokenmix' needs teacher=",
    ),
    "saliency has no labels": (
        {"mixer": dtm.CutMix(), "supervision": "relabel", "teacher": dtm.Saliency()},
        TypeError,
        "teacher must be a Teacher, or do what one does, got Saliency",
    ),
    "too small": (
        {"teacher": Attending(), "image_size": (6, 64)},
        ValueError,
        "token mask must have 1 to 6 x 64 cells",
    ),
}


@pytest.mark.parametrize(("options", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_when_the_loader_is_made(photo_folder, options, error, message):
    with pytest.raises(error, match=message):
        loader(photo_folder, **{"mixer": dtm.AttentiveCutMix(), **options})


def test_a_plan_that_is_placed_on_a_gpu_stays_there():
    with pytest.raises(ValueError, match=r"return_plan must be False .* that cuts by saliency"):
        on_gpu_node()


def test_a_teacher_s_attention_has_to_be_a_map_a_sample(photo_folder):
    class Wrong(Attending):
        def attention(self, images):
            return torch.ones(len(images), 3)

    with pytest.raises(RuntimeError, match="attention of the teacher must be a tensor of 3 dimensions, 8 samples"):
        next(iter(loader(photo_folder, mixer=dtm.AttentiveCutMix(), teacher=Wrong())))
