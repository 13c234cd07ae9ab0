"""XTrace: its formulas are those of its definition, it is exact where it can be, and it knows its own error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.curvature import Hessian
from landscape.curvature.probes import random_normal
from landscape.curvature.results import Estimate
from landscape.curvature.sketch import Sketch
from landscape.curvature.trace import trace_estimate
from landscape.curvature.xtrace import XTrace
from landscape.errors import ConfigError
from landscape.objective import Objective
from landscape.progress import progress_bar


def xtrace(operator, probes: int = 30, **options) -> Estimate:
    return trace_estimate(operator, **({"method": "xtrace", "probes": probes, "seed": 0, "progress": False} | options))


def sample_of(operator, vectors: int, seed: int = 0) -> XTrace:
    sample = XTrace(operator, vectors, seed, progress_bar(1, desc="", unit="", enabled=False))
    while not sample.finished:
        sample.draw()
    return sample


def term(matrix: torch.Tensor, test: torch.Tensor, rest: torch.Tensor) -> float:
    """The definition: the trace in the range of ``H rest``, and what a test vector says of the remainder."""
    basis = torch.linalg.qr(matrix @ rest).Q
    outside = test - basis @ (basis.T @ test)
    scale = (len(matrix) - rest.shape[1]) / float(outside @ outside)
    return float((basis.T @ matrix @ basis).trace()) + scale * float(outside @ matrix @ outside)


@pytest.mark.parametrize("vectors", [2, 3, 7])
def test_terms_and_their_changes_are_those_of_the_definition(matrix_with, vectors: int) -> None:
    """1e-9: small products in float64, of numbers up to 30."""
    operator = matrix_with([30.0, 10.0, *np.linspace(-2, 3, 23).tolist()])
    drawn = torch.stack([random_normal(operator, 0, "xtrace", number) for number in range(vectors)], dim=1)
    terms, changes = sample_of(operator, vectors)._terms()
    for i in range(vectors):
        others = [number for number in range(vectors) if number != i]
        expected = term(operator.matrix, drawn[:, i], drawn[:, others])
        assert terms[i] == pytest.approx(expected, abs=1e-9)
        for j in others:
            fewer = term(operator.matrix, drawn[:, i], drawn[:, [number for number in others if number != j]])
            assert changes[j, i] == pytest.approx(expected - fewer, abs=1e-9)


def test_the_variance_is_unbiased_where_that_of_the_terms_alone_is_too_small(matrix_with) -> None:
    """Over 300 seeds; the spread of their values is known to 4 %."""
    operator = matrix_with((1 / np.arange(1, 41)).tolist())
    values, variances, alone = [], [], []
    for seed in range(300):
        sample = sample_of(operator, 14, seed)
        terms, changes = sample._terms()
        values.append(terms.mean())
        alone.append(terms.var(ddof=1) / 14)
        variances.append(alone[-1] + (changes * changes.T).sum() / (14 * 13))
    assert sample.numbers() == pytest.approx((values[-1], np.sqrt(variances[-1])))
    spread = np.std(values, ddof=1)
    assert abs(np.mean(values) - float(operator.matrix.trace())) < 4 * spread / np.sqrt(300)
    assert np.sqrt(np.mean(variances)) == pytest.approx(spread, rel=0.16)
    assert np.sqrt(np.mean(alone)) < 0.84 * spread


def test_on_a_hessian(any_objective: Objective, exact_hessian) -> None:
    matrix = exact_hessian(any_objective)
    operator = Hessian(any_objective)
    found = operator.trace(method="xtrace", probes=61, progress=False)
    assert found.matvecs == 60 and found.samples == 30 and found.complete
    low, high = found.interval(0.9999)
    assert low < float(matrix.trace()) < high and 0 < found.stderr < 0.2 * float(matrix.trace())
    exact = operator.trace(method="xtrace", probes=len(matrix), progress=False)
    assert (exact.stderr, exact.matvecs) == (0.0, len(matrix))
    assert exact.value == pytest.approx(float(matrix.trace()), rel=1e-8)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("probes", [4, 5, 9, 50])
def test_any_small_matrix(matrix_with, size: int, probes: int) -> None:
    operator = matrix_with([3.0, -1.0, 0.0, 2.0, 0.5][:size])
    for rel_error in (None, 1e-9):
        operator.products = 0
        found = xtrace(operator, probes, rel_error=rel_error) if probes >= size else xtrace(operator, probes)
        assert operator.products == found.matvecs <= probes
        if probes >= size:
            assert found.stderr == 0 and found.value == pytest.approx(float(operator.matrix.trace()), abs=1e-12)
        else:
            assert np.isfinite([found.value, found.stderr]).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("values", [[9.0, 5.0, 4.0, -3.0, 2.0], [4.0] * 3, [1e-6, 1e-7], []])
def test_low_rank_is_exact(matrix_with, values: list[float], dtype: torch.dtype) -> None:
    """The range is exhausted after as many vectors as the rank, at most five of twelve: 100 times the rounding."""
    operator = matrix_with(values + [0.0] * (65 - len(values)), dtype)
    found = xtrace(operator, 24)
    size = 100 * torch.finfo(dtype).eps * max([0.0, *np.abs(values)])
    assert found.value == pytest.approx(sum(values), abs=size) and found.stderr <= size
    assert found.matvecs == 24


def test_multiples_of_the_identity_are_exact(matrix_with) -> None:
    """The scaling makes it so: what a vector says of the remainder is its mean curvature, whatever the vector."""
    found = xtrace(matrix_with([-2.5] * 40), 12)
    assert found.value == pytest.approx(-100, rel=1e-12) and found.stderr < 1e-10


def test_single_precision_is_as_good(matrix_with) -> None:
    values = [300.0, 100.0, *np.linspace(-2, 3, 98).tolist()]
    single, double = (xtrace(matrix_with(values, dtype), 40) for dtype in (torch.float32, torch.float64))
    assert single.value == pytest.approx(double.value, rel=1e-5)  # of products with 300 in float32
    assert single.stderr == pytest.approx(double.stderr, rel=1e-3)


def test_it_beats_the_others_where_few_eigenvalues_dominate(matrix_with) -> None:
    operator = matrix_with((0.8 ** np.arange(100)).tolist())
    errors = {}
    for method in ("hutchinson", "hutch++", "xtrace"):
        runs = [trace_estimate(operator, probes=36, method=method, seed=s, progress=False) for s in range(30)]
        errors[method] = np.sqrt(np.mean([(run.value - float(operator.matrix.trace())) ** 2 for run in runs]))
    assert errors["xtrace"] < 0.7 * errors["hutch++"] < 0.35 * errors["hutchinson"]


def test_a_sketch_is_a_basis_of_the_range(matrix_with) -> None:
    """Also where the range ends: the basis stays orthonormal, and ``H W = Q R``."""
    operator = matrix_with([5.0, -4.0, 3.0] + [0.0] * 30)
    bar = progress_bar(1, desc="", unit="", enabled=False)
    sketch = Sketch(operator, lambda number: random_normal(operator, 0, "w", number), 0, bar)
    for _ in range(6):
        sketch.grow()
    basis = torch.stack(list(sketch.basis), dim=1)
    drawn = torch.stack([random_normal(operator, 0, "w", number) for number in range(6)], dim=1)
    torch.testing.assert_close(basis.T @ basis, torch.eye(6).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(basis @ torch.tensor(sketch.triangle()), operator.matrix @ drawn, rtol=0, atol=1e-11)
    inside = basis.T @ operator.matrix @ basis
    np.testing.assert_allclose(sketch.inside(), inside, atol=1e-12)
    assert sketch.trace() == pytest.approx(float(inside.trace())) and sketch.matvecs == operator.products == 12
    assert (np.diag(sketch.triangle())[3:] == 0).all()


def test_products_that_are_not_finite_give_nan(matrix_with) -> None:
    operator = matrix_with([1.0] * 30)
    operator.matrix[3, 3] = float("nan")
    found = xtrace(operator, 10)
    assert np.isnan(found.value) and np.isnan(found.stderr)


def test_too_few_probes(matrix_with) -> None:
    with pytest.raises(ConfigError, match="at least 4"):
        xtrace(matrix_with([1.0, 2.0]), 3)
