"""Traces: exact ones equal the dense matrix's, estimates are unbiased and know their own error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.curvature import ConvergenceWarning, Hessian
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
    with pytest.raises(ConfigError, match=r"one of exact, hutch\+\+, hutchinson, xtrace"):
        operator.trace(method="power")
    for probes in (0, -5, 2.5, True):
        with pytest.raises(ConfigError, match="probes is out of range"):
            operator.trace(probes=probes)
    with pytest.raises(ConfigError, match="at least 3"):
        operator.trace(probes=2, method="hutch++")
    for rel_error in (0, -0.1, float("inf"), "small", True):
        with pytest.raises(ConfigError, match="rel_error is out of range"):
            operator.trace(rel_error=rel_error)


# ------------------------------------------------------------------------------------- stopping by the standard error


@pytest.mark.parametrize(("method", "least"), [("hutchinson", 30), ("hutch++", 48), ("xtrace", 32)])
def test_it_stops_when_the_error_is_small_enough(matrix_with, method: str, least: int) -> None:
    operator = matrix_with([30.0, 10.0, *np.linspace(-2, 3, 98).tolist()])
    found = trace(operator, method=method, probes=4000, rel_error=0.04)
    assert least <= found.matvecs == operator.products < 1000
    assert found.stderr <= 0.04 * abs(found.value) and found.complete
    operator.products = 0
    easy = trace(operator, method=method, probes=4000, rel_error=10.0)
    assert easy.matvecs == operator.products == least  # not before


@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace"])
def test_growing_in_stages_ends_where_going_at_once_does(matrix_with, method: str) -> None:
    """The same vectors, the same products: nothing is thrown away. 1e-9: sums in another order."""
    operator = matrix_with([30.0, 10.0, *np.linspace(-2, 3, 148).tolist()])
    at_once = trace(operator, method=method, probes=131)
    operator.products = 0
    with pytest.warns(ConvergenceWarning, match=r"of the trace is .* after 13[01] products, asked for was 1e-09 of"):
        grown = trace(operator, method=method, probes=131, rel_error=1e-9)
    assert operator.products == grown.matvecs == at_once.matvecs
    assert grown.value == pytest.approx(at_once.value, rel=1e-9)
    assert grown.stderr == pytest.approx(at_once.stderr, rel=1e-6) and grown.samples == at_once.samples


@pytest.mark.parametrize("method", ["hutch++", "xtrace"])
@pytest.mark.parametrize("values", [[3.0], [3.0, -1.0], [2.0] * 20, np.linspace(-1, 3, 40).tolist()])
def test_stages_end_at_the_latest_when_the_basis_is_the_whole_space(matrix_with, method: str, values) -> None:
    operator = matrix_with(values)
    found = trace(operator, method=method, probes=1000, rel_error=1e-10)
    assert found.value == pytest.approx(sum(values), rel=1e-9)
    assert method == "hutch++" or found.stderr == 0
    assert found.stderr <= 1e-10 * abs(found.value) and operator.products == found.matvecs <= 10 * len(values) + 48


def test_a_trace_of_zero_never_stops_early(matrix_with) -> None:
    """A relative error of nothing is not small."""
    operator = matrix_with(np.linspace(-1, 1, 60).tolist())
    with pytest.warns(ConvergenceWarning, match="Raise probes or rel_error"):
        assert trace(operator, probes=50, rel_error=0.01).matvecs == 50
    assert trace(matrix_with([0.0] * 9), probes=100, rel_error=0.01).matvecs == 30  # exactly 0 is exact


def test_hutch_plus_plus_takes_its_error_from_the_rest_only(matrix_with) -> None:
    """The sketch holds the two large eigenvalues; the rest varies as signs outside of it do."""
    operator = matrix_with([1000.0, 500.0, *np.linspace(-1, 1, 58).tolist()])
    found = trace(operator, method="hutch++", probes=60)
    assert found.samples == 20 and 0 < found.stderr < 3


@pytest.mark.parametrize("size", [1, 2])
def test_one_and_two_weights(matrix_with, size: int) -> None:
    for method in ("hutchinson", "hutch++", "xtrace", "exact"):
        operator = matrix_with([2.0, -5.0][:size])
        found = trace(operator, method=method, probes=60)
        assert abs(found.value - sum([2.0, -5.0][:size])) <= 5 * found.stderr + 1e-10
        assert found.matvecs == operator.products


# ---------------------------------------------------------------------------------------------------------- intervals


def test_intervals_use_the_degrees_of_freedom() -> None:
    """Quantiles of the tables: 12.706 with 1 degree, 2.776 with 4, 1.96 of the normal distribution."""
    for samples, width in ((2, 12.706), (5, 2.776), (None, 1.960)):
        low, high = Estimate(1.0, 0.5, 9, samples=samples).interval()
        assert (high - 1) / 0.5 == pytest.approx(width, abs=1e-3) and low == pytest.approx(2 - high)
    assert Estimate(1.0, 0.5, 9).interval(0.5)[1] == pytest.approx(1 + 0.5 * 0.6745, abs=1e-4)
    assert Estimate(3.0, 0.0, 9).interval() == (3.0, 3.0)
    assert np.isnan(Estimate(3.0, float("nan"), 1, samples=1).interval()).all()
    for confidence in (0, 1, 95, float("nan"), "95 %"):
        with pytest.raises(ConfigError, match="confidence is out of range"):
            Estimate(1.0, 0.5, 9).interval(confidence)
