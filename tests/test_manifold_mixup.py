"""ManifoldMixup against its definition written out, on networks of one's own, of torchvision and of timm."""

from __future__ import annotations

import contextlib
import copy
import io

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.utils.checkpoint import checkpoint

import dali_tokenmix as dtm
from dali_tokenmix.nn import ManifoldMixup
from dali_tokenmix.nn.targets import _on_gpu
from dali_tokenmix.runtime import cuda

LAYERS = ["input", "0", "2"]


@pytest.fixture(autouse=True)
def one_thread():
    """Two would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 3 * 5, 5)).to(dtype)


def images_of(n, dtype=torch.float32, seed=0):
    return torch.randn(n, 3, 5, 7, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def by_loops(hidden, plan):
    """Sample by sample: lambda * own + (1 - lambda) * partner's."""
    return torch.stack(
        [
            (1.0 - float(plan.other[i])) * hidden[i] + float(plan.other[i]) * hidden[int(plan.partner[i])]
            for i in range(len(hidden))
        ]
    )


def defined(model, images, plan, layer):
    """The logits of a Sequential whose `layer` is mixed by loops."""
    hidden = by_loops(images, plan) if layer == "input" else images
    for name, module in model.named_children():
        hidden = module(hidden)
        if name == layer:
            hidden = by_loops(hidden, plan)
    return hidden


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("mode", ["pair", "batch", "elem"])
@pytest.mark.parametrize("partner", ["flip", "random"])
@pytest.mark.parametrize("prob", [0.0, 0.5, 1.0])
def test_logits_and_gradients_are_those_of_the_definition(n, mode, partner, prob):
    model = network(torch.float64)
    mixer = dtm.MixUp(2.0, mode=mode, partner=partner, prob=prob)
    mix = ManifoldMixup(model, LAYERS, mixer=mixer, num_classes=5)
    images, seen = images_of(n, torch.float64), set()
    for seed in range(4):
        with mix(torch.arange(n) % 5, seed=seed):
            logits = model(images)
        seen.add(mix.layer)
        expected = defined(model, images, mix.plan, mix.layer)  # outside, the hooks rest
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)
        for got, wanted in zip(
            *(torch.autograd.grad(out.sin().sum(), model.parameters()) for out in (logits, expected)), strict=True
        ):
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    assert len(seen) > 1  # layers


@pytest.mark.parametrize("layer", ["input", "0"])
def test_gradcheck(layer):
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()
    mix = ManifoldMixup(model, [layer], num_classes=5)

    def mixed(values):
        with mix([0, 1, 2], seed=4):
            return model(values)

    assert torch.autograd.gradcheck(mixed, images_of(3, torch.float64).flatten()[:12].reshape(3, 4).requires_grad_())


def test_plan_and_targets_are_the_librarys():
    mixer = dtm.MixUp(2.0, mode="elem", partner="random")
    mix = ManifoldMixup(network(), LAYERS, mixer=mixer, num_classes=5, smoothing=0.1)
    labels = torch.tensor([0, 4, 2, 2, 1, 3, 0])
    targets = mix.begin(labels, seed=11)
    plan = dtm.draw(mixer, 7, 1, seed=11)
    np.testing.assert_array_equal(plan.partner, mix.plan.partner)
    np.testing.assert_array_equal(plan.other, mix.plan.other)
    np.testing.assert_array_equal(targets, dtm.soft_targets(plan, labels, 5, 0.1))
    assert targets.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_of_soft_labels_are_mixed_as_they_are(dtype):
    mix = ManifoldMixup(network(), LAYERS)
    rows = torch.rand(6, 4, dtype=dtype)
    np.testing.assert_array_equal(mix.begin(rows, seed=3), dtm.soft_targets(mix.plan, rows.float(), 4, 0.0))


def test_input_alone_is_mixup():
    model, labels = network(), torch.arange(5)
    mix = ManifoldMixup(model, ["input"], mixer=dtm.MixUp(0.8), num_classes=5)
    images = images_of(5)
    with mix(labels, seed=9) as targets:
        logits = model(images)
    plan = dtm.draw(dtm.MixUp(0.8), 5, (5, 7), seed=9)
    mixed = dtm.apply(plan, images.clone())
    torch.testing.assert_close(logits, model(mixed))
    np.testing.assert_array_equal(targets, dtm.soft_targets(plan, labels, 5, 0.0))


