"""Teacher: its maps against dense ones and the model's own logits, what it refuses, and what it leaves alone."""

from __future__ import annotations

import functools
import threading

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import nn

from dali_tokenmix.teacher import Teacher, class_activation
from dali_tokenmix.teacher.backbones import IMAGENET_MEAN, IMAGENET_STD

CLASSES = 23
SIZE = 64
# name: (library, options, whether the mean over the grid is the model's logit)
MODELS = {
    "resnet10t": ("timm", {}, True),
    "resnet18": ("torchvision", {}, True),
    "vit_tiny_patch16_224": ("timm", {"img_size": SIZE}, False),  # by its class token
    "deit_tiny_distilled_patch16_224": ("timm", {"img_size": SIZE}, False),
    "test_vit": ("timm", {"img_size": SIZE, "global_pool": "avg", "fc_norm": False}, True),
    "swin_tiny_patch4_window7_224": (
        "timm",
        {"img_size": SIZE, "window_size": 2, "depths": (1, 1, 1, 1)},
        True,
    ),  # NHWC
    "mixer_s32_224": ("timm", {"img_size": SIZE}, True),
    "convnext_atto": ("timm", {}, False),  # a norm between pooling and head
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models are small, and threads that wait for a busy neighbour's core make them slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def model_of(name):
    library, options, _ = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make = timm.create_model if library == "timm" else torchvision.models.get_model
        model = make(name, num_classes=CLASSES, **options)
        for part in model.modules():  # as after training: no layer is the identity by chance
            if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.uniform_(part.bias, -0.5, 0.5)
            if isinstance(part, nn.Linear) and part.out_features == CLASSES:
                nn.init.normal_(part.weight, std=0.2)
                nn.init.normal_(part.bias)
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.uniform_(-0.1, 0.1)
                part.running_var.uniform_(0.8, 1.2)
    return model.eval()


@functools.cache
def teacher_of(name, **options):
    return Teacher(model_of(name), image_size=SIZE, **options)


def photographs(count=4, size=SIZE, seed=0):
    """uint8 (N, H, W, 3) with something in it: smooth noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in small]
    )


def normalised(images, teacher):
    mean, std = (np.asarray(values, np.float32) for values in (teacher.mean, teacher.std))
    return torch.from_numpy(((images / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).copy())


def dense_maps(teacher, images):
    """(N, C, h, w) by the slow way: every class, at every position."""
    features = teacher._features(normalised(images, teacher))
    weight, bias = teacher._backbone.head()
    with torch.no_grad():
        return torch.einsum("ck,nkhw->nchw", weight.double(), features.double()) + bias.double()[:, None, None]


@pytest.mark.parametrize("name", MODELS)
def test_maps_are_the_ground_truth_channel_of_the_dense_map(name):
    images, labels, teacher = photographs(), np.array([3, 0, CLASSES - 1, 3]), teacher_of(name)
    maps = teacher(images, labels)
    expected = dense_maps(teacher, images)[range(4), labels].relu()
    assert maps.dtype == torch.float32
    assert maps.shape == (4, *teacher.map_size)
    assert expected.max() > 0
    torch.testing.assert_close(maps.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, (_, _, pools) in MODELS.items() if pools])
def test_the_mean_of_a_class_activation_map_is_the_models_own_logit(name):
    """An oracle of its own: nothing of how the map is made is in model(images). A wrong layout would not pass."""
    images, teacher = photographs(), teacher_of(name)
    with torch.no_grad():
        logits = model_of(name)(normalised(images, teacher))
    torch.testing.assert_close(dense_maps(teacher, images).mean((2, 3)).float(), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_token_maps_are_the_head_on_patch_tokens_in_rows_and_columns(name):
    images, teacher, model = photographs(), teacher_of(name), model_of(name)
    heads = model.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)
    with torch.no_grad():
        tokens = model.forward_features(normalised(images, teacher))
        logits = torch.stack([head(tokens[:, len(heads) :]) for head in heads]).mean(0)  # class and distillation token
    expected = torch.stack([logits[n, :, n].reshape(4, 4) for n in range(4)]).relu()
    torch.testing.assert_close(teacher(images, np.arange(4)), expected, rtol=1e-5, atol=1e-5)


def test_the_norm_between_pooling_and_head_is_applied_at_each_position():
    images, teacher, model = photographs(), teacher_of("convnext_atto"), model_of("convnext_atto")
    with torch.no_grad():
        maps = model.forward_features(normalised(images, teacher))
        logits = torch.cat(
            [model.forward_head(maps[:, :, y : y + 1, x : x + 1])[:, :, None] for y in (0, 1) for x in (0, 1)], 2
        )
    expected = torch.stack([logits[n, n].reshape(2, 2) for n in range(4)]).relu()
    torch.testing.assert_close(teacher(images, np.arange(4)), expected, rtol=1e-4, atol=1e-4)


def test_features_and_head_by_hand_give_the_same():
    model = model_of("resnet10t")
    by_hand = Teacher(
        features=model.forward_features, weight=model.fc.weight, bias=model.fc.bias, image_size=SIZE, name="mine"
    )
    images, labels = photographs(), [0, 5, 2, 2]
    assert torch.equal(by_hand(images, labels), teacher_of("resnet10t")(images, labels))
    assert by_hand.name == "mine"
    assert by_hand.map_size == (2, 2)


def test_ground_truth_maps_never_make_the_dense_map(monkeypatch):
    monkeypatch.setattr(class_activation, "_dense", lambda *_: pytest.fail("made dense logits"))
    teacher_of("resnet10t")(photographs(), [0] * 4)


def test_softmax_maps_are_probabilities_made_in_parts(monkeypatch):
    images, labels = photographs(), [3, 0, 22, 3]
    teacher = Teacher(model_of("resnet10t"), image_size=SIZE, activation="softmax")
    expected = dense_maps(teacher, images).softmax(1)[range(4), labels].float()
    for size in (2**26, 1):  # all at once, one by one
        monkeypatch.setattr(class_activation, "CHUNK_BYTES", size)
        torch.testing.assert_close(teacher(images, labels), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_topk_is_the_top_of_the_dense_map(name, monkeypatch):
    images, teacher = photographs(), teacher_of(name)
    expected = dense_maps(teacher, images).topk(3, dim=1)
    for size in (2**26, 1):
        monkeypatch.setattr(class_activation, "CHUNK_BYTES", size)
        ids, scores = teacher.topk(images, k=3)
        assert ids.dtype == torch.int32
        assert torch.equal(ids, expected.indices.int())
        torch.testing.assert_close(scores, expected.values.float(), rtol=1e-5, atol=1e-5)


def test_classes_name_the_heads_class_of_each_label():
    images, chosen = photographs(), [7, 2, 19]
    plain, named = teacher_of("resnet10t"), Teacher(model_of("resnet10t"), image_size=SIZE, classes=chosen)
    assert named.num_classes == 3
    assert torch.equal(named(images, [2, 0, 1, 1]), plain(images, [19, 7, 2, 2]))
    ids, scores = named.topk(images, k=3)
    expected = dense_maps(named, images)[:, chosen]
    torch.testing.assert_close(scores, expected.sort(1, descending=True).values.float(), rtol=1e-5, atol=1e-5)
    assert torch.equal(ids, expected.argsort(1, descending=True).int())
    assert named.description()["weights"] != plain.description()["weights"]
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\), the teacher's classes, got 3"):
        named(images, [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"classes must be in 0..22, got 23"):
        Teacher(model_of("resnet10t"), image_size=SIZE, classes=[23])


# What the model gets to see. The feature is the image itself, class c reads channel c.


def seeing(**options):
    return Teacher(
        features=lambda images: images, weight=torch.eye(3), **{"mean": (0, 0, 0), "std": (1, 1, 1)} | options
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_uint8_pixels_are_normalised(channels_last):
    images = photographs()
    teacher = seeing(image_size=SIZE, mean=(0, 0.1, -0.2), std=(0.5, 0.25, 1), channels_last=channels_last)
    for channel, (mean, std) in enumerate([(0, 0.5), (0.1, 0.25), (-0.2, 1)]):
        expected = np.maximum((images[..., channel] / 255.0 - mean) / std, 0)
        np.testing.assert_allclose(teacher(images, [channel] * 4).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(20, 35), (48, 48), (90, 70)])
def test_images_are_resized_as_pillow_does(size):
    """Antialiased where they shrink: to one value of 255, Pillow's rounding."""
    images = photographs(2)
    expected = [Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR) for image in images]
    red = seeing(image_size=size)(images, [0, 0])
    np.testing.assert_allclose(red.numpy() * 255, np.stack(expected)[..., 0], atol=1.01)
    as_floats = seeing(image_size=size)(torch.from_numpy(images).permute(0, 3, 1, 2) / 255, [0, 0])
    np.testing.assert_allclose(as_floats.numpy() * 255, np.stack(expected)[..., 0], atol=1.01)


