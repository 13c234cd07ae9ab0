"""Measures of the Hessian as a matrix, against matrices that are known, and what is published in their place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from landscape.curvature import Hessian
from landscape.objective import Objective
from landscape.seeding import generator
from landscape.sharpness import measure
from tests.sharpness.problems import drawn, found, normals, quadratic, relu_objective, spd

SPECTRUM = torch.tensor([5.0, 2.0, 1.0, 0.5, 0.0, -0.25, -3.0], dtype=torch.float64)


def diagonal() -> Objective:
    """Vectors of signs see the diagonal of a function of a diagonal matrix exactly."""
    return quadratic(torch.diag(SPECTRUM), drawn(len(SPECTRUM)))


def test_values_are_the_operators_own(objective: Objective) -> None:
    found = measure(objective, ["trace", "lambda_max"], seed=2, progress=False)
    assert list(found) == ["trace", "lambda_max"]
    operator = Hessian(objective)
    assert found["trace"] == operator.trace(seed=2, progress=False)
    pairs = operator.top(seed=2)
    assert found["lambda_max"].value == pairs.values[0] and found["lambda_max"].stderr == pairs.residuals[0]


def test_of_a_diagonal_matrix() -> None:
    """Lanczos of 7 steps sees all of a 7 x 7 matrix; 1e-9 is rounding."""
    assert found(diagonal(), "lambda_max").value == pytest.approx(5, rel=1e-6)
    assert found(diagonal(), "trace").value == pytest.approx(float(SPECTRUM.sum()), rel=1e-9)
    value = found(diagonal(), "effective_dimension")
    positive = SPECTRUM.clamp(min=0)
    assert value.value == pytest.approx(float((positive / (positive + 1)).sum()), rel=1e-9)
    assert value.stderr < 1e-9 and value.samples == 4 and value.matvecs == 28


def test_the_effective_dimension_of_a_full_matrix() -> None:
    matrix = 3 * spd(9)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    value = found(quadratic(matrix, drawn(9)), "effective_dimension", probes=40)
    assert value.stderr > 0
    assert abs(value.value - float((eigenvalues / (eigenvalues + 1)).sum())) < 4 * value.stderr


def test_frobenius_by_its_formula() -> None:
    matrix = spd(9)
    squares = ((normals(10, 9) @ matrix) ** 2).sum(1)
    value = found(quadratic(matrix, drawn(9)), "frobenius")
    assert value.value == pytest.approx(math.sqrt(float(squares.mean())), rel=1e-9) and value.matvecs == 10
    expected = float(squares.std()) / math.sqrt(10) / (2 * value.value)
    assert value.stderr == pytest.approx(expected, rel=1e-9)


def test_frobenius_is_the_norm() -> None:
    matrix = spd(9)
    value = found(quadratic(matrix, drawn(9)), "frobenius", samples=400)
    assert abs(value.value - float(torch.linalg.matrix_norm(matrix))) < 4 * value.stderr


def test_a_flat_loss_is_flat() -> None:
    flat = quadratic(torch.zeros(3, 3).double(), drawn(3))
    for name in ("frobenius", "trace", "effective_dimension"):
        assert found(flat, name).value == 0


# ------------------------------------------------------------------------------------------------------- as published


def published_ritz_values(matrix: np.ndarray, starts: list[np.ndarray], steps: int) -> np.ndarray:
    """Tridiagonal matrices with full re-orthogonalization, their eigenvalues averaged: no quadrature weights."""
    all_values = []
    for start in starts:
        basis, triangle, before = [start / np.linalg.norm(start)], np.zeros((steps, steps)), 0.0
        for k in range(steps):
            image = matrix @ basis[k]
            triangle[k, k] = image @ basis[k]
            for vector in basis:
                image = image - (image @ vector) * vector
            before = np.linalg.norm(image)
            if before < 1e-6:
                break
            if k + 1 < steps:
                triangle[k, k + 1] = triangle[k + 1, k] = before
                basis.append(image / before)
        all_values.append(np.linalg.eigvalsh(triangle))
    return np.mean(all_values, axis=0)


@pytest.mark.parametrize("steps", [5, 100])
def test_as_published(steps: int) -> None:
    """1e-9 is rounding in Lanczos, which has the matrix's 12 steps at most."""
    matrix = spd(12) - 0.3 * torch.eye(12).double()
    objective = quadratic(matrix, drawn(12))
    starts = []
    for probe in range(2):
        signs = torch.randint(0, 2, (12,), generator=generator(0, "density", probe), dtype=torch.int8)
        starts.append((2 * signs - 1).double().numpy())
    expected = published_ritz_values(matrix.numpy(), starts, min(steps, 12))
    names = ["lambda_max", "trace", "effective_dimension"]
    options = {name: {"steps": steps} for name in names}
    values = measure(objective, names, parameters=options, as_published=True, progress=False)
    wanted = [expected.max(), expected.sum(), (expected / (expected + 1)).sum()]
    assert [values[name].value for name in names] == pytest.approx(wanted, rel=1e-9)


def test_the_published_trace_is_no_trace() -> None:
    """It grows with the steps; the trace does not."""
    objective = relu_objective()
    few, many = (found(objective, "trace", as_published=True, steps=steps).value for steps in (5, 20))
    exact = Hessian(objective).trace(method="exact", progress=False).value
    assert abs(many - few) > 0.1 * exact and abs(few - exact) > 0.1 * exact


def test_published_values_share_one_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    density = Hessian.density
    monkeypatch.setattr(Hessian, "density", lambda self, **options: calls.append(1) or density(self, **options))
    measure(diagonal(), ["lambda_max", "trace", "effective_dimension"], as_published=True, progress=False)
    assert len(calls) == 1
