"""The diagonal: exact from unit vectors, unbiased from signs, each entry with its own error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.curvature import ConvergenceWarning, Hessian
from landscape.curvature.diagonal import diagonal_estimate
from landscape.curvature.probes import random_signs
from landscape.curvature.results import DiagonalEstimate
from landscape.errors import ConfigError, MismatchError
from landscape.objective import Objective

VALUES = [30.0, 10.0, *np.linspace(-2, 3, 38).tolist()]


def diagonal(operator, **options) -> DiagonalEstimate:
    defaults = {"probes": 30, "method": "bekas", "rel_error": None, "seed": 0, "progress": False}
    return diagonal_estimate(operator, **(defaults | options))


def test_exact(any_objective: Objective, exact_hessian) -> None:
    matrix = exact_hessian(any_objective)
    found = Hessian(any_objective).diagonal(method="exact", progress=False)
    torch.testing.assert_close(found.values, matrix.diagonal(), rtol=1e-8, atol=1e-12)
    assert not found.stderr.any() and found.matvecs == len(matrix) and found.samples is None and found.complete


def test_on_a_hessian(any_objective: Objective, exact_hessian) -> None:
    matrix = exact_hessian(any_objective)
    found = Hessian(any_objective).diagonal(probes=50, progress=False)
    assert found.matvecs == found.samples == 50 and found.values.dtype == torch.float64
    off = (found.values - matrix.diagonal()).abs() / found.stderr
    assert float(off[found.stderr > 0].max()) < 6  # the largest of up to 205 with 49 degrees of freedom
    exact = (matrix.pow(2).sum(1) - matrix.diagonal() ** 2).sqrt() / 50**0.5  # the formula of the variance
    assert float(found.stderr.norm() / exact.norm()) == pytest.approx(1, rel=0.1)


def test_mean_and_error_are_those_of_the_terms(matrix_with) -> None:
    operator = matrix_with(VALUES)
    terms = torch.stack([(v := random_signs(operator, 4, "diagonal", n)) * (operator @ v) for n in range(7)])
    found = diagonal(operator, probes=7, seed=4)
    torch.testing.assert_close(found.values, terms.mean(0))
    torch.testing.assert_close(found.stderr, terms.std(0) / 7**0.5)
    assert torch.isnan(diagonal(operator, probes=1).stderr).all()


def test_a_diagonal_matrix_is_exact_at_once(matrix_with) -> None:
    operator = matrix_with(VALUES)
    operator.matrix = torch.diag(torch.tensor(VALUES, dtype=torch.float64))
    found = diagonal(operator, probes=2)
    torch.testing.assert_close(found.values, operator.matrix.diagonal())
    assert not found.stderr.any()


@pytest.mark.parametrize("values", [[2.0], [2.0, -1.0], [0.0] * 5])
def test_tiny_matrices(matrix_with, values: list[float]) -> None:
    operator = matrix_with(values)
    exact, found = diagonal(operator, method="exact"), diagonal(operator, probes=200)
    torch.testing.assert_close(exact.values, operator.matrix.diagonal())
    assert bool(((found.values - exact.values).abs() <= 5 * found.stderr + 1e-15).all())


def test_it_stops_when_the_error_is_small_enough(matrix_with) -> None:
    operator = matrix_with(VALUES)
    found = diagonal(operator, probes=5000, rel_error=0.1)
    assert 30 <= found.matvecs == operator.products < 1000
    assert float(found.stderr.norm() / found.values.norm()) <= 0.1
    same = diagonal(operator, probes=found.matvecs)
    assert torch.equal(same.values, found.values)
    with pytest.warns(ConvergenceWarning, match="of the diagonal is .* after 40 products, asked for was 0.01 of"):
        assert diagonal(operator, probes=40, rel_error=0.01).complete


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_comes_back_from_its_file(matrix_with, tmp_path, dtype: torch.dtype) -> None:
    found = diagonal(matrix_with(VALUES, dtype), probes=3)
    assert found.values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for original in (found, diagonal(matrix_with(VALUES, dtype), method="exact")):
        original.save(tmp_path / "d.npz")
        again = DiagonalEstimate.load(tmp_path / "d.npz")
        assert torch.equal(again.values, original.values) and torch.equal(again.stderr, original.stderr)
        assert again.values.dtype == original.values.dtype
        assert (again.matvecs, again.samples, again.complete) == (original.matvecs, original.samples, True)
    assert repr(found).startswith("DiagonalEstimate(P = 40, values ")


def test_options_out_of_range(objective: Objective) -> None:
    operator = Hessian(objective)
    with pytest.raises(ConfigError, match="one of bekas, exact"):
        operator.diagonal(method="xdiag")
    with pytest.raises(ConfigError, match="probes is out of range"):
        operator.diagonal(probes=0)
    for rel_error in (0, -0.1, float("nan"), "small", True):
        with pytest.raises(ConfigError, match="rel_error is out of range"):
            operator.diagonal(rel_error=rel_error)
    with pytest.raises(MismatchError, match="do not belong together"):
        DiagonalEstimate(values=torch.zeros(3), stderr=torch.zeros(2), matvecs=1)