def test_layers_are_drawn_with_equal_odds_whatever_the_plan_and_lambda_is_beta_2_2():
    mix = ManifoldMixup(network(), LAYERS, num_classes=2, mixer=dtm.MixUp(2.0, mode="batch", partner="random"))
    plans, layers = zip(*(mix.drawn(4, seed) for seed in range(1200)), strict=True)
    weights = np.array([float(plan.other[0]) for plan in plans])
    assert stats.kstest(weights, "beta", args=(2, 2)).pvalue > 1e-3
    where = np.array([LAYERS.index(layer) for layer in layers])
    assert stats.chisquare(np.bincount(where)).pvalue > 1e-3
    assert stats.kruskal(*(weights[where == k] for k in range(3))).pvalue > 1e-3
    partners = np.zeros((3, 4))
    np.add.at(partners, (where, [plan.partner[3] for plan in plans]), 1)
    assert stats.chi2_contingency(partners[:, :3]).pvalue > 1e-3


def test_seeds_count_on_and_go_on_from_a_state():
    def drawn(mix, batches):
        plans = []
        for _ in range(batches):
            mix.begin(torch.arange(4))
            mix.model(images_of(4))
            mix.end()
            plans.append((mix.layer, mix.plan.other.tolist()))
        return plans

    mix = ManifoldMixup(network(), LAYERS, num_classes=5, seed=3)
    first, state, then = drawn(mix, 4), mix.state_dict(), drawn(mix, 4)
    assert len({tuple(weights) for _, weights in first + then}) == 8
    assert state == {"seed": 3, "step": 4}
    again = ManifoldMixup(network(), LAYERS, num_classes=5)
    again.load_state_dict(state)
    assert drawn(again, 4) == then
    with mix(torch.arange(4), seed=5):
        mix.model(images_of(4))
    assert mix.step == 8  # a seed of one's own is no step
    assert drawn(ManifoldMixup(network(), LAYERS, num_classes=5, seed=2**64 - 1), 1) != first[:1]


def test_eval_mode_and_what_is_outside_are_left_alone():
    model, images = network(), images_of(4)
    clean = model(images)
    mix = ManifoldMixup(model, LAYERS, num_classes=5, smoothing=0.1)
    torch.testing.assert_close(model(images), clean, rtol=0, atol=0)
    model.eval()
    with mix(torch.arange(4)) as targets:
        torch.testing.assert_close(model(images), clean, rtol=0, atol=0)
    np.testing.assert_array_equal(targets, np.eye(5)[:4])
    assert (mix.layer, mix.step) == (None, 0)
    assert not mix.plan.other.any()
    model.train()
    with mix(torch.arange(4), seed=1):
        assert not torch.equal(model(images), clean)
    torch.testing.assert_close(model(images), clean, rtol=0, atol=0)
    mix.begin(torch.arange(4))
    mix.remove()
    torch.testing.assert_close(model(images), clean, rtol=0, atol=0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_an_error_in_the_block_is_the_one_that_is_seen_and_ends_the_batch():
    model = network()
    mix = ManifoldMixup(model, LAYERS, num_classes=5)
    with pytest.raises(KeyError, match="mine"), mix(torch.arange(4)):
        raise KeyError("mine")
    with mix(torch.arange(4)):
        model(images_of(4))


def test_a_keyword_may_be_the_input():
    class Named(nn.Module):
        def forward(self, *, pixels, flag=None):
            return pixels

    model = Named()
    mix = ManifoldMixup(model, ["input"], num_classes=4)
    images = images_of(4, torch.float64)
    with mix(torch.arange(4)):
        mixed = model(pixels=images, flag=2)
    torch.testing.assert_close(mixed, by_loops(images, mix.plan))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_mixed_in_float32_and_rounded_once(dtype):
    model = nn.Sequential(nn.Identity())
    mix = ManifoldMixup(model, ["0"], num_classes=6)
    hidden = torch.randn(6, 50).to(dtype)
    with mix(torch.arange(6)):
        mixed = model(hidden)
    assert mixed.dtype == dtype
    expected = by_loops(hidden.double(), mix.plan)
    assert ((mixed.double() - expected).abs() <= torch.finfo(dtype).eps / 2 * expected.abs() + 1e-6).all()


def test_autocast():
    model, images = network(), images_of(4)
    mix = ManifoldMixup(model, ["0"], num_classes=5)
    with torch.autocast("cpu", torch.bfloat16), mix(torch.arange(4)) as targets:
        logits = model(images)
    assert logits.dtype == torch.bfloat16
    assert targets.dtype == torch.float32
    torch.testing.assert_close(logits.float(), defined(model, images, mix.plan, "0"), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing_repeats_the_mixing(use_reentrant):
    """Backward runs the layer again, after the block, and has to mix it again."""

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network(torch.float64)

        def forward(self, images):
            return checkpoint(self.inner, images, use_reentrant=use_reentrant)

    model, images = Checkpointed(), images_of(4, torch.float64).requires_grad_()
    mix = ManifoldMixup(model, ["inner.0"], num_classes=5)
    with mix(torch.arange(4), seed=2):
        logits = model(images)
    logits.sin().sum().backward()
    got = [parameter.grad for parameter in model.parameters()]
    expected = defined(model.inner, images, mix.plan, "0")
    torch.testing.assert_close(logits, expected)
    for one, other in zip(got, torch.autograd.grad(expected.sin().sum(), model.parameters()), strict=True):
        torch.testing.assert_close(one, other)


def test_a_copy_and_a_pickle_of_the_model_know_their_own_mixing_only():
    model, images = network(), images_of(4)
    mix = ManifoldMixup(model, LAYERS, num_classes=5)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    copies = [copy.deepcopy(model), torch.load(file, weights_only=False)]
    with mix(torch.arange(4)):
        mixed = model(images)
        for other in copies:  # an average of weights, say: in train mode as well
            assert not torch.equal(other(images), mixed)
            torch.testing.assert_close(other(images), other.eval()(images))


def test_resnet_of_torchvision():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=7).double()
    mix = ManifoldMixup(model, ["layer2"], num_classes=7)
    images = torch.randn(4, 3, 33, 41, dtype=torch.float64).to(memory_format=torch.channels_last)
    with mix(torch.arange(4)):
        logits = model(images)
    hidden = model.maxpool(model.relu(model.bn1(model.conv1(images))))
    hidden = by_loops(model.layer2(model.layer1(hidden)), mix.plan)
    expected = model.fc(model.layer4(model.layer3(hidden)).mean((2, 3)))
    torch.testing.assert_close(logits, expected)


def test_memory_format_stays():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity())
    mix, formats = ManifoldMixup(model, ["0"], num_classes=4), []
    model[1].register_forward_hook(
        lambda module, args, output: formats.append(output.is_contiguous(memory_format=torch.channels_last))
    )
    with mix(torch.arange(4)):
        model.to(memory_format=torch.channels_last)(images_of(4).to(memory_format=torch.channels_last))
    assert formats == [True]


