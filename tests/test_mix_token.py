"""MixToken against its definition written out: tokens in every shape, in ViTs, and the labels of tokens."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

import dali_tokenmix as dtm
from dali_tokenmix.nn import MixToken
from dali_tokenmix.regions import Box
from tests.examples import run_example

GRID = (3, 5)
MIXERS = [
    dtm.CutMix(1.0, mode="batch"),
    dtm.CutMix(minmax=(0.3, 0.8), partner="random"),
    dtm.CutMix(1.0, mode="elem", prob=0.5),
    dtm.TokenMix(1, min_tokens=2, partner="random"),
    dtm.TokenMix(2, mask="random", mode="elem"),
    dtm.Choice([dtm.CutMix(), dtm.TokenMix(1, mask="random")], mode="pair"),
]
SHAPES = {
    "tokens": (lambda x: x.flatten(1, 2), 0, None),
    "NCHW, channels last": (lambda x: x.contiguous().permute(0, 3, 1, 2), 0, None),
    "tokens after two others": (lambda x: torch.cat([x[:, 0, :2] - 100, x.flatten(1, 2)], 1), 2, None),
    "NHWC": (lambda x: x, 0, None),
    "NCHW": (lambda x: x.permute(0, 3, 1, 2).contiguous(), 0, None),
    "NCHW as tokens": (lambda x: x.flatten(1, 2).mT.contiguous().mT, 0, None),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Two would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Model(nn.Module):
    """Tokens (N, gh, gw, C) in one shape or another; what a layer makes of them."""

    def __init__(self, shaped=lambda x: x):
        super().__init__()
        self.patch_embed, self.shaped = nn.Identity(), shaped

    def forward(self, tokens):
        return self.patch_embed(self.shaped(tokens))


def provenance(n, channels=4):
    """(N, gh, gw, C): sample, row, column, and something else."""
    values = np.zeros((n, *GRID, channels))
    for i, y, x in np.ndindex(n, *GRID):
        values[i, y, x] = [i, y, x, 7][:channels]
    return torch.from_numpy(values)


def by_loops(tokens, plan):
    """Token by token: (N, gh, gw, ...), the partner's where the mask of a pixel grid of tokens says so."""
    out, mask = tokens.clone(), plan.pixel_mask()
    for i, y, x in np.ndindex(*mask.shape):
        if mask[i, y, x]:
            out[i, y, x] = tokens[int(plan.partner[i]), y, x]
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mixer", MIXERS, ids=repr)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_tokens_are_those_of_the_definition_and_weights_count_them(mixer, n, shape):
    shaped, prefix, layout = SHAPES[shape]
    mix = MixToken(Model(shaped), grid=GRID, prefix_tokens=prefix, layout=layout, mixer=mixer, num_classes=n)
    tokens = provenance(n)
    for seed in range(5):
        with mix(torch.arange(n), seed=seed) as targets:
            mixed = mix.model(tokens)
        plan = dtm.draw(mixer, n, GRID, seed=seed)
        expected = by_loops(tokens, plan)
        wanted = shaped(expected)
        wanted[:, :prefix] = shaped(tokens)[:, :prefix]  # class and register tokens are everybody's own
        torch.testing.assert_close(mixed, wanted, rtol=0, atol=0)
        counted = np.array([[(expected[i, :, :, 0] == k).double().mean() for k in range(n)] for i in range(n)])
        np.testing.assert_allclose(targets, counted, atol=1e-6)  # targets by sample: what shows of whom
        np.testing.assert_array_equal(targets, dtm.soft_targets(plan, np.arange(n), n, 0.0))


def test_gradients_go_where_the_tokens_came_from():
    mix = MixToken(Model(lambda x: x.flatten(1, 2)), grid=GRID, num_classes=4)
    tokens = provenance(4).requires_grad_()

    def mixed(values):
        with mix(torch.arange(4), seed=3):
            return mix.model(values)

    assert torch.autograd.gradcheck(mixed, torch.randn(4, *GRID, 1, dtype=torch.float64, requires_grad=True))
    scale = torch.randn(4, 15, 4, dtype=torch.float64)
    (got,) = torch.autograd.grad((mixed(tokens) * scale).sum(), tokens)
    (wanted,) = torch.autograd.grad((by_loops(tokens, mix.plan).flatten(1, 2) * scale).sum(), tokens)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def test_infinities_stay_where_they_are():
    mix = MixToken(Model(), grid=GRID, num_classes=2)
    tokens = torch.full((2, *GRID, 1), float("inf"))
    with mix([0, 1]):
        assert torch.equal(mix.model(tokens), tokens)


