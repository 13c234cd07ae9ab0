"""Traces: exact ones equal the dense matrix's, estimates are unbiased and know their own error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.curvature import Hessian
from landscape.curvature.results import Estimate
from landscape.curvature.trace import trace_estimate
from landscape.errors import ConfigError
from landscape.objective import Objective


def trace(operator, **options) -> Estimate:
    return trace_estimate(operator, **({"probes": 30, "method": "hutchinson", "seed": 0, "progress": False} | options))


def test_exact(any_objective: Objective, exact_hessian) -> None:
    matrix = exact_hessian(any_objective)
    found = Hessian(any_objective).trace(method="exact", progress=False)
    assert found.value == pytest.approx(float(matrix.trace()), rel=1e-8)  # float64 sums, far below
    assert (found.stderr, found.matvecs) == (0.0, len(matrix))


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_estimates_are_within_4_standard_errors(any_objective: Objective, exact_hessian, method: str) -> None:
    exact, operator = float(exact_hessian(any_objective).trace()), Hessian(any_objective)
    found = operator.trace(method=method, progress=False)
    assert found.matvecs == 100 and found.stderr > 0
    assert abs(found.value - exact) < 4 * found.stderr


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_the_standard_error_is_honest(matrix_with, method: str) -> None:
    """Over 300 seeds: no bias, and the spread is what each run says of itself (its own error is 4 % for 300 runs)."""
    operator = matrix_with([30.0, 10.0, *np.linspace(-2, 3, 38).tolist()])
    runs = [trace(operator, method=method, seed=seed) for seed in range(300)]
    values, errors = np.array([r.value for r in runs]), np.array([r.stderr for r in runs])
    spread, exact = values.std(ddof=1), float(operator.matrix.trace())
    assert abs(values.mean() - exact) < 4 * spread / np.sqrt(300)
    assert np.sqrt((errors**2).mean()) == pytest.approx(spread, rel=0.16)  # 4 times 4 %
    if method == "hutchinson":  # Var = 2 * sum of squares off the diagonal / probes
        off = operator.matrix - torch.diag(torch.diag(operator.matrix))
        assert spread == pytest.approx(float((2 * (off**2).sum() / 30) ** 0.5), rel=0.16)


def test_all_probes_are_always_used(matrix_with) -> None:
    operator = matrix_with([1.0] * 20)  # every probe gives exactly 20: nothing changes after the first
    for method in ("hutchinson", "hutch++"):
        operator.products = 0
        found = trace(operator, probes=50, method=method)
        assert operator.products == found.matvecs == 50
        if method == "hutchinson":
            assert found.value == pytest.approx(20, rel=1e-12)


def test_hutch_plus_plus_is_exact_for_low_rank(matrix_with) -> None:
    """Ten products find a range of rank 5; what is left is rounding."""
    found = trace(matrix_with([9.0, 5.0, 4.0, -3.0, 2.0] + [0.0] * 60), method="hutch++")
    assert found.value == pytest.approx(17, rel=1e-10) and found.stderr < 1e-10


def test_hutch_plus_plus_with_more_probes_than_weights(matrix_with) -> None:
    found = trace(matrix_with([1.0, 2.0, -4.0]), method="hutch++", probes=50)
    assert found.value == pytest.approx(-1, rel=1e-10) and found.matvecs == 50


def test_seeds(objective: Objective) -> None:
    operator = Hessian(objective)
    one, same, other = (operator.trace(probes=5, seed=seed, progress=False) for seed in (1, 1, 2))
    assert one == same != other
    assert np.isnan(operator.trace(probes=1, progress=False).stderr)


def test_options_out_of_range(objective: Objective) -> None:
    operator = Hessian(objective)
    with pytest.raises(ConfigError, match="Did you mean 'hutchinson'"):
        operator.trace(method="hutchison")
    with pytest.raises(ConfigError, match=r"one of exact, hutch\+\+, hutchinson"):
        operator.trace(method="xtrace")
    for probes in (0, -5, 2.5, True):
        with pytest.raises(ConfigError, match="probes is out of range"):
            operator.trace(probes=probes)
    with pytest.raises(ConfigError, match="at least 3"):
        operator.trace(probes=2, method="hutch++")
