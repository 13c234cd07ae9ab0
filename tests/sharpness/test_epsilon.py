"""Epsilon-sharpness: along the gradient, and in a box."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from landscape.objective import Objective
from tests.sharpness.problems import drawn, found, quadratic, relu_net, relu_objective, spd


def rise_of(objective: Objective, distance: float) -> float:
    gradient = objective.gradient()
    point = objective.weights() + distance * gradient / gradient.norm()
    return objective.evaluate(point).loss - objective.evaluate().loss


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_along_the_gradient_of_a_quadratic(scale: float) -> None:
    """``r |g| + r^2 g.Ag / (2 g.g) = 0.1`` is solved by hand; the rise is right to 1e-6 of 0.1."""
    matrix, start = scale * spd(6), drawn(6)
    g = matrix @ start
    slope, curvature = float(g.norm()), float(g @ matrix @ g / (g @ g))
    r = (-slope + math.sqrt(slope**2 + 2 * curvature * 0.1)) / curvature
    value = found(quadratic(matrix, start), "epsilon_sharpness")
    assert value.value == pytest.approx(1 / r, rel=1e-4)
    assert value.stderr == 0


def test_along_the_gradient_the_rise_is_epsilon() -> None:
    objective = relu_objective()
    for epsilon in (0.01, 0.1, 1.0):
        value = found(objective, "epsilon_sharpness", epsilon=epsilon, tolerance=1e-8).value
        assert rise_of(objective, 1 / value) == pytest.approx(epsilon, abs=1.1e-8)


def published_epsilon_sharpness(objective: Objective, epsilon: float = 0.1, tolerance: float = 1e-6) -> float:
    """The published loop: grow eta by 5 from 1, then halve."""
    norm = float(objective.gradient().norm())
    low, high = 1e-16, 1.0
    while rise_of(objective, high * norm) < epsilon:
        high *= 5
    while True:
        eta = (low + high) / 2
        rise = rise_of(objective, eta * norm)
        if abs(rise - epsilon) <= tolerance or high - low < tolerance:
            return 1 / (eta * norm)
        low, high = (eta, high) if rise < epsilon else (low, eta)


def test_it_is_what_the_published_code_returns() -> None:
    """1e-4: that code stops where eta or the rise is right to 1e-6."""
    objective = relu_objective()
    assert found(objective, "epsilon_sharpness").value == pytest.approx(
        published_epsilon_sharpness(objective), rel=1e-4
    )


def test_a_loss_that_never_rises_so_much_is_0() -> None:
    bounded = quadratic(spd(4), drawn(4), transform=lambda loss: 0.09 * torch.tanh(loss))
    assert found(bounded, "epsilon_sharpness").value == 0
    assert found(bounded, "epsilon_sharpness", epsilon=1e-3).value > 0


def test_a_gradient_of_zero_is_0_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, evaluate = [], Objective.evaluate_at
    monkeypatch.setattr(Objective, "evaluate_at", lambda self, w: passes.append(1) or evaluate(self, w))
    assert found(quadratic(spd(4), torch.zeros(4).double()), "epsilon_sharpness").value == 0
    assert len(passes) == 1


def test_nan_before_the_rise_is_nan() -> None:
    cliff = quadratic(
        torch.eye(3).double(), drawn(3), transform=lambda loss: torch.where(loss < 9, 1e-3 * loss, torch.nan)
    )
    assert math.isnan(found(cliff, "epsilon_sharpness").value)


# ------------------------------------------------------------------------------------------------------- in a box


def test_in_a_box_of_a_separable_quadratic() -> None:
    """Each weight moves outward by epsilon (|w| + 1): exact."""
    a, start = torch.tensor([1.0, 2.0, 5.0]).double(), torch.tensor([0.5, -2.0, 0.1]).double()
    widths = 1e-3 * (start.abs() + 1)
    base, top = (float((a * (start.abs() + h) ** 2).sum() / 2) for h in (0, widths))
    value = found(quadratic(torch.diag(a), start), "epsilon_sharpness_box")
    assert value.value == pytest.approx(100 * (top - base) / (1 + base), rel=1e-9)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-1])
def test_in_a_box_it_finds_as_much_as_the_papers_method(epsilon: float) -> None:
    """L-BFGS-B with 10 iterations, as in the paper, from SciPy. 0.98: neither is sure to find the largest loss."""
    objective = relu_objective(relu_net())
    center = objective.weights()
    widths = epsilon * (center.abs() + 1)

    def downhill(flat: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(flat)
        return -objective.evaluate(point).loss, -objective.gradient(point).numpy()

    bounds = list(zip((center - widths).tolist(), (center + widths).tolist(), strict=True))
    paper = minimize(downhill, center.numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 10})
    base = objective.evaluate().loss
    theirs = 100 * (-paper.fun - base) / (1 + base)
    ours = found(objective, "epsilon_sharpness_box", epsilon=epsilon).value
    assert ours >= 0.98 * theirs > 0


def test_in_a_box_steps_that_lead_down_are_halved() -> None:
    """The largest ``5 - (|w| - 1)^2`` in the box is not at a corner, but at w = 1."""
    objective = quadratic(
        2 * torch.eye(1).double(),
        torch.zeros(1).double() + 0.75,  # w = 0.75; the box is [-0.125, 1.625]
        transform=lambda loss: -((loss.sqrt() - 1) ** 2) + 5,
    )
    value = found(objective, "epsilon_sharpness_box", epsilon=0.5, steps=40).value
    assert value == pytest.approx(100 * 0.0625 / (1 + 5 - 0.0625), rel=1e-6)
