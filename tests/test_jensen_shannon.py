"""AugMix's loss against its definition, written with scipy in float64, and against timm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy
from timm.loss import JsdCrossEntropy

from dali_tokenmix.losses import JensenShannon, jensen_shannon

N, C = 6, 7


def draw(*shape, seed=0, scale=2.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * scale)


def soft(seed=1):
    values = np.random.default_rng(seed).random((N, C))
    return torch.from_numpy(values / values.sum(-1, keepdims=True))


def defined(logits, targets, weight, views):
    """CE(p_1, y) + weight * JS(p_1, ..., p_views), sample by sample and view by view."""
    total = 0.0
    for sample in range(N):
        rows = [logits[view * N + sample].numpy() for view in range(views)]
        predictions = [softmax(row) for row in rows]
        middle = sum(predictions) / views
        divergence = sum(entropy(p, middle) for p in predictions) / views  # scipy's of two is Kullback and Leibler's
        total += -(targets[sample].numpy() * log_softmax(rows[0])).sum() + weight * divergence
    return total / N


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("weight", [0.0, 1.0, 12.0])
def test_loss_is_the_definition(views, weight):
    logits, targets = draw(views * N, C), soft()
    expected = pytest.approx(defined(logits, targets, weight, views), rel=1e-12)
    loss = JensenShannon(weight, views=views)
    assert loss(logits, targets).item() == expected
    assert loss(tuple(logits.chunk(views)), targets).item() == expected


def test_values_and_gradients_are_those_of_timm():
    ids = torch.arange(N) % C
    found = []
    for loss, targets in ((JensenShannon(), ids), (JsdCrossEntropy(smoothing=0), ids.repeat(3))):
        logits = draw(3 * N, C).requires_grad_()
        value = loss(logits, targets)
        value.backward()
        found.append((value.detach(), logits.grad))
    torch.testing.assert_close(found[0], found[1])


def test_smoothed_targets_are_timm_s_smoothing():
    ids, logits = torch.arange(N) % C, draw(3 * N, C)
    targets = 0.9 * torch.nn.functional.one_hot(ids, C).double() + 0.1 / C
    torch.testing.assert_close(JensenShannon()(logits, targets), JsdCrossEntropy(smoothing=0.1)(logits, ids.repeat(3)))


def test_views_that_agree_are_not_apart_and_sure_ones_that_differ_are_by_a_logarithm():
    same = draw(N, C)
    assert jensen_shannon((same, same, same)).item() == pytest.approx(0, abs=1e-15)
    sure = [torch.full((1, 3), -1e4).index_fill_(1, torch.tensor([k]), 1e4) for k in range(3)]
    assert jensen_shannon(sure).item() == pytest.approx(np.log(3), rel=1e-6)


def test_gradients_are_right_and_half_precision_is_computed_in_float32():
    targets = soft()
    assert torch.autograd.gradcheck(lambda x: JensenShannon()(x, targets), draw(3 * N, C).requires_grad_())
    for dtype in (torch.float16, torch.bfloat16):
        logits = draw(3 * N, C, scale=30).to(dtype)
        loss = JensenShannon()(logits, targets.float())
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        torch.testing.assert_close(loss, JensenShannon()(logits.float(), targets.float()))


@pytest.mark.parametrize(
    ("logits", "targets", "error", "message"),
    [
        (torch.zeros(3 * N + 1, C), soft(), ValueError, r"logits must be \(3 \* N, C\), 3 views of N samples, got"),
        (torch.zeros(3 * N, 2, C), soft(), ValueError, r"got shape \(18, 2, 7\)"),
        ((torch.zeros(N, C),), soft(), ValueError, "logits must be .* of two or more views"),
        ((torch.zeros(N, C), torch.zeros(N + 1, C)), soft(), ValueError, "all of one shape"),
        (torch.zeros(3 * N, C), torch.zeros(3 * N).long(), ValueError, "of the 6 samples, not of each view"),
        (torch.zeros(3 * N, C), torch.zeros(3 * N, C), ValueError, r"targets must be \(N, C\) like the logits"),
        (torch.zeros(3 * N, C), torch.zeros(N), ValueError, r"targets must be \(N, C\) like the logits"),
    ],
)
def test_what_does_not_fit_is_refused(logits, targets, error, message):
    with pytest.raises(error, match=message):
        JensenShannon()(logits, targets)


def test_arguments_are_checked_and_shown():
    for options, message in (({"weight": -1}, "weight must be >= 0"), ({"views": 1}, "views must be in 2")):
        with pytest.raises(ValueError, match=message):
            JensenShannon(**options)
    assert "weight=12.0, views=3" in repr(JensenShannon())
