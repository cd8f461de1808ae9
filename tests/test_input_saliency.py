"""input_saliency against the gradient written out, and what it leaves as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import dali_tokenmix as dtm


def linear(classes=4, size=(3, 5, 6)):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(size[0] * size[1] * size[2], classes))


def test_it_is_the_gradient_of_the_loss_over_channels():
    """d cross_entropy / d x = (softmax - onehot) W, for a linear model."""
    model, images, labels = linear(), torch.rand(3, 3, 5, 6), torch.tensor([2, 0, 3])
    weight, bias = model[1].weight.detach().double(), model[1].bias.detach().double()
    logits = images.flatten(1).double() @ weight.T + bias
    gradient = (logits.softmax(1) - torch.eye(4)[labels]) @ weight
    expected = gradient.reshape(3, 3, 5, 6).square().mean(1).sqrt()
    for targets in (labels, torch.eye(4)[labels]):
        got = dtm.input_saliency(model, images, targets)
        assert got.shape == (3, 5, 6)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected.float())


def test_a_loss_of_ones_own():
    model, images = linear(), torch.rand(2, 3, 5, 6)
    got = dtm.input_saliency(model, images, torch.tensor([1, 2]), loss=lambda logits, y: logits[[0, 1], y])
    expected = model[1].weight.detach()[[1, 2]].reshape(2, 3, 5, 6).square().mean(1).sqrt()
    torch.testing.assert_close(got, expected)


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(4))


def test_the_model_stays_as_it_was():
    model, images, labels = Net(), torch.rand(4, 3, 8, 8), torch.arange(4)
    model(images).sum().backward()
    model.train()
    model[1].eval()  # as somebody who freezes it
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    with torch.no_grad():
        first = dtm.input_saliency(model, images, labels)
    assert [module.training for module in model] == [True, False, True, True, True]
    assert all((before[name] == value).all() for name, value in model.state_dict().items())
    assert all((parameter.grad == g).all() for parameter, g in zip(model.parameters(), gradients, strict=True))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert images.grad is None
    assert not images.requires_grad
    assert not first.requires_grad
    torch.testing.assert_close(first, dtm.input_saliency(model, images, labels))  # no dropout
    torch.testing.assert_close(first[:1], dtm.input_saliency(model, images[:1], labels[:1]))


def test_after_an_error_too():
    model = Net().train()
    with pytest.raises(RuntimeError):
        dtm.input_saliency(model, torch.rand(2, 5, 8, 8), torch.arange(2))
    assert model.training
    assert model[2].training


def test_what_is_no_image_is_refused():
    with pytest.raises(TypeError, match=r"images must be a floating torch tensor, got torch.uint8"):
        dtm.input_saliency(linear(), torch.zeros(1, 3, 5, 6, dtype=torch.uint8), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"images must be \(N, C, H, W\), got shape \(3, 5, 6\)"):
        dtm.input_saliency(linear(), torch.zeros(3, 5, 6), torch.tensor([0]))
