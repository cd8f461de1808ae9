"""Losses against their definitions in float64, written out, and against timm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.loss import BinaryCrossEntropy
from timm.loss import SoftTargetCrossEntropy as TimmSoftTargetCrossEntropy
from torch import nn

from dali_tokenmix.losses import (
    SoftTargetBCE,
    SoftTargetCrossEntropy,
    TokenLabelingLoss,
    soft_target_bce,
    soft_target_cross_entropy,
    token_cross_entropy,
)

N, T, C, K = 5, 9, 11, 3


def draw(*shape, seed=0, scale=3.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * scale)


def soft(*shape, seed=1, total=1.0):
    values = np.random.default_rng(seed).random(shape)
    return torch.from_numpy(values / values.sum(-1, keepdims=True) * total)


def sparse(seed=2):
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.permutation(C)[:K] for _ in range(N * T)]).reshape(N, T, K)
    return torch.from_numpy(ids), soft(N, T, K, seed=seed)


def cross_entropy(logits, targets):
    """The definition, NumPy float64."""
    x, t = logits.detach().numpy(), targets.detach().numpy()
    log_softmax = x - x.max(-1, keepdims=True)
    log_softmax -= np.log(np.exp(log_softmax).sum(-1, keepdims=True))
    return -(t * log_softmax).sum(-1).mean()


def binary_cross_entropy(logits, targets):
    """The definition, NumPy float64, (N, C)."""
    x, t = logits.detach().numpy(), targets.detach().numpy()
    p = 1 / (1 + np.exp(-x))
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


@pytest.mark.parametrize("total", [1.0, 0.6, 1.7, 0.0])
def test_cross_entropy_takes_targets_as_they_are(total):
    logits, targets = draw(N, C), soft(N, C, total=total)
    assert soft_target_cross_entropy(logits, targets).item() == pytest.approx(cross_entropy(logits, targets), rel=1e-12)


@pytest.mark.parametrize("total", [1.0, 0.6, 9.0, -0.3])
def test_bce_takes_targets_as_they_are(total):
    """Also above 1, where two samples are of one class, and below 0, as compat='official' yields."""
    logits, targets = draw(N, C), soft(N, C, total=total)
    expected = binary_cross_entropy(logits, targets)
    assert soft_target_bce(logits, targets).item() == pytest.approx(expected.mean(), rel=1e-9)
    summed = soft_target_bce(logits, targets, sum_classes=True).item()
    assert summed == pytest.approx(expected.sum(-1).mean(), rel=1e-9)


def test_a_bce_target_above_one_always_pulls_the_logit_up_unless_it_is_clamped():
    targets = torch.tensor([[1.6, 0.0]])
    for clamp in (False, True):
        logits = torch.tensor([[9.0, 0.0]], dtype=torch.float64, requires_grad=True)
        soft_target_bce(logits, targets, clamp=clamp, sum_classes=True).backward()
        expected = 1 / (1 + np.exp(-9.0)) - (1.0 if clamp else np.float32(1.6))
        assert logits.grad[0, 0].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SoftTargetCrossEntropy(), TimmSoftTargetCrossEntropy()),
        (SoftTargetBCE(), BinaryCrossEntropy(smoothing=0)),
        (SoftTargetBCE(sum_classes=True), BinaryCrossEntropy(smoothing=0, sum_classes=True)),
    ],
    ids=["cross entropy", "bce", "bce, summed"],
)
def test_values_and_gradients_are_those_of_timm(ours, theirs):
    targets = soft(N, C, total=0.8).float()
    found = []
    for loss in (ours, theirs):
        logits = draw(N, C).float().requires_grad_()
        value = loss(logits, targets)
        value.backward()
        found.append((value.detach(), logits.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-7)


def test_token_loss_equals_cross_entropy_against_the_dense_target():
    logits, (ids, probabilities) = draw(N, T, C), sparse()
    dense = np.zeros((N, T, C))
    np.put_along_axis(dense, ids.numpy(), probabilities.numpy(), axis=-1)
    found = token_cross_entropy(logits, ids, probabilities).item()
    assert found == pytest.approx(cross_entropy(logits, torch.from_numpy(dense)), rel=1e-12)


def test_token_labelling_is_the_image_loss_and_half_of_the_token_loss():
    image, tokens, targets, (ids, probabilities) = draw(N, C), draw(N, T, C, seed=3), soft(N, C), sparse()
    expected = soft_target_cross_entropy(image, targets) + 0.5 * token_cross_entropy(tokens, ids, probabilities)
    torch.testing.assert_close(TokenLabelingLoss()(image, tokens, targets, ids, probabilities), expected)
    only = TokenLabelingLoss(weight=0, image_loss=SoftTargetBCE())(image, tokens, targets, ids, probabilities)
    torch.testing.assert_close(only, soft_target_bce(image, targets))


def test_gradients_are_right():
    ids, probabilities = sparse()
    targets = soft(N, C, total=1.3)
    assert torch.autograd.gradcheck(lambda x: soft_target_cross_entropy(x, targets), draw(N, C).requires_grad_())
    assert torch.autograd.gradcheck(lambda x: soft_target_bce(x, targets), draw(N, C).requires_grad_())
    tokens = draw(2, 3, C).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: token_cross_entropy(x, ids[:2, :3], probabilities[:2, :3]), tokens)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    """Logits as large as half precision holds, int32 ids and float16 probabilities, as stores keep them."""
    logits, targets = draw(N, C, scale=90).to(dtype), soft(N, C).float()
    for loss in (soft_target_cross_entropy, soft_target_bce):
        value = loss(logits, targets)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(logits.float(), targets))
    ids, probabilities = sparse()
    tokens = draw(N, T, C, scale=90).to(dtype)
    value = token_cross_entropy(tokens, ids.int(), probabilities.half())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, token_cross_entropy(tokens.float(), ids, probabilities.half().float()))


def test_huge_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    for loss in (soft_target_cross_entropy, soft_target_bce):
        assert loss(logits, torch.tensor([[0.2, 0.7, 0.1]])).isfinite()


def test_inputs_are_not_changed():
    given = (draw(N, C), draw(N, T, C), soft(N, C, total=2), *sparse())
    before = [values.clone() for values in given]
    TokenLabelingLoss(image_loss=SoftTargetBCE(clamp=True))(*given)
    assert all(torch.equal(now, then) for now, then in zip(given, before, strict=True))


@pytest.mark.parametrize("loss", [soft_target_cross_entropy, soft_target_bce])
@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (torch.zeros(N), ValueError, r"targets must be \(N, C\) like the logits, got shapes \(5,\) and \(5, 11\)"),
        (torch.zeros(1, C), ValueError, r"got shapes \(1, 11\)"),  # would broadcast
        (torch.zeros(N, C, dtype=torch.int64), TypeError, "targets must be floating, got torch.int64"),
    ],
)
def test_wrong_targets_are_refused(loss, targets, error, message):
    with pytest.raises(error, match=message):
        loss(torch.zeros(N, C), targets)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": torch.zeros(N, C)}, ValueError, r"token logits must be \(N, T, C\), got shape \(5, 11\)"),
        ({"ids": torch.zeros(N, T + 1, K).long()}, ValueError, r"token ids must be .*got shape \(5, 10, 3\)"),
        ({"ids": torch.full((N, T, K), C)}, ValueError, r"token ids must be in \[0, 11\), got 11..11"),
        ({"ids": torch.full((N, T, K), -1)}, ValueError, r"token ids must be in \[0, 11\), got -1..-1"),
        ({"ids": torch.zeros(N, T, K)}, TypeError, "token ids must be whole numbers, got torch.float32"),
        ({"probabilities": torch.zeros(N, T, 1)}, ValueError, r"token probabilities must have the shape of the ids"),
        ({"probabilities": torch.zeros(N, T, K).long()}, TypeError, "token probabilities must be floating"),
    ],
)
def test_wrong_token_targets_are_refused(change, error, message):
    right = {"logits": torch.zeros(N, T, C), "ids": torch.zeros(N, T, K).long(), "probabilities": torch.zeros(N, T, K)}
    with pytest.raises(error, match=message):
        token_cross_entropy(**right | change)


def test_token_labelling_refuses_what_does_not_belong_together():
    ids, probabilities = sparse()
    with pytest.raises(ValueError, match=r"got shapes \(4, 11\) and \(5, 9, 11\)"):
        TokenLabelingLoss()(draw(4, C), draw(N, T, C), soft(4, C), ids, probabilities)
    with pytest.raises(ValueError, match="weight must be >= 0, got -1"):
        TokenLabelingLoss(weight=-1)


def test_modules_have_no_parameters_and_say_how_they_are_set():
    for module in (SoftTargetCrossEntropy(), SoftTargetBCE(clamp=True), TokenLabelingLoss(0.25)):
        assert isinstance(module, nn.Module)
        assert not list(module.parameters())
    assert "clamp=True" in repr(SoftTargetBCE(clamp=True))
    assert "weight=0.25" in repr(TokenLabelingLoss(0.25))