@pytest.mark.parametrize("flat", [True, False])
def test_labels_of_tokens_go_with_their_tokens(flat):
    mix = MixToken(Model(), grid=GRID, num_classes=3)
    mix.begin(torch.arange(5) % 3, seed=2)
    assert mix.plan.other.any()
    for values in (torch.rand(5, *GRID, 7), torch.randint(9, (5, *GRID, 2)), torch.randint(9, (5, *GRID))):
        given = values.flatten(1, 2) if flat else values
        expected = by_loops(values, mix.plan)
        torch.testing.assert_close(mix.mixed(given), expected.flatten(1, 2) if flat else expected, rtol=0, atol=0)


def test_token_targets_of_a_loader():
    """(N, C) rows are weighed by area, (N, T, k) ids and probabilities go with their tokens."""
    mix = MixToken(Model(), grid=GRID)
    rows, ids, probabilities = torch.rand(4, 9), torch.randint(9, (4, 15, 2)), torch.rand(4, 15, 2)
    given = dtm.TokenTargets(rows, ids, probabilities)
    with mix(given, seed=6) as targets:
        logits = mix.model(torch.rand(4, *GRID, 9))
    np.testing.assert_array_equal(targets.targets, dtm.soft_targets(mix.plan, rows, 9, 0.0))
    for mixed, values in zip(targets[1:], given[1:], strict=True):
        expected = by_loops(values.reshape(4, *GRID, 2), mix.plan).flatten(1, 2)
        torch.testing.assert_close(mixed, expected, rtol=0, atol=0)
    loss = dtm.losses.TokenLabelingLoss()(logits.mean((1, 2)), logits.flatten(1, 2), *targets)
    assert torch.isfinite(loss)
    mix.model.eval()
    with mix(given) as targets:
        for mixed, values in zip(targets, given, strict=True):
            torch.testing.assert_close(mixed, values, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"values must be \(4, 15, ...\)"), mix(given._replace(token_ids=ids[:, 1:])):
        pass
    with mix(given):  # that one was not begun
        mix.model(torch.rand(4, *GRID, 9))


def test_changing_outputs_back_is_the_same_sum_as_changing_labels():
    """The released code puts the output tokens back in their places and leaves the labels where they were."""
    mix = MixToken(Model(), grid=GRID, num_classes=4, mixer=dtm.CutMix(1.0, mode="batch"))
    for seed in range(5):
        mix.begin(torch.arange(4), seed=seed)
        mix._open = False
        outputs, labels = torch.rand(4, 15, 6, dtype=torch.float64), torch.rand(4, 15, 6, dtype=torch.float64)
        ours = -(mix.mixed(labels) * outputs.log_softmax(-1)).sum()
        theirs = -(labels * mix.mixed(outputs).log_softmax(-1)).sum()
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 4}, {"dynamic_img_size": True}, {"class_token": False}])
def test_vit_of_timm(options):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    pool = {"global_pool": "avg"} if "class_token" in options else {}
    model = timm.create_model("vit_tiny_patch16_224", img_size=(48, 80), depth=2, num_classes=6, **options, **pool)
    mix = MixToken(model, num_classes=6)
    assert mix.grid == (3, 5)
    images = torch.randn(5, 3, 48, 80)
    with mix(torch.arange(5), seed=1):
        logits = model(images)
    tokens = model.patch_embed(images)
    tokens = by_loops(tokens.reshape(5, 3, 5, -1), mix.plan).reshape(tokens.shape)
    hidden = model.norm(model.blocks(model.norm_pre(model.patch_drop(model._pos_embed(tokens)))))
    torch.testing.assert_close(logits, model.forward_head(hidden))
    # after the class tokens and the positions, which are of places, not of samples: the same exchange
    later = MixToken(model, layer="norm_pre", grid=(3, 5), prefix_tokens=model.num_prefix_tokens)
    with later(torch.eye(6)[:5], seed=1):
        torch.testing.assert_close(model(images), logits)