@pytest.mark.parametrize(
    "convert",
    [
        torch.from_numpy,
        lambda images: images[:, ::-1, :][:, ::-1],  # negative strides
        lambda images: np.frombuffer(images.tobytes(), np.uint8).reshape(images.shape),  # read-only
        lambda images: torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).permute(0, 2, 3, 1),  # NCHW in memory
    ],
)
@pytest.mark.filterwarnings("error")
def test_any_kind_of_array(convert):
    images = photographs()
    assert torch.equal(seeing(image_size=SIZE)(convert(images), [0] * 4), seeing(image_size=SIZE)(images, [0] * 4))


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 2, 0],
        np.array([[0], [1], [2], [0]], np.uint16),
        torch.tensor([0, 1, 2, 0], dtype=torch.int32),
        torch.tensor([0, 1, 2, 0], dtype=torch.uint8),
    ],
)
def test_any_kind_of_labels(labels):
    images = photographs()
    expected = np.stack([images[n, ..., c] for n, c in enumerate((0, 1, 2, 0))]) / 255
    np.testing.assert_allclose(seeing(image_size=SIZE)(images, labels).numpy(), expected, rtol=1e-6)


def test_what_is_given_is_not_changed():
    images = torch.rand(2, 3, SIZE, SIZE)
    before = images.clone()
    maps = seeing(image_size=SIZE)(images, [0, 1])
    maps += 1
    assert torch.equal(images, before)


