"""PAC-Bayes measures on quadratics, whose noise is known on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from landscape.errors import ConfigError, MismatchError
from landscape.objective import Objective
from landscape.sharpness import measure
from tests.sharpness.problems import drawn, found, initial_weights, normals, quadratic, relu_objective, spd


def sigma_of(matrix: torch.Tensor, start: torch.Tensor, samples: int = 10, epsilon: float = 0.1) -> float:
    """``sigma mean(z.Aw) + sigma^2 / 2 mean(z.Az) = epsilon``, for the draws that all measures share."""
    z = normals(samples, len(start))
    slope, curvature = float((z @ matrix @ start).mean()), float(((z @ matrix) * z).sum(1).mean())
    return (-slope + math.sqrt(slope**2 + 2 * curvature * epsilon)) / curvature


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_on_a_quadratic(scale: float) -> None:
    """The rise is right to 1e-6 of 0.1, so sigma to about 1e-5."""
    matrix, start = scale * spd(8), drawn(8)
    objective = quadratic(matrix, start, examples=50)
    sigma = sigma_of(matrix, start)
    assert found(objective, "pac_bayes_sigma").value == pytest.approx(sigma, rel=1e-4)
    squared = float(((start - initial_weights(objective)) ** 2).sum())
    expected = squared / (4 * sigma**2) + math.log(100 / 1e-6)
    assert found(objective, "pac_bayes").value == pytest.approx(expected, rel=1e-4)


def test_sigma_of_many_draws_is_that_of_the_trace() -> None:
    """At a minimum E rise is sigma^2 tr / 2, so sigma is sqrt(0.2 / tr); within 4 standard errors."""
    matrix = spd(8)
    value = found(quadratic(matrix, torch.zeros(8).double()), "pac_bayes_sigma", samples=200)
    assert value.samples == 200
    assert abs(value.value - math.sqrt(0.2 / float(matrix.trace()))) < 4 * value.stderr
    assert 0 < value.stderr < 0.05 * value.value


def test_the_standard_error_is_the_spread_over_seeds() -> None:
    """Of 30 seeds: the spread of the values is the mean standard error; 13 % is the error of such a spread."""
    objective, names = quadratic(spd(8), 0.1 * drawn(8)), ("pac_bayes_sigma", "pac_bayes")
    runs = [
        measure(objective, names, seed=seed, initial_weights=drawn(8, name="first"), progress=False)
        for seed in range(30)
    ]
    for name in names:
        spread, claimed = np.std([run[name].value for run in runs]), np.mean([run[name].stderr for run in runs])
        assert 0.6 < spread / claimed < 1.6


def test_as_published_the_initial_weights_are_zero() -> None:
    matrix, start = spd(5), drawn(5)
    objective = quadratic(matrix, start, examples=7)
    sigma = sigma_of(matrix, start)
    expected = float((start**2).sum()) / (4 * sigma**2) + np.log(2 * 7 / 1e-6)
    assert found(objective, "pac_bayes", as_published=True).value == pytest.approx(expected, rel=1e-4)
    given = measure(objective, "pac_bayes", initial_weights=drawn(5), as_published=True, progress=False)
    assert given["pac_bayes"].value == pytest.approx(expected, rel=1e-4)


def test_the_two_share_their_search(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, passes = relu_objective(), []
    evaluate = Objective.evaluate_at
    monkeypatch.setattr(Objective, "evaluate_at", lambda self, w: passes.append(1) or evaluate(self, w))
    measure(objective, "pac_bayes_sigma", progress=False)
    alone = len(passes)
    measure(objective, ["pac_bayes", "pac_bayes_sigma"], initial_weights=objective.weights(), progress=False)
    assert len(passes) == 2 * alone


def test_a_loss_that_never_rises_so_much() -> None:
    """sigma is infinite, and the bound what is left of it."""
    bounded = quadratic(spd(4), drawn(4), examples=3, transform=lambda loss: 0.09 * torch.tanh(loss))
    assert found(bounded, "pac_bayes_sigma").value == math.inf
    value = found(bounded, "pac_bayes")
    assert value.value == pytest.approx(math.log(6 / 1e-6)) and value.stderr == 0


def test_no_initial_weights() -> None:
    objective = relu_objective()
    with pytest.raises(ConfigError, match=r"pac_bayes needs the weights that training began from.*initial_weights="):
        measure(objective, ["lpf", "pac_bayes"], progress=False)
    with pytest.raises(MismatchError, match="does not fit"):
        measure(objective, "pac_bayes", initial_weights=torch.zeros(3), progress=False)
    measure(objective, "pac_bayes", as_published=True, parameters={"pac_bayes": {"samples": 2}}, progress=False)
