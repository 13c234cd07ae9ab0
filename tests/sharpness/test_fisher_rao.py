"""Quadratic forms of the weights, by hand: a linear classifier, and a quadratic loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError
from landscape.objective import Objective
from tests.sharpness.problems import drawn, found, quadratic, relu_data, relu_objective, spd


def linear_objective() -> Objective:
    model = nn.Linear(6, 3, bias=False).double()
    model.weight.data.copy_(drawn(3, 6))
    return Objective(model, relu_data(), batch_size=7)


def test_the_fisher_rao_norm_of_a_linear_classifier() -> None:
    """J w is the outputs themselves, so it is the mean variance of the scores under the predictions."""
    objective = linear_objective()
    scores = objective.outputs()
    p = scores.softmax(1)
    variance = (p * scores**2).sum(1) - (p * scores).sum(1) ** 2
    value = found(objective, "fisher_rao")
    assert value.value == pytest.approx(float(variance.mean()), rel=1e-9)
    assert value.stderr == 0 and value.matvecs == 1


def test_the_hessian_form_of_a_quadratic_is_twice_the_loss() -> None:
    objective = quadratic(spd(6), drawn(6))
    assert found(objective, "weights_hessian").value == pytest.approx(2 * objective.evaluate().loss, rel=1e-9)


def test_as_published_it_is_the_hessians() -> None:
    """w.Hw by one more derivative, of ``L(t w)`` in t at 1."""
    objective = relu_objective()
    w = objective.weights()
    t = torch.ones((), dtype=torch.float64, requires_grad=True)
    loss = sum(objective.loss_terms(t * w))
    (first,) = torch.autograd.grad(loss, t, create_graph=True)
    (second,) = torch.autograd.grad(first, t)
    published = found(objective, "fisher_rao", as_published=True).value
    assert published == pytest.approx(float(second), rel=1e-9)
    assert published == found(objective, "weights_hessian").value
    assert abs(found(objective, "fisher_rao").value - published) > 1e-3 * abs(published)


def test_what_is_no_classifier() -> None:
    inputs, targets = relu_data()
    regression = Objective(nn.Linear(6, 3).double(), (inputs, drawn(20, 3)), F.mse_loss)
    with pytest.raises(ConfigError, match="fisher_rao needs a classifier.*class numbers"):
        found(regression, "fisher_rao")
    smooth = Objective(nn.Linear(6, 3).double(), (inputs, targets), nn.CrossEntropyLoss(label_smoothing=0.1))
    with pytest.raises(ConfigError, match="fisher_rao needs predicted probabilities.*without weights or label smooth"):
        found(smooth, "fisher_rao")
    assert found(smooth, "fisher_rao", as_published=True).value > 0  # the Hessian's needs neither
