"""Relative flatness: ridge regression, and the trace block by block."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.curvature import Hessian
from landscape.errors import ConfigError
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.sharpness import balance, measure
from tests.sharpness.problems import drawn, found, quadratic, relu_data, relu_net, relu_objective, rescaled, spd


def kappa(objective: Objective, start: int, outputs: int, inputs: int) -> float:
    """Every pair of outputs written down: the inner product of their weights times the trace of their block."""
    weights = objective.weights()[start : start + outputs * inputs].reshape(outputs, inputs)
    block = slice(start, start + outputs * inputs)
    dense = Hessian(objective).dense()[block, block].reshape(outputs, inputs, outputs, inputs)
    pairs = [
        float(weights[s] @ weights[t]) * float(dense[s, :, t, :].trace())
        for s in range(outputs)
        for t in range(outputs)
    ]
    return sum(pairs)


@pytest.mark.parametrize(("layer", "place"), [(None, (59, 3, 4)), ("4", (59, 3, 4)), ("2", (35, 4, 5))])
def test_of_a_layer_of_a_network(layer: str | None, place: tuple[int, int, int]) -> None:
    """Weights and biases: 30 + 5, 20 + 4, 12 + 3. Within 4 standard errors of the dense matrix."""
    objective = relu_objective()
    value = found(objective, "relative_flatness", layer=layer, probes=400)
    assert abs(value.value - kappa(objective, *place)) < 4 * value.stderr
    assert value.samples == value.matvecs == 400 and value.stderr < 0.2 * abs(value.value)


def test_of_least_squares_it_is_ridge_regression() -> None:
    """``2/K ||W||^2 tr(X^T X) / N`` for the mean over N examples and K outputs; here H has one block per output."""
    inputs, _ = relu_data()
    model = nn.Linear(6, 2, bias=False).double()
    objective = Objective(model, (inputs, drawn(20, 2)), F.mse_loss)
    expected = float((model.weight.detach() ** 2).sum()) * float((inputs**2).sum()) / 20
    value = found(objective, "relative_flatness", probes=400)
    assert abs(value.value - expected) < 4 * value.stderr


def test_more_outputs_than_inputs() -> None:
    inputs, _ = relu_data()
    model = nn.Linear(2, 5, bias=False).double()
    objective = Objective(model, (inputs[:, :2].contiguous(), torch.arange(20) % 5))
    value = found(objective, "relative_flatness", probes=400)
    assert abs(value.value - kappa(objective, 0, 5, 2)) < 4 * value.stderr


def test_a_layer_rescaled_as_a_whole_leaves_it() -> None:
    net = relu_net()
    twin = relu_net()
    with torch.no_grad():
        twin[2].weight.mul_(3), twin[2].bias.mul_(3), twin[4].weight.div_(3)
    one, other = (found(relu_objective(model), "relative_flatness").value for model in (net, twin))
    assert one == pytest.approx(other, rel=1e-9)
    each = found(relu_objective(rescaled(net)), "relative_flatness").value
    assert abs(each - one) > 1e-3 * one


def test_of_a_balanced_network() -> None:
    balanced = balance(relu_net())
    value = found(relu_objective(balanced), "relative_flatness", probes=20)
    assert value == found(relu_objective(balanced), "relative_flatness", layer="4", probes=20)
    assert value.value > 0


def test_no_such_layer() -> None:
    with pytest.raises(ConfigError, match="'3' is no linear layer whose weight moves. Expected: one of '0', '2', '4'"):
        found(relu_objective(), "relative_flatness", layer="3")
    with pytest.raises(ConfigError, match="relative_flatness does not apply here.*a torch.nn.Linear"):
        found(quadratic(spd(3), drawn(3)), "relative_flatness")
    frozen = relu_net()
    frozen[4].weight.requires_grad_(False)
    with pytest.raises(ConfigError, match="one of '0', '2'"):
        found(relu_objective(frozen), "relative_flatness", layer="4")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    """Which has no QR decomposition of its own; its numbers have two or three digits."""
    with seeded(0, "tests", "half"):
        model = nn.Linear(4, 3).double()
    x = torch.randn(20, 4, generator=generator(0, "tests", "half"), dtype=torch.float64)
    exact, coarse = (
        measure(
            Objective(copy.deepcopy(model).to(kind), (x, torch.arange(20) % 3)), "relative_flatness", progress=False
        )
        for kind in (torch.float64, dtype)
    )
    found, expected = coarse["relative_flatness"], exact["relative_flatness"]
    assert found.value == pytest.approx(expected.value, rel=0.05) and found.stderr > 0