def test_vit_of_timm():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=3, num_classes=7).double()
    mix = ManifoldMixup(model, ["blocks.1"], num_classes=7)
    images = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    with mix(torch.arange(5)):
        logits = model(images)
    hidden = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))
    hidden = by_loops(model.blocks[1](model.blocks[0](hidden)), mix.plan)
    torch.testing.assert_close(logits, model.forward_head(model.norm(model.blocks[2](hidden))))


@pytest.mark.parametrize("first", ["compile", "mix"])
def test_compiled(first):
    model, images = network(), images_of(4)
    compiled = torch.compile(model, backend="aot_eager") if first == "compile" else None
    mix = ManifoldMixup(model if compiled is None else compiled, LAYERS, num_classes=5)
    compiled = torch.compile(model, backend="aot_eager") if compiled is None else compiled
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for seed in range(12):
        with mix(torch.arange(4), seed=seed):
            logits = compiled(images)
        torch.testing.assert_close(logits, defined(model, images, mix.plan, mix.layer))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= len(LAYERS)  # one for each layer, no more
    assert not torch._dynamo.utils.counters["graph_break"]
    torch.testing.assert_close(compiled(images), model(images))


def test_ddp(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = network()
        parallel = nn.parallel.DistributedDataParallel(model)
        mix, images = ManifoldMixup(parallel, LAYERS, num_classes=5), images_of(4)
        for seed in range(4):
            with mix(torch.arange(4), seed=seed):
                logits = parallel(images)
            torch.testing.assert_close(logits, defined(model, images, mix.plan, mix.layer))
            logits.sum().backward()
    finally:
        torch.distributed.destroy_process_group()


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu, self.spare, self.whole = nn.ReLU(), nn.ReLU(), nn.Flatten(0)

    def forward(self, images):
        return self.whole(self.relu(self.relu(images)))


@pytest.mark.parametrize(
    ("layer", "images", "error", "message"),
    [
        ("relu", images_of(4), ValueError, "layer 'relu' was reached twice"),
        ("spare", images_of(4), ValueError, "layer 'spare' was not reached between begin.. and end.."),
        ("input", images_of(5), ValueError, r"layer 'input' must give one row for each of 4 labels, .* \(5, 3, 5, 7\)"),
        ("whole", images_of(4), ValueError, "layer 'whole' must give one row"),
        ("input", images_of(4).to(torch.uint8), TypeError, "layer 'input' must give floating numbers .* torch.uint8"),
        ("input", images_of(4).tolist(), TypeError, "layer 'input' must give a tensor to mix, got list"),
    ],
)
def test_what_a_forward_pass_may_not_do(layer, images, error, message):
    model = Twice()
    mix = ManifoldMixup(model, [layer], num_classes=4)
    with pytest.raises(error, match=message), mix(torch.arange(4)):
        model(images)
    mix.begin(torch.arange(4))  # the batch is over all the same


def test_a_method_of_the_model_does_not_reach_its_input():
    model = network()
    mix = ManifoldMixup(model, ["input"], num_classes=5)
    with pytest.raises(ValueError, match=r"'input' was not reached .*: call the model itself"), mix(torch.arange(4)):
        model.forward(images_of(4))


def test_begin_twice():
    mix = ManifoldMixup(network(), LAYERS, num_classes=5)
    mix.begin(torch.arange(4))
    with pytest.raises(RuntimeError, match="again before end"):
        mix.begin(torch.arange(4))


@pytest.mark.parametrize(
    ("model", "layers", "options", "error", "message"),
    [
        (network, LAYERS, {}, TypeError, "model must be a torch.nn.Module"),
        (nn.DataParallel(network()), LAYERS, {}, TypeError, "DistributedDataParallel"),
        (network(), "0", {}, TypeError, "layers must be a list of names, got '0'"),
        (network(), [0], {}, TypeError, "layers must be names of modules, got 0"),
        (network(), [], {}, ValueError, "layers must be one or more different names"),
        (network(), ["0", "0"], {}, ValueError, "layers must be one or more different names"),
        (nn.ModuleDict({"layer1": network()}), ["layer2"], {}, ValueError, "got 'layer2'; near it: layer1"),
        (network(), LAYERS, {"mixer": dtm.CutMix()}, ValueError, "mixer must blend whole samples"),
        (network(), LAYERS, {"mixer": 3}, TypeError, "mixer must be a mixer"),
        (network(), LAYERS, {"num_classes": 0}, ValueError, "num_classes must be"),
        (network(), LAYERS, {"smoothing": 2}, ValueError, "smoothing must be"),
        (network(), LAYERS, {"seed": -1}, ValueError, "seed must be"),
    ],
)
def test_refusals(model, layers, options, error, message):
    with pytest.raises(error, match=message):
        ManifoldMixup(model, layers, **options)
    if isinstance(model, nn.Module):
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.arange(4), TypeError, "num_classes must be given for class ids"),
        (torch.zeros(0, 3), ValueError, "labels must be"),
        (torch.tensor(3), ValueError, "labels must be"),
        (torch.full((2, 3), -1.0), ValueError, "rows of labels must be"),
        (dtm.TokenTargets(torch.ones(2, 3), 0, 0), TypeError, "TokenTargets: MixToken"),
    ],
)
def test_labels_that_do_not_fit(labels, error, message):
    mix = ManifoldMixup(network(), LAYERS)
    with pytest.raises(error, match=message):
        mix.begin(labels)
    assert (mix.step, mix.plan) == (0, None)
    mix.begin(torch.eye(5))  # nothing was begun


