"""What people get wrong is told at once, by what it is and what to do; nothing goes on with other settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, OptimizerError
from landscape.optim import AMP, GSAM, LPFSGD, SAM, Late

SGD = torch.optim.SGD


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor([1.0, 2.0]))]


def squares(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], scaler=None):
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = sum((p.square().sum() for p in parameters), torch.zeros(()))
        (loss if scaler is None else scaler.scale(loss)).backward()
        return loss

    return closure


@pytest.mark.parametrize("adaptive", [0, 1, 0.0, np.False_, torch.tensor(False), np.array([1, 2]), "oficial", None])
def test_adaptive_is_true_false_or_official(adaptive) -> None:
    with pytest.raises(ConfigError, match="adaptive is out of range"):
        SAM(weights(), SGD, lr=0.1, adaptive=adaptive)


@pytest.mark.parametrize("method", [SAM, GSAM])
def test_a_built_base_has_its_own_parameters(method) -> None:
    parameters = weights()
    with pytest.raises(ConfigError, match="along with a base optimizer.*already built"):
        method([{"params": parameters, "rho": 9.0}], SGD(parameters, lr=0.1))
    assert method(None, SGD(parameters, lr=0.1)).param_groups[0]["params"] == parameters


@pytest.mark.parametrize("method", ["sam", "amp", "lpf"])
def test_a_loss_that_was_not_scaled(method) -> None:
    """Torch says so too, but here the scale is read before its step; gradients would be divided by 65,536."""
    parameters = weights()
    optimizer = {
        "sam": lambda: SAM(parameters, SGD, lr=0.1),
        "amp": lambda: AMP(parameters, lr=0.1, epsilon=0.1),
        "lpf": lambda: LPFSGD(parameters, lr=0.1, std=0.1),
    }[method]()
    scaler = torch.amp.GradScaler("cpu")
    before = parameters[0].detach().clone()
    with pytest.raises(OptimizerError, match="has not scaled the loss"):
        optimizer.step(squares(optimizer, parameters), scaler=scaler)
    assert torch.equal(parameters[0], before)
    scaler = torch.amp.GradScaler("cpu")
    optimizer.step(squares(optimizer, parameters, scaler), scaler=scaler)  # the first step of a scaler that is used
    assert not torch.equal(parameters[0], before)


def test_the_first_step_of_a_scaler_is_the_plain_one() -> None:
    one, two = weights(), weights()
    scaler = torch.amp.GradScaler("cpu")
    scaled, plain = (SAM(p, SGD, lr=0.1, rho=0.5) for p in (one, two))
    scaled.step(squares(scaled, one, scaler), scaler=scaler)
    plain.step(squares(plain, two))
    assert torch.equal(one[0], two[0])  # the scale is a power of two


@pytest.mark.parametrize("norm", [-1.0, float("nan"), "x"])
def test_a_norm_to_clip_to_is_a_number(norm) -> None:
    parameters = weights()
    optimizer = SAM(parameters, SGD, lr=0.1)
    with pytest.raises(ConfigError, match="max_grad_norm"):
        optimizer.step(squares(optimizer, parameters), max_grad_norm=norm)
    assert parameters[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("norm", [-1.0, float("nan"), "x"])
def test_a_norm_to_clip_to_is_a_number_in_the_two_call_style_too(norm) -> None:
    parameters = weights()
    optimizer = SAM(parameters, SGD, lr=0.1)
    (parameters[0] ** 2).sum().backward()
    optimizer.first_step(zero_grad=True)
    (parameters[0] ** 2).sum().backward()
    with pytest.raises(ConfigError, match="max_grad_norm"):
        optimizer.second_step(max_grad_norm=norm)
    optimizer.restore()
    assert parameters[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("schedule", [5, "late", Late])
def test_a_schedule_is_a_function(schedule) -> None:
    with pytest.raises(ConfigError, match=r"Late\(0.2, total_steps=N\), Every\(k\), Bernoulli\(p\)"):
        SAM(weights(), SGD, lr=0.1, schedule=schedule)


@pytest.mark.parametrize("closure", [torch.zeros(()), "abc", [1, 2], 5])
def test_a_closure_can_be_called(closure) -> None:
    with pytest.raises(OptimizerError, match="cannot be called.*pass the function itself"):
        SAM(weights(), SGD, lr=0.1).step(closure)


@pytest.mark.parametrize("rho", [torch.tensor([-1.0]), torch.tensor([0.1, 0.2]), "0.05"])
def test_a_radius_is_one_number(rho) -> None:
    with pytest.raises(ConfigError, match="rho is out of range. Expected: a number"):
        SAM(weights(), SGD, lr=0.1, rho=rho)
