"""Adaptive sharpness with normalized logits: scores that are the weights themselves, and a network."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.objective import Objective
from landscape.sharpness.logits import NormalizedLogits
from landscape.sharpness.minibatches import Minibatches
from tests.sharpness.problems import found, normals, relu_data, relu_net, relu_objective

SCORES = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)


class Scores(nn.Module):
    """The same three scores for every example: the weights themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(SCORES.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.w.expand(len(x), 3)


def scores_objective() -> Objective:
    return Objective(Scores(), (torch.zeros(4, 1).double(), torch.tensor([0, 0, 1, 2])))


def normalized_loss(scores: Tensor, targets: tuple[int, ...] = (0, 0, 1, 2)) -> Tensor:
    """Of scores (..., 3): written down again, without torch's losses."""
    centered = scores - scores.mean(-1, keepdim=True)
    unit = centered / (centered**2).sum(-1, keepdim=True).sqrt()
    return torch.stack([torch.logsumexp(unit, -1) - unit[..., t] for t in targets]).mean(0)


def test_the_average_by_its_formula() -> None:
    z = normals(50, 3)
    rises = normalized_loss(SCORES + 0.1 * SCORES.abs() * z) - normalized_loss(SCORES)
    value = found(scores_objective(), "average_adaptive_sharpness", samples=50)
    assert value.value == pytest.approx(float(rises.mean()), rel=1e-9)
    assert value.stderr == pytest.approx(float(rises.std()) / 50**0.5, rel=1e-9)


def test_the_worst_case_to_first_order() -> None:
    """``rho sum |w_i dL/dw_i|``; the second order is 1e-4 of it, relative."""
    scores = SCORES.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(normalized_loss(scores), scores)
    expected = 1e-5 * float((SCORES.abs() * gradient.abs()).sum())
    value = found(scores_objective(), "worst_case_adaptive_sharpness", rho=1e-5)
    assert value.value == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("rho", [0.002, 0.2, 0.8])
def test_the_worst_case_is_the_largest_of_a_fine_grid(rho: float) -> None:
    """A grid of 41 points along each axis, the corners among them: never far above what is found."""
    axis = torch.linspace(-rho, rho, 41, dtype=torch.float64)
    offsets = torch.tensor(list(itertools.product(axis.tolist(), repeat=3)), dtype=torch.float64)
    largest = float((normalized_loss(SCORES + offsets * SCORES.abs()) - normalized_loss(SCORES)).max())
    value = found(scores_objective(), "worst_case_adaptive_sharpness", rho=rho)
    assert value.value == pytest.approx(largest, rel=0.01)


def test_the_worst_case_is_each_batchs_own() -> None:
    objective = relu_objective()
    one = found(objective, "worst_case_adaptive_sharpness", rho=0.1)
    many = found(objective, "worst_case_adaptive_sharpness", rho=0.1, batch_size=4)
    assert np.isnan(one.stderr) and many.stderr > 0 and many.samples == 5
    assert many.value > 1.05 * one.value  # each of five batches has a worst case of its own


def test_the_objectives_own_batches_make_no_difference() -> None:
    small, large = (Objective(relu_net(), relu_data(), batch_size=size) for size in (3, 20))
    for name in ("worst_case_adaptive_sharpness", "local_entropy_gradient_norm"):
        values = [found(objective, name, batch_size=7).value for objective in (small, large)]
        assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_minibatches_are_all_of_the_data_once() -> None:
    objective = relu_objective()
    batches = Minibatches(objective, 7, seed=1)
    weights = objective.weights()
    values, gradients = zip(*(batch.value_and_gradient(weights) for batch in batches), strict=True)
    sizes = torch.tensor([7, 7, 6]).double()
    assert len(batches) == 3
    assert float((torch.stack(values) * sizes).sum() / 20) == pytest.approx(objective.evaluate().loss, rel=1e-12)
    torch.testing.assert_close((torch.stack(gradients) * sizes[:, None]).sum(0) / 20, objective.gradient())


class InPlace(nn.Module):
    """A net that writes into its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = relu_net()

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        return self.net(x)


def test_a_model_that_writes_into_its_inputs() -> None:
    inputs, targets = relu_data()
    objective, plain = Objective(InPlace(), (inputs, targets)), Objective(relu_net(), (2 * inputs, targets))
    for name in ("worst_case_adaptive_sharpness", "local_entropy_gradient_norm"):
        assert found(objective, name).value == pytest.approx(found(plain, name).value, rel=1e-9)


def test_logits_of_norm_zero_are_left_alone() -> None:
    loss = NormalizedLogits(F.cross_entropy)
    assert loss(torch.zeros(2, 3), torch.tensor([0, 1])).item() == pytest.approx(np.log(3))


def test_the_objective_itself_keeps_its_loss() -> None:
    objective = relu_objective()
    before = objective.evaluate().loss
    twin = copy.copy(objective)
    found(objective, "average_adaptive_sharpness", samples=2)
    assert objective.loss_fn is F.cross_entropy and objective.evaluate().loss == before == twin.evaluate().loss