@pytest.mark.parametrize("shape", ["ids", "column", "rows"])
def test_the_gpus_way_to_targets_on_memory_of_the_cpu(monkeypatch, shape):
    """All but the stream and the copy of the plan: which kernel runs, and on what."""
    monkeypatch.setattr(cuda, "on_stream_of", lambda tensor: contextlib.nullcontext())
    monkeypatch.setattr(cuda, "to_device", lambda array: array)
    plan = dtm.draw(dtm.MixUp(), 6, 1, seed=2)
    ids = torch.tensor([0, 3, 1, 2, 2, 0])
    labels = {"ids": ids, "column": ids[:, None], "rows": torch.rand(6, 4, dtype=torch.float64)}[shape]
    np.testing.assert_array_equal(_on_gpu(plan, labels, 4, 0.1), dtm.soft_targets(plan, labels, 4, 0.1))
    for wrong in (ids.float(), ids[:5], torch.rand(6, 5), torch.rand(5, 4)):
        with pytest.raises(ValueError, match=r"labels must be \(6,\) whole numbers or \(6, num_classes=4\) rows"):
            _on_gpu(plan, wrong, 4, 0.1)
    assert _on_gpu(plan, torch.full((6,), 2**32), 4, 0.1).isnan().all()


@pytest.mark.gpu
def test_on_a_gpu():
    model, images = network().cuda(), images_of(5).cuda()
    mix = ManifoldMixup(model, LAYERS, num_classes=5, smoothing=0.1)
    for seed in range(4):
        with mix(torch.arange(5, device="cuda"), seed=seed) as targets:
            logits = model(images)
        torch.testing.assert_close(logits, defined(model, images, mix.plan, mix.layer))
        np.testing.assert_array_equal(targets.cpu(), dtm.soft_targets(mix.plan, np.arange(5), 5, 0.1))
        rows = mix.begin(torch.eye(5, device="cuda"), seed=seed)
        mix.model(images)
        mix.end()
        np.testing.assert_array_equal(rows.cpu(), dtm.soft_targets(mix.plan, np.eye(5), 5, 0.1))
