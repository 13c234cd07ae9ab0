"""Measures against their formulas, computed here again."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from landscape.curvature import Hessian
from landscape.errors import ConfigError, MismatchError, NonFiniteError
from landscape.objective import Objective
from landscape.seeding import generator
from landscape.sharpness import MEASURES, measure


@pytest.fixture
def objective(tiny_problem) -> Objective:
    return Objective(tiny_problem.model, tiny_problem.data, batch_size=16)


def test_lpf_by_its_formula(objective: Objective) -> None:
    """1e-12: the points are rounded once more here."""
    weights, losses = objective.weights(), []
    for sample in range(100):
        noise = torch.randn(objective.size, dtype=torch.float64, generator=generator(3, "lpf", sample))
        losses.append(objective.evaluate(weights + 0.01 * noise).loss)
    found = measure(objective, ["lpf", "lpf_normalized"], seed=3)
    assert found["lpf"].value == pytest.approx(np.mean(losses), rel=1e-12)
    assert found["lpf"].stderr == pytest.approx(np.std(losses, ddof=1) / 10, rel=1e-9)
    base = objective.evaluate().loss
    relative = np.abs(np.array(losses) - base) / base
    assert found["lpf_normalized"].value == pytest.approx(relative.mean(), rel=1e-9)
    assert found["lpf_normalized"].stderr == pytest.approx(relative.std(ddof=1) / 10, rel=1e-9)


def test_lpf_is_the_loss_plus_half_sigma_squared_trace(objective: Objective) -> None:
    """E L(w + sigma * n) = L + sigma**2 tr(H) / 2 + O(sigma**4), which ties two measures together."""
    found = measure(objective, ["lpf"])["lpf"]
    trace = Hessian(objective).trace(method="exact", progress=False).value
    expected = objective.evaluate().loss + 0.01**2 * trace / 2
    assert abs(found.value - expected) < 4 * found.stderr


def test_curvature_measures(objective: Objective) -> None:
    found = measure(objective, ["trace", "lambda_max"], seed=2)
    assert list(found) == ["trace", "lambda_max"]
    operator = Hessian(objective)
    assert found["trace"] == operator.trace(seed=2, progress=False)
    pairs = operator.top(seed=2)
    assert found["lambda_max"].value == pairs.values[0] and found["lambda_max"].stderr == pairs.residuals[0]


def test_each_measure_says_what_it_is(objective: Objective) -> None:
    found = measure(objective, MEASURES)
    assert set(found) == set(MEASURES) == {"lpf", "lpf_normalized", "lambda_max", "trace"}
    for name, entry in MEASURES.items():
        assert entry.name == name and all((entry.definition, entry.formula, entry.unit, entry.source))
        assert np.isfinite(found[name].value) and found[name].stderr > 0


def test_seeds(objective: Objective) -> None:
    one, same, other = (measure(objective, "lpf", seed=seed)["lpf"] for seed in (1, 1, 2))
    assert one == same != other


def test_a_flatter_copy_is_flatter(objective: Objective) -> None:
    """The same net with its outputs scaled down: every measure of curvature falls."""
    flat = copy.deepcopy(objective.model)
    with torch.no_grad():
        flat[4].weight.mul_(0.1)
    inputs, targets = (torch.cat(part) for part in zip(*objective.batches(), strict=True))
    softened = Objective(flat, (inputs, targets), lambda outputs, targets: F.mse_loss(outputs, 0 * outputs))
    sharp = Objective(objective.model, (inputs, targets), lambda outputs, targets: F.mse_loss(outputs, 0 * outputs))
    for name in ("lambda_max", "trace"):
        assert measure(softened, name)[name].value < measure(sharp, name)[name].value


def test_unknown_and_unfit(objective: Objective) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'lambda_max'"):
        measure(objective, ["lambdamax"])
    with pytest.raises(ConfigError, match="No measure is named"):
        measure(objective, [])
    with pytest.raises(MismatchError, match="does not fit"):
        measure(objective, "lpf", initial_weights=torch.zeros(3))


def test_non_finite_losses(tiny_problem) -> None:
    broken = Objective(tiny_problem.model, tiny_problem.data, lambda outputs, targets: outputs.sum() * float("inf"))
    assert not np.isfinite(measure(broken, "lpf")["lpf"].value)
    with pytest.raises(NonFiniteError, match="no Hessian"):
        measure(broken, "trace")
    zero = Objective(tiny_problem.model, tiny_problem.data, lambda outputs, targets: outputs.sum() * 0)
    assert np.isnan(measure(zero, "lpf_normalized")["lpf_normalized"].value)  # 0 / 0
