"""Accelerate: a TorchLoader through prepare(), its end and gradient accumulation, save_state() in mid-epoch."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

accelerate = pytest.importorskip(
    "accelerate", reason="accelerate is not installed: pip install 'dali_tokenmix[frameworks]'"
)

from accelerate.state import AcceleratorState, GradientState  # noqa: E402

import dali_tokenmix as dtm  # noqa: E402
from dali_tokenmix.frameworks import TorchLoader  # noqa: E402
from tests.examples import one_thread, run_example  # noqa: E402

OPTIONS = {"batch_size": 6, "image_size": 32, "mixer": dtm.TokenMix(8), "device": "cpu", "num_threads": 1}


@pytest.fixture(autouse=True, scope="module")
def small_models():
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def one_accelerator_a_test():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def prepared(photo_folder, accelerator):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return accelerator.prepare(model, optimizer, TorchLoader(dtm.Loader(photo_folder, **OPTIONS)))


def step(accelerator, model, optimizer, images, targets):
    with accelerator.accumulate(model):
        loss = cross_entropy(model(images), targets)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.detach())


def test_prepare_leaves_it_as_it_is(photo_folder):
    accelerator = accelerate.Accelerator(cpu=True)
    torch_loader = TorchLoader(dtm.Loader(photo_folder, **OPTIONS))
    assert accelerator.prepare(torch_loader) is torch_loader
    assert len(torch_loader) == 6
    loader = dtm.Loader(photo_folder, **OPTIONS)
    for _ in range(2):
        for (images, targets), (other, other_targets) in zip(torch_loader, loader, strict=True):
            torch.testing.assert_close(images, other, rtol=0, atol=0)
            torch.testing.assert_close(targets, other_targets, rtol=0, atol=0)


def test_what_is_left_of_an_accumulation_is_a_step_at_the_end_of_an_epoch(photo_folder):
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=4)
    model, optimizer, batches = prepared(photo_folder, accelerator)
    start = {name: parameter.clone() for name, parameter in model.named_parameters()}
    stepped = []
    for _ in range(2):
        for images, targets in batches:
            assert step(accelerator, model, optimizer, images, targets) < 10
            stepped.append(accelerator.sync_gradients)
    assert stepped == 2 * [False, False, False, True, False, True]
    assert not any(torch.equal(start[name], parameter) for name, parameter in model.named_parameters())
    assert not GradientState().in_dataloader


def test_a_loop_in_a_loop_and_a_loop_left_early(photo_folder):
    accelerator = accelerate.Accelerator(cpu=True)
    train, val = (accelerator.prepare(TorchLoader(dtm.Loader(photo_folder, **OPTIONS))) for _ in range(2))
    for number, _ in enumerate(train):
        ends = [GradientState().end_of_dataloader for _ in val]
        assert ends == 5 * [False] + [True]
        assert GradientState().active_dataloader is train
        assert GradientState().end_of_dataloader is False
        if number == 1:
            break
    assert not GradientState().in_dataloader


def test_a_saved_state_goes_on_in_mid_epoch(photo_folder, tmp_path):
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimizer, batches = prepared(photo_folder, accelerator)
    losses = []
    for epoch in range(3):
        for number, (images, targets) in enumerate(batches):
            losses.append(step(accelerator, model, optimizer, images, targets))
            if (epoch, number) == (1, 2):
                accelerator.save_state(tmp_path)
    accelerator.free_memory()
    model, optimizer, batches = prepared(photo_folder, accelerator)
    accelerator.load_state(tmp_path)
    again = [step(accelerator, model, optimizer, *batch) for _ in range(2) for batch in batches]
    assert again == losses[9:]


def test_skip_first_batches(photo_folder):
    accelerator = accelerate.Accelerator(cpu=True)
    batches = accelerator.prepare(TorchLoader(dtm.Loader(photo_folder, **OPTIONS)))
    expected = [images for images, _ in dtm.Loader(photo_folder, **OPTIONS)]
    rest = [images for images, _ in accelerate.skip_first_batches(batches, 4)]
    assert len(rest) == 2
    for images, other in zip(rest, expected[4:], strict=True):
        torch.testing.assert_close(images, other, rtol=0, atol=0)


@pytest.mark.gpu
def test_batches_are_moved_to_the_accelerator(photo_folder):
    accelerator = accelerate.Accelerator()
    batches = accelerator.prepare(TorchLoader(dtm.Loader(photo_folder, **OPTIONS)))
    assert all(part.device == accelerator.device for batch in batches for part in batch)


def test_the_example_ends_as_if_nothing_had_happened(photo_folder, tmp_path):
    def losses(*arguments):
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        shared = ("--root", photo_folder, "--device", "cpu", "--epochs", 2, "--state", tmp_path)
        return run_example("accelerate_train.py", *shared, *arguments).splitlines()

    undisturbed = losses()
    assert [line.split(", loss")[0] for line in undisturbed] == [
        f"epoch {epoch}: 5 batches on each process" for epoch in range(2)
    ]
    assert losses("--stop-after", 7) == [undisturbed[0], "stopped in epoch 1"]
    assert losses("--resume") == ["again from epoch 1, batch 2", undisturbed[1]]