def test_other_sizes_for_a_model_that_takes_them():
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, dynamic_img_size=True, num_classes=2)
    mix = MixToken(model, num_classes=2)
    for grid in ((2, 2), (4, 3)):
        mix.grid = grid
        with mix(torch.zeros(2, dtype=torch.long)):
            model(torch.randn(2, 3, 16 * grid[0], 16 * grid[1]))
        assert mix.plan.image_size == grid


def test_swin_of_timm():
    """Boxes of what the last stage sees as tokens; patch_embed gives maps twice as fine."""
    swin = pytest.importorskip("timm.models.swin_transformer")
    torch.manual_seed(0)
    small = {"embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2), "num_classes": 4, "drop_path_rate": 0.0}
    model = swin.SwinTransformer(img_size=(24, 40), patch_size=4, window_size=(3, 5), **small)
    mix = MixToken(model, grid=GRID, num_classes=4)
    images = torch.randn(4, 3, 24, 40)
    with mix(torch.arange(4)):
        logits = model(images)
    pixels = dtm.apply(dtm.Plan(mix.plan.partner, (Box(mix.plan.regions[0].boxes * 8),), (24, 40)), images.clone())
    torch.testing.assert_close(logits, model(pixels))  # no patch looks beyond its own pixels


def test_vit_of_torchvision():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.VisionTransformer(32, 8, 1, 2, 16, 16, num_classes=3)
    mix, seen = MixToken(model, layer="conv_proj", grid=4, num_classes=3), []
    model.conv_proj.register_forward_hook(lambda module, args, output: seen.append(output))
    images = torch.randn(4, 3, 32, 32)
    with mix(torch.arange(4) % 3):
        model(images)
    expected = by_loops(model.conv_proj(images).permute(0, 2, 3, 1), mix.plan).permute(0, 3, 1, 2)
    torch.testing.assert_close(seen[0], expected)


def test_a_loader_feeds_it(photo_folder):
    """Clean images and smoothed rows from the graph, mixed in the network."""
    timm = pytest.importorskip("timm")
    loader = dtm.Loader(photo_folder, batch_size=5, image_size=(48, 80), mixer=None, device="cpu", num_threads=1)
    model = timm.create_model("vit_tiny_patch16_224", img_size=(48, 80), depth=1, num_classes=4)
    mix = MixToken(model)
    for images, labels in loader:
        with mix(labels) as targets:
            loss = dtm.losses.soft_target_cross_entropy(model(images), targets)
        loss.backward()
        expected = labels.clone()
        for i, partner in enumerate(mix.plan.partner):
            expected[i] = float(mix.plan.own[i]) * labels[i] + float(mix.plan.other[i]) * labels[int(partner)]
        torch.testing.assert_close(targets, expected)
        torch.testing.assert_close(targets.sum(1), torch.ones(5))


def test_compiled():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    mix, compiled = MixToken(model, layer="0", grid=GRID, num_classes=4), torch.compile(model, backend="aot_eager")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    tokens = torch.randn(4, *GRID, 3)
    for seed in range(6):
        with mix(torch.arange(4), seed=seed):
            mixed = compiled(tokens)
        torch.testing.assert_close(mixed, model[1](by_loops(model[0](tokens), mix.plan)))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "grid must be given as .rows, columns.: layer 'patch_embed' has no grid_size"),
        ({"grid": (2, 0)}, ValueError, r"grid must be in 1\.\."),
        ({"grid": 2.5}, TypeError, "grid must be a whole number"),
        ({"grid": (1, 2, 3)}, ValueError, r"grid must be \(rows, columns\)"),
        ({"grid": 4, "layer": "patch_embd"}, ValueError, "got 'patch_embd'; near it: patch_embed"),
        ({"grid": 4, "prefix_tokens": -1}, ValueError, "prefix_tokens must be"),
        ({"grid": 4, "layout": "HWC"}, ValueError, "layout must be"),
        ({"grid": 4, "mixer": dtm.MixUp()}, ValueError, "mixer must give each token to one sample"),
        ({"grid": 4, "mixer": dtm.RICAP()}, ValueError, "mixer must give each token to one sample"),
        ({"grid": 7, "mixer": dtm.AttentiveCutMix()}, ValueError, "mixer must draw without looking at the images"),
        ({"grid": 14, "mixer": dtm.TokenMix()}, ValueError, r"patch_size counts tokens: TokenMix\(patch_size=1\)"),
    ],
)
def test_refusals(options, error, message):
    model = Model()
    with pytest.raises(error, match=message):
        MixToken(model, **options)
    assert not model.patch_embed._forward_hooks


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((4, 14, 2), {}, r"layer 'patch_embed' must give \(N, 15, C\), prefix_tokens=0 .* got shape \(4, 14, 2\)"),
        ((4, 2, 2), {"prefix_tokens": 4}, r"must give \(N, 19, C\)"),
        ((4, 6, 5, 2), {}, "a grid of 3 x 5"),
        ((4, 15, 2), {"prefix_tokens": 1}, r"must give \(N, 16, C\), prefix_tokens=1"),
        ((4, 3, 5, 2), {"prefix_tokens": 1}, "without a prefix"),
        ((4, 5, 3, 2), {}, "a grid of 3 x 5"),  # rows are rows
        ((4, 3, 5, 5), {"layout": "NCHW"}, "a grid of 3 x 5"),
        ((4, 6, 6, 6), {"grid": 3}, "layout must be 'NHWC' or 'NCHW'"),
    ],
)
def test_what_a_layer_may_not_give(shape, options, message):
    mix = MixToken(Model(), **{"grid": GRID, "num_classes": 4, **options})
    with pytest.raises(ValueError, match=message), mix(torch.arange(4)):
        mix.model(torch.zeros(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("finer", [2, 3])
def test_a_layer_may_be_finer_than_the_grid(finer, shape):
    """A cell is finer x finer tokens, which go together."""
    shaped, prefix, _ = SHAPES[shape]
    mix = MixToken(Model(shaped), grid=GRID, prefix_tokens=prefix, num_classes=4)
    tokens = torch.randn(4, finer * GRID[0], finer * GRID[1], 7)
    with mix(torch.arange(4)) as targets:
        mixed = mix.model(tokens)
    expected, mask = tokens.clone(), mix.plan.pixel_mask()
    for i, y, x in np.ndindex(*tokens.shape[:3]):
        if mask[i, y // finer, x // finer]:
            expected[i, y, x] = tokens[int(mix.plan.partner[i]), y, x]
    torch.testing.assert_close(mixed[:, prefix:], shaped(expected)[:, prefix:], rtol=0, atol=0)
    np.testing.assert_allclose(targets.diagonal(), 1 - mask.mean((1, 2)), atol=1e-6)


def test_a_layout_settles_what_a_shape_leaves_open():
    for layout in ("NHWC", "NCHW"):
        mix = MixToken(Model(), grid=3, num_classes=4, layout=layout)
        tokens = torch.randn(4, 3, 3, 3)
        with mix(torch.arange(4)):
            mixed = mix.model(tokens)
        given, got = (x if layout == "NHWC" else x.permute(0, 2, 3, 1) for x in (tokens, mixed))
        torch.testing.assert_close(got, by_loops(given, mix.plan), rtol=0, atol=0)


def test_mixed_before_a_batch_and_for_another_grid():
    mix = MixToken(Model(), grid=GRID, num_classes=4)
    with pytest.raises(RuntimeError, match="before begin"):
        mix.mixed(torch.zeros(4, 15))
    mix.begin(torch.arange(4))
    with pytest.raises(ValueError, match=r"values must be \(4, 15, ...\) or \(4, 3, 5, ...\), got shape \(4, 16, 2\)"):
        mix.mixed(torch.zeros(4, 16, 2))


def test_the_example_trains(photo_folder):
    pytest.importorskip("timm")
    arguments = ["--root", photo_folder, "--device", "cpu", "--epochs", 2, "--image-size", 32]
    for method, layers in (("manifold", "input|layer1|layer2"), ("token", "patch_embed")):
        lines = run_example("manifold_mixup.py", *arguments, "--method", method).splitlines()
        assert len(lines) == 2
        for line in lines:
            counts = re.findall(rf"(\d+) at (?:{layers})\b", line)
            assert sum(map(int, counts)) == 5
            assert re.search(r"loss \d\.\d+, \d+% of the partner; .* top-1 \d+\.\d%", line)
