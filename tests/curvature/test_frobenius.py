"""The Frobenius norm: exact from unit vectors, and from the lengths of products with signs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.curvature import ConvergenceWarning, Hessian
from landscape.curvature.frobenius import frobenius_estimate
from landscape.curvature.results import Estimate
from landscape.errors import ConfigError
from landscape.objective import Objective

VALUES = [30.0, 10.0, *np.linspace(-2, 3, 38).tolist()]


def norm(operator, **options) -> Estimate:
    defaults = {"probes": 30, "method": "hutchinson", "rel_error": None, "seed": 0, "progress": False}
    return frobenius_estimate(operator, **(defaults | options))


def test_on_a_hessian(any_objective: Objective, exact_hessian) -> None:
    matrix, operator = exact_hessian(any_objective), Hessian(any_objective)
    exact = operator.frobenius_norm(method="exact", progress=False)
    assert exact.value == pytest.approx(float(matrix.norm()), rel=1e-8)
    assert (exact.stderr, exact.matvecs, exact.samples) == (0.0, len(matrix), None)
    found = operator.frobenius_norm(progress=False)
    assert found.matvecs == found.samples == 100 and abs(found.value - exact.value) < 4 * found.stderr


def test_its_square_is_unbiased_and_the_error_that_of_the_root(matrix_with) -> None:
    """Over 300 seeds. The variance of the square is 2 (||H^2||_F^2 - diagonal of H^2, squared) / probes."""
    operator = matrix_with(VALUES)
    square = operator.matrix @ operator.matrix
    variance = 2 * float(square.pow(2).sum() - square.diagonal().pow(2).sum()) / 30
    runs = [norm(operator, probes=30, seed=seed) for seed in range(300)]
    values, errors = np.array([r.value for r in runs]), np.array([r.stderr for r in runs])
    assert abs((values**2).mean() - float(square.trace())) < 4 * np.sqrt(variance / 300)
    assert (values**2).std() == pytest.approx(np.sqrt(variance), rel=0.16)  # 4 times 4 % for 300 runs
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.16)


@pytest.mark.parametrize("values", [[2.0], [-2.0, 1.0], [0.0] * 5, [4.0] * 6])
def test_tiny_matrices(matrix_with, values: list[float]) -> None:
    operator = matrix_with(values)
    expected = float(np.linalg.norm(values))
    assert norm(operator, method="exact").value == pytest.approx(expected, abs=1e-12)
    found = norm(operator, probes=50)
    assert abs(found.value - expected) <= 5 * found.stderr + 1e-12


def test_signs_are_exact_for_a_diagonal_matrix(matrix_with) -> None:
    operator = matrix_with(VALUES)
    operator.matrix = torch.diag(torch.tensor(VALUES, dtype=torch.float64))
    found = norm(operator, probes=2)
    assert found.value == pytest.approx(float(np.linalg.norm(VALUES)), rel=1e-12) and found.stderr == 0


def test_large_entries_do_not_overflow_in_single_precision(matrix_with) -> None:
    operator = matrix_with([1e25] * 4, torch.float32)
    assert norm(operator).value == pytest.approx(2e25, rel=1e-5)


def test_it_stops_when_the_error_is_small_enough(matrix_with) -> None:
    operator = matrix_with(VALUES)
    found = norm(operator, probes=5000, rel_error=0.05)
    assert 30 <= found.matvecs == operator.products < 1000 and found.stderr <= 0.05 * found.value
    with pytest.warns(ConvergenceWarning, match="of the Frobenius norm is .* after 12 products"):
        assert norm(operator, probes=12, rel_error=0.001).matvecs == 12


def test_options_out_of_range(objective: Objective) -> None:
    operator = Hessian(objective)
    with pytest.raises(ConfigError, match="one of exact, hutchinson"):
        operator.frobenius_norm(method="hutch")
    with pytest.raises(ConfigError, match="probes is out of range"):
        operator.frobenius_norm(probes=0)
    with pytest.raises(ConfigError, match="rel_error is out of range"):
        operator.frobenius_norm(rel_error=0)
