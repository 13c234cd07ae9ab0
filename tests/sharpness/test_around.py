"""The loss around the weights, against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.curvature import Hessian
from landscape.objective import Objective
from landscape.seeding import generator
from landscape.sharpness import measure
from tests.sharpness.problems import drawn, found, normals, quadratic, spd


def test_lpf_by_its_formula(objective: Objective) -> None:
    """1e-12: the points are rounded once more here."""
    weights, losses = objective.weights(), []
    for sample in range(100):
        noise = torch.randn(objective.size, dtype=torch.float64, generator=generator(3, "lpf", sample))
        losses.append(objective.evaluate(weights + 0.01 * noise).loss)
    found = measure(objective, ["lpf", "lpf_normalized"], seed=3, progress=False)
    assert found["lpf"].value == pytest.approx(np.mean(losses), rel=1e-12)
    assert found["lpf"].stderr == pytest.approx(np.std(losses, ddof=1) / 10, rel=1e-9)
    base = objective.evaluate().loss
    relative = np.abs(np.array(losses) - base) / base
    assert found["lpf_normalized"].value == pytest.approx(relative.mean(), rel=1e-9)
    assert found["lpf_normalized"].stderr == pytest.approx(relative.std(ddof=1) / 10, rel=1e-9)


def test_lpf_is_the_loss_plus_half_sigma_squared_trace(objective: Objective) -> None:
    """E L(w + sigma * n) = L + sigma**2 tr(H) / 2 + O(sigma**4), which ties two measures together."""
    found = measure(objective, ["lpf"], progress=False)["lpf"]
    trace = Hessian(objective).trace(method="exact", progress=False).value
    expected = objective.evaluate().loss + 0.01**2 * trace / 2
    assert abs(found.value - expected) < 4 * found.stderr


def test_on_a_quadratic() -> None:
    """L(w + s z) = L + s z.Aw + s^2 z.Az / 2, exactly; 1e-12 is rounding."""
    matrix, start = spd(7), drawn(7)
    z = normals(30, 7)
    base = float(start @ matrix @ start / 2)
    rises = 0.2 * z @ matrix @ start + 0.2**2 / 2 * ((z @ matrix) * z).sum(1)
    objective = quadratic(matrix, start)
    mean, relative = (found(objective, name, sigma=0.2, samples=30) for name in ("lpf", "lpf_normalized"))
    assert mean.value == pytest.approx(base + float(rises.mean()), rel=1e-12)
    assert mean.stderr == pytest.approx(float(rises.std()) / 30**0.5, rel=1e-9) and mean.samples == 30
    assert relative.value == pytest.approx(float(rises.abs().mean()) / base, rel=1e-12)


def test_one_sample_has_no_standard_error(objective: Objective) -> None:
    assert np.isnan(found(objective, "lpf", samples=1).stderr)