def test_maps_are_never_negative_and_may_be_part_of_a_graph():
    maps = seeing(image_size=SIZE, mean=(1, 1, 1))(photographs(), [0] * 4)
    assert (maps == 0).all()
    scale = torch.ones((), requires_grad=True)
    (maps * scale).sum().backward()  # inference tensors would refuse


def test_channels_last_reaches_the_model_only_when_asked_for():
    formats = []

    def features(images):
        formats.append(images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous())
        return images

    for asked in (False, True):
        teacher = Teacher(features=features, weight=torch.eye(3), image_size=SIZE, channels_last=asked)
        formats.clear()
        teacher(photographs(), [0] * 4)
        assert formats == [asked]
    model, images = model_of("resnet10t"), photographs()
    found = Teacher(model, image_size=SIZE, channels_last=True)(images, [1] * 4)
    torch.testing.assert_close(found, teacher_of("resnet10t")(images, [1] * 4), rtol=1e-4, atol=1e-4)
    assert all(part.is_contiguous() for part in model.parameters())


def test_autocast_is_the_teachers_own():
    """bfloat16 comes close and yields float32; a caller's autocast changes nothing."""
    images, labels = photographs(), [1, 2, 3, 4]
    plain = teacher_of("resnet10t")
    expected = plain(images, labels)
    half = Teacher(model_of("resnet10t"), image_size=SIZE, autocast="bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain(images, labels), expected)
    found = half(images, labels)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert (found - expected).abs().max() < 0.05 * expected.max()


def test_compile(monkeypatch):
    """Through dynamo; the default backend would run a compiler."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    teacher = Teacher(model_of("resnet10t").train(), image_size=SIZE, compile=True)
    images = photographs()
    torch.testing.assert_close(teacher(images, [1] * 4), teacher_of("resnet10t")(images, [1] * 4))
    model_of("resnet10t").eval()


# What a teacher leaves alone.


def snapshot(model):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return state, [part.requires_grad for part in model.parameters()], [part.training for part in model.modules()]


def test_the_model_is_as_before_and_was_in_eval_mode():
    model = timm.create_model("resnet10t", num_classes=CLASSES, drop_rate=0.5)
    model.train()
    model.layer1.eval()
    model.conv1[0].weight.requires_grad_(False)
    before, images = snapshot(model), photographs()
    teacher = Teacher(model, image_size=SIZE)
    first = teacher(images, [0] * 4)
    assert torch.equal(teacher(images, [0] * 4), first)  # no dropout
    teacher.topk(images)
    model.train()
    maps = teacher(images, [0] * 4)
    assert model.training
    assert torch.equal(maps, first)
    after = snapshot(model)
    assert all(torch.equal(before[0][name], value) for name, value in after[0].items())
    assert before[1] == after[1]
    assert all(after[2])  # train() above; the teacher left it
    assert all(part.grad is None for part in model.parameters())


def test_an_error_of_the_model_leaves_it_as_it_was():
    model = timm.create_model("resnet10t", num_classes=CLASSES).train()
    broken = []
    model.layer4.register_forward_hook(lambda *_: 1 / 0 if broken else None)
    teacher = Teacher(model, image_size=SIZE)
    broken.append(True)
    with pytest.raises(ZeroDivisionError):
        teacher(photographs(), [0] * 4)
    assert all(part.training for part in model.modules())
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("kind", ["model", "module", "method"])
def test_the_models_training_mode_is_its_owners_all_the_time(kind):
    """Seen from another thread while the teacher works; before, flags were switched and restored around each call."""
    model, seen = timm.create_model("resnet10t", num_classes=CLASSES).train(), []
    model.layer1.register_forward_hook(lambda *_: seen.append({part.training for part in model.modules()}))
    if kind == "model":
        teacher = Teacher(model, image_size=SIZE)
    else:
        weight = torch.randn(CLASSES, model.num_features)
        if kind == "module":
            model.forward = model.forward_features
        features = model if kind == "module" else model.forward_features
        teacher = Teacher(features=features, weight=weight, image_size=SIZE)
    statistics = model.bn1.running_mean.clone() if hasattr(model.bn1, "running_mean") else None
    teacher(photographs(), [0] * 4)
    model.eval()
    teacher(photographs(), [0] * 4)
    assert seen[:-1] == [{True}] * (len(seen) - 1)
    assert seen[-1] == {False}
    assert teacher.model is model
    assert statistics is None or torch.equal(model.bn1.running_mean, statistics)


def test_a_twin_shares_what_the_model_learns():
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=CLASSES).train()
    teacher = Teacher(model, image_size=SIZE, activation="softmax")
    before = teacher(photographs(), [0] * 4)
    for _ in range(5):
        model(3 + torch.randn(4, 3, SIZE, SIZE))  # statistics of the batch norms move
    with torch.no_grad():
        model.get_classifier().weight.mul_(5)
    moved = teacher(photographs(), [0] * 4)
    assert not torch.allclose(moved, before)
    fresh = timm.create_model("resnet10t", num_classes=CLASSES)
    fresh.load_state_dict(model.state_dict())
    found = Teacher(fresh, image_size=SIZE, activation="softmax")(photographs(), [0] * 4)
    torch.testing.assert_close(found, moved)


def test_threads_take_turns():
    """A model in train mode, called from several pipelines."""
    model = timm.create_model("resnet10t", num_classes=CLASSES).train()
    teacher, images = Teacher(model, image_size=SIZE), photographs()
    before, expected, found = snapshot(model), teacher(images, [0] * 4), []

    def call():
        found.extend(teacher(images, [0] * 4) for _ in range(5))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert all(torch.equal(maps, expected) for maps in found)
    assert all(torch.equal(before[0][name], value) for name, value in snapshot(model)[0].items())


def test_new_weights_are_seen():
    """The head is read at each call: a teacher that follows a moving average needs no new Teacher."""
    model = timm.create_model("resnet10t", num_classes=CLASSES)
    teacher, images = Teacher(model, image_size=SIZE), photographs()
    model.load_state_dict(model_of("resnet10t").state_dict())
    assert torch.equal(teacher(images, [1] * 4), teacher_of("resnet10t")(images, [1] * 4))


def test_errors_of_the_model_reach_the_caller_whole():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=CLASSES, img_size=SIZE)
    with pytest.raises(AssertionError, match=r"Input height \(32\) doesn't match model \(64\)"):
        Teacher(model, image_size=32)


def test_no_random_numbers_are_drawn():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Teacher(model_of("resnet10t"), image_size=SIZE)(photographs(), [0] * 4)
    assert torch.equal(torch.rand(3), expected)


# What a label store asks for.


def test_attributes_and_description():
    teacher = teacher_of("vit_tiny_patch16_224")
    assert (teacher.name, teacher.image_size, teacher.map_size) == ("timm:vit_tiny_patch16_224", (64, 64), (4, 4))
    assert teacher.num_classes == CLASSES
    assert teacher.mean == (0.5, 0.5, 0.5)  # timm's for this model
    assert (teacher_of("resnet18").mean, teacher_of("resnet18").std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert str(teacher.device) == "cpu"
    described = teacher.description()
    assert all(isinstance(value, str | int) for value in described.values())
    assert described["teacher"] == "timm:vit_tiny_patch16_224"
    assert (described["map_height"], described["input_width"]) == (4, 64)
    assert described == Teacher(model_of("vit_tiny_patch16_224"), image_size=SIZE).description()
    changed = Teacher(model_of("vit_tiny_patch16_224"), image_size=SIZE, activation="softmax", autocast="bfloat16")
    assert {key for key, value in changed.description().items() if value != described[key]} == {
        "activation",
        "autocast",
    }


@pytest.mark.parametrize(("name", "size"), [("resnet10t", (176, 176)), ("resnet18", (224, 224))])
def test_the_default_size_is_the_models_own(name, size):
    assert Teacher(model_of(name)).image_size == size


def test_a_map_need_not_be_square():
    teacher = Teacher(model_of("resnet10t"), image_size=(64, 128))
    assert teacher.map_size == (2, 4)
    assert teacher(photographs(), [0] * 4).shape == (4, 2, 4)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=(96, 32), num_classes=CLASSES)
    assert Teacher(vit).map_size == (6, 2)


# What is refused.


class Opaque(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


class Sharpened(torchvision.models.ResNet):
    """Has the parts of a ResNet, and puts them together in another way."""

    def forward(self, images):
        return super().forward(images) ** 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Opaque, "model Opaque .* neither forward_features, .*features=function, weight=W, bias=b"),
        (lambda: timm.create_model("resnet10t", num_classes=0), "its head is Identity, not torch.nn.Linear"),
        (lambda: Sharpened(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1]), "is not its own output"),
        (lambda: "resnet18", "model must be a torch.nn.Module, got 'resnet18'"),
        (lambda: None, "model, or features and weight, must be given, got None and None. .*features=function"),
    ],
)
def test_a_model_that_does_not_fit_is_told_the_way_round(make, message):
    with pytest.raises(TypeError, match=message):
        Teacher(make(), image_size=SIZE)


def identity(images):
    return images


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"features": identity}, TypeError, "features and weight, must be given"),
        ({"features": identity, "weight": torch.eye(3)[0]}, ValueError, r"weight must be \(C, K\) .* shape \(3,\)"),
        ({"features": identity, "weight": torch.eye(3), "bias": torch.ones(2)}, ValueError, r"bias must be .* \(3,\)"),
        (
            {"features": identity, "weight": torch.ones(5, 4)},
            ValueError,
            r"features .* \(1, 4, h, w\), .*\(1, 3, 64, 64\)",
        ),
        ({"features": lambda x: x.mean((2, 3)), "weight": torch.eye(3)}, ValueError, r"got \(1, 3\)"),
        ({"model": nn.Linear(3, 3), "weight": torch.eye(3)}, TypeError, "model must be left out"),
        ({"autocast": "bf16"}, ValueError, "autocast must be one of None, 'bfloat16', 'float16', got 'bf16'"),
        ({"activation": "gelu"}, ValueError, "activation must be one of 'relu', 'softmax', got 'gelu'"),
        ({"features": identity, "weight": torch.eye(3), "mean": (0.5,)}, ValueError, r"mean must be 3 numbers"),
        ({"features": identity, "weight": torch.eye(3), "std": (1, 1, 0)}, ValueError, "std must be > 0, got 0"),
        ({"features": identity, "weight": torch.eye(3), "image_size": 0}, ValueError, "image_size must be in 1"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Teacher(**{"image_size": SIZE} | options)


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (
            np.zeros((2, 3, 8, 8), np.uint8),
            [0, 0],
            ValueError,
            r"images of uint8 must be \(N, H, W, 3\), got .*\(2, 3, 8, 8\)",
        ),
        (
            np.zeros((2, 8, 8, 3), np.float32),
            [0, 0],
            ValueError,
            r"floating images .*\(N, 3, H, W\), got shape \(2, 8, 8, 3\)",
        ),
        (np.zeros((0, 8, 8, 3), np.uint8), [], ValueError, r"got shape \(0, 8, 8, 3\)"),
        (np.zeros((2, 8, 8, 3), np.int32), [0, 0], TypeError, "images must be uint8 .* got torch.int32"),
        ("photo.jpg", [0], TypeError, "images must be numbers in a torch tensor or NumPy array, got str"),
        (
            np.zeros((2, 8, 8, 3), np.uint8),
            [0, 3],
            ValueError,
            r"labels must be in \[0, 3\), the teacher's classes, got 3",
        ),
        (np.zeros((2, 8, 8, 3), np.uint8), [-1, 0], ValueError, r"labels must be in \[0, 3\), .* got -1"),
        (
            np.zeros((2, 8, 8, 3), np.uint8),
            [0],
            ValueError,
            r"labels must be \(2,\), one for each image, got shape \(1,\)",
        ),
        (np.zeros((2, 8, 8, 3), np.uint8), [0.0, 1.0], TypeError, "labels must be whole numbers, got torch.float64"),
        (
            np.full((2, 3, 8, 8), np.nan, np.float32),
            [0, 0],
            ValueError,
            "maps of the teacher must be finite, got 8192 others",
        ),
    ],
)
def test_wrong_images_and_labels_are_refused(images, labels, error, message):
    with pytest.raises(error, match=message):
        seeing(image_size=SIZE)(images, labels)


@pytest.mark.parametrize(("k", "error"), [(0, ValueError), (4, ValueError), (1.0, TypeError)])
def test_wrong_k_is_refused(k, error):
    with pytest.raises(error, match=r"k must be"):
        seeing(image_size=SIZE).topk(photographs(), k)


def test_broken_weights_are_refused():
    model = timm.create_model("resnet10t", num_classes=CLASSES)
    nn.init.constant_(model.fc.bias, float("nan"))
    with pytest.raises(ValueError, match="model ResNet must yield finite numbers"):
        Teacher(model, image_size=SIZE)


# Teachers by name.


@pytest.mark.parametrize(
    ("name", "grid"), [("timm:resnet10t", 2), ("torchvision:resnet18", 2), ("timm:vit_tiny_patch16_224", 4)]
)
def test_from_name(name, grid):
    teacher = Teacher.from_name(name, pretrained=False, image_size=SIZE, autocast="bfloat16")
    assert (teacher.name, teacher.num_classes, teacher.map_size) == (name, 1000, (grid, grid))


def test_a_checkpoint_is_loaded_and_resampled_to_the_size(tmp_path):
    """Position embeddings learned at 64 pixels, used at 96."""
    model, path = model_of("vit_tiny_patch16_224"), tmp_path / "teacher.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, path)
    options = {"checkpoint": path, "model_options": {"num_classes": CLASSES, "img_size": SIZE}}
    teacher = Teacher.from_name("timm:vit_tiny_patch16_224", **options)
    images = photographs()
    assert torch.equal(teacher(images, [1] * 4), teacher_of("vit_tiny_patch16_224")(images, [1] * 4))
    assert Teacher.from_name("timm:vit_tiny_patch16_224", image_size=96, **options).map_size == (6, 6)


class Attack:
    def __reduce__(self):
        return print, ("the checkpoint ran code",)


def test_a_checkpoint_cannot_run_code(tmp_path, capsys):
    torch.save({"fc.weight": Attack()}, tmp_path / "bad.pth")
    with pytest.raises(Exception, match=r"[Ww]eights only"):
        Teacher.from_name("timm:resnet10t", checkpoint=tmp_path / "bad.pth")
    assert not capsys.readouterr().out


def test_wrong_names_and_checkpoints_are_refused(tmp_path):
    for name in ("resnet50", "timm:", "keras:resnet50"):
        with pytest.raises(ValueError, match=f"name must be 'timm:<model>', .* got '{name}'"):
            Teacher.from_name(name)
    with pytest.raises(ValueError, match=r"name must be a model of timm .*, got 'timm:resnet_50'"):
        Teacher.from_name("timm:resnet_50")
    with pytest.raises(ValueError, match="name must be a model of torchvision, got 'torchvision:resnet_50'"):
        Teacher.from_name("torchvision:resnet_50")
    with pytest.raises(TypeError, match="name must be a str"):
        Teacher.from_name(None)
    with pytest.raises(FileNotFoundError, match=r"checkpoint must be a file .*nothing\.pth"):
        Teacher.from_name("timm:resnet10t", checkpoint=tmp_path / "nothing.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"checkpoint must hold a state dict, .*list\.pth holds list"):
        Teacher.from_name("timm:resnet10t", checkpoint=tmp_path / "list.pth")


def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch):
    def offline(*_, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        RuntimeError, match=r"pretrained weights of timm:resnet26: OSError: no route to host. .*checkpoint="
    ):
        Teacher.from_name("timm:resnet26")
    with pytest.raises(OSError, match="no route"):  # nothing was to be fetched: the library's own error
        Teacher.from_name("timm:resnet26", pretrained=False)


@pytest.mark.gpu
def test_on_a_gpu_maps_are_those_of_the_cpu():
    images, labels = photographs(), np.array([3, 0, CLASSES - 1, 3])
    expected = teacher_of("resnet10t")(images, labels)
    model = timm.create_model("resnet10t", num_classes=CLASSES)
    model.load_state_dict(model_of("resnet10t").state_dict())
    teacher = Teacher(model, image_size=SIZE, device="cuda")
    found = teacher(torch.from_numpy(images).cuda(), torch.from_numpy(labels).cuda())
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-2, atol=1e-2)
    unknown = teacher(images, torch.tensor([3, 0, CLASSES, -1], device="cuda"))
    assert unknown.isnan().flatten(1).all(1).tolist() == [False, False, True, True]


# A real teacher and real photographs: EfficientNet-Lite0 of PyPI, with ImageNet's classes.

TIGER_CAT, EGYPTIAN_CAT, TABBY, ESPRESSO, MISSILE, PROJECTILE, MOPED = 282, 285, 281, 967, 657, 744, 665
PHOTOGRAPHS = {"chelsea": TIGER_CAT, "coffee": ESPRESSO, "rocket": MISSILE, "stereo_motorcycle": MOPED}


@pytest.fixture(scope="module")
def lite0():
    """The model, or a skip that says how to get it."""
    from dali_tokenmix.teacher.names import LITE0, LITE0_INSTALL, build

    try:
        return build(LITE0, True, None, None, {}).eval()
    except ImportError:
        pytest.skip(f"no EfficientNet-Lite0: {LITE0_INSTALL}")


@functools.cache
def photograph(name):
    """(224, 224, 3) uint8: bicubic resize to 256, centre crop."""
    data = pytest.importorskip("skimage.data")
    pixels = getattr(data, name)()
    image = Image.fromarray(pixels[0] if isinstance(pixels, tuple) else pixels)
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    x, y = (image.width - 224) // 2, (image.height - 224) // 2
    return np.asarray(image.crop((x, y, x + 224, y + 224)))


def test_a_real_teacher_knows_the_photographs(lite0):
    teacher = Teacher(lite0)
    assert (teacher.image_size, teacher.map_size, teacher.num_classes) == ((224, 224), (7, 7), 1000)
    images = np.stack([photograph(name) for name in ("chelsea", "coffee", "rocket")])
    by_hand = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    torch.testing.assert_close(normalised(images, teacher), by_hand, rtol=1e-5, atol=1e-5)
    chelsea, coffee, rocket = dense_maps(teacher, images).mean((2, 3)).softmax(1)
    assert [chelsea[c].item() for c in (TIGER_CAT, EGYPTIAN_CAT, TABBY)] == pytest.approx([0.39, 0.36, 0.17], abs=0.03)
    assert coffee[ESPRESSO].item() == pytest.approx(0.95, abs=0.03)
    assert [rocket[c].item() for c in (MISSILE, PROJECTILE)] == pytest.approx([0.30, 0.20], abs=0.03)


@pytest.mark.parametrize("activation", ["relu", "softmax"])
@pytest.mark.parametrize(
    ("size", "least"), [(224, {"relu": 0.71, "softmax": 0.86}), (288, {"relu": 0.78, "softmax": 0.94})]
)
def test_a_real_teacher_sees_each_photograph_in_its_quarter(lite0, activation, size, least):
    """2 x 2 mosaics, every photograph once in every quarter: a quarter by chance has 0.25 of the mass."""
    teacher = Teacher.from_name("efficientnet-lite0", image_size=size, activation=activation)
    names = list(PHOTOGRAPHS)
    orders = [names[turn:] + names[:turn] for turn in range(4)]
    mosaics = np.stack(
        [np.concatenate([np.concatenate([photograph(n) for n in row], 1) for row in (o[:2], o[2:])]) for o in orders]
    )
    shares, right = [], []
    for name, label in PHOTOGRAPHS.items():
        quarters = mass_of_quarters(teacher(mosaics, [label] * 4).double().numpy())
        own = [order.index(name) for order in orders]
        shares.append(quarters[range(4), own].mean())
        right += list(quarters.argmax(1) == own)
    assert np.mean(shares) > least[activation]
    assert min(shares) > 0.7
    assert all(right)


def mass_of_quarters(maps):
    """(N, 4) shares of each map: top left, top right, bottom left, bottom right; a middle cell counts half."""
    side = maps.shape[1]
    first = np.clip(side / 2 - np.arange(side), 0, 1)
    halves = np.stack([first, 1 - first])
    quarters = np.einsum("nyx,ay,bx->nab", maps, halves, halves).reshape(-1, 4)
    return quarters / quarters.sum(1, keepdims=True)
