"""Eigenpairs against dense solvers, with multiple eigenvalues, tiny matrices and honest residuals."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from landscape.curvature import ConvergenceWarning, Eigenpairs, Hessian
from landscape.curvature.eigenpairs import top_eigenpairs
from landscape.curvature.search import Search
from landscape.errors import ConfigError, NonFiniteError
from landscape.objective import Objective
from landscape.seeding import seeded


def top(operator, k: int = 1, **options) -> Eigenpairs:
    settings = {"tol": 1e-10, "which": "LA", "max_matvecs": None, "seed": 0} | options
    return top_eigenpairs(operator, k, **settings)


def wanted(values: np.ndarray, k: int, which: str) -> np.ndarray:
    ordered = {"LA": -np.sort(-values), "SA": np.sort(values), "LM": values[np.argsort(-np.abs(values))]}
    return ordered[which][:k]


def check(pairs: Eigenpairs, matrix: torch.Tensor) -> None:
    """True residuals are the ones reported, up to rounding; vectors are orthonormal."""
    vectors = pairs.vectors.double()
    true = torch.linalg.vector_norm(matrix @ vectors - vectors * torch.tensor(pairs.values), dim=0).numpy()
    np.testing.assert_allclose(true, pairs.residuals, rtol=1e-3, atol=1e-12 * float(matrix.norm()))
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(len(pairs.values)).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("which", ["LA", "SA", "LM"])
@pytest.mark.parametrize("k", [1, 4])
def test_eigenvalues_of_the_hessian(any_objective: Objective, exact_hessian, k: int, which: str) -> None:
    """rtol 1e-8: a residual of 1e-9 relative bounds the error of each value; 1e-12 beside eigenvalues near 0."""
    matrix = exact_hessian(any_objective)
    pairs = Hessian(any_objective).top(k, tol=1e-9, which=which)
    expected = wanted(torch.linalg.eigvalsh(matrix).numpy(), k, which)
    np.testing.assert_allclose(pairs.values, expected, rtol=1e-8, atol=1e-12)
    assert pairs.converged.all() and pairs.vectors.shape == (len(matrix), k)
    check(pairs, matrix)


def test_the_default_tolerance_takes_few_products(objective: Objective, dense: torch.Tensor) -> None:
    pairs = Hessian(objective).top()
    exact = float(torch.linalg.eigvalsh(dense)[-1])
    assert pairs.residuals[0] <= 1e-3 * pairs.values[0] and pairs.matvecs <= 15
    assert pairs.values[0] == pytest.approx(exact, rel=1e-3)
    assert (pairs.vectors.abs().amax(0) == pairs.vectors.amax(0)).all()  # the sign is fixed


@pytest.mark.parametrize("values", [[3, 3, 3, 1, 0.5, 0.2], [5, 5, 4, 4, 4, -1, -1], [2.0] * 6, [7, 0, 0, 0, 0, 0, 0]])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_multiple_eigenvalues_are_all_found(matrix_with, values: list[float], k: int) -> None:
    for which in ("LA", "SA", "LM"):
        operator = matrix_with(values)
        pairs = top(operator, k, which=which)
        expected = np.abs(wanted(np.array(values, dtype=float), k, which))
        np.testing.assert_allclose(np.abs(pairs.values), expected, rtol=1e-9, atol=1e-12)
        assert pairs.matvecs == operator.products and pairs.converged.all()
        check(pairs, operator.matrix)


@pytest.mark.filterwarnings("ignore::landscape.curvature.ConvergenceWarning")  # few products are not enough
def test_no_search_takes_more_products_than_it_may(matrix_with) -> None:
    operator = matrix_with([3.0, 3.0, 1.0, 0.5, 0.2, 0.1, 0.0])
    for most in range(2, 25):
        operator.products = 0
        pairs = top(operator, 2, max_matvecs=most, tol=1e-6)
        assert pairs.matvecs == operator.products <= most


@pytest.mark.filterwarnings("ignore::landscape.curvature.ConvergenceWarning")  # beside 0, where no residual is small
def test_a_small_residual_alone_does_not_end_the_second_search(matrix_with) -> None:
    """After one or two steps a Ritz value may lie near some eigenvalue that is not the outermost one."""
    for seed in range(60):  # three of them go wrong where the search may end at once
        pairs = top(matrix_with([-1.0, -2.0, 0.0, 0.0, 0.0, -1.0]), 3, seed=seed)
        np.testing.assert_allclose(pairs.values, 0, atol=1e-9)


@pytest.mark.parametrize("spread", [1.0, 1e-4, 1e-8])
def test_a_cluster_in_a_large_spectrum(matrix_with, spread: float) -> None:
    """Two nearly equal eigenvalues on top of 200 others."""
    values = [10.0, 10.0 - spread, *np.linspace(0, 5, 200).tolist()]
    pairs = top(matrix_with(values), 2, tol=1e-12)
    np.testing.assert_allclose(pairs.values, values[:2], rtol=1e-11)


@given(st.lists(st.floats(-1e3, 1e3).filter(lambda x: x == 0 or abs(x) > 1e-3), min_size=1, max_size=12), st.data())
@pytest.mark.filterwarnings("ignore::landscape.curvature.ConvergenceWarning")  # beside 0, where no residual is small
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_small_spectrum(matrix_with, values: list[float], data) -> None:
    k = data.draw(st.integers(1, len(values)))
    which = data.draw(st.sampled_from(["LA", "SA", "LM"]))
    pairs = top(matrix_with(values), k, which=which)
    expected = np.abs(wanted(np.array(values), k, which))
    np.testing.assert_allclose(np.abs(pairs.values), expected, rtol=1e-8, atol=1e-9)


def test_single_precision(matrix_with) -> None:
    values = [100.0, 30.0, *np.linspace(-1, 1, 60).tolist()]
    operator = matrix_with(values, torch.float32)
    pairs = top(operator, 2, tol=1e-5)
    assert pairs.vectors.dtype == torch.float32 and pairs.converged.all()
    np.testing.assert_allclose(pairs.values, [100, 30], rtol=1e-5)  # float32 products


def test_an_indefinite_matrix_by_size(matrix_with) -> None:
    pairs = top(matrix_with([-9, 5, 4, -1, 0]), 3, which="LM")
    np.testing.assert_allclose(pairs.values, [-9, 5, 4], rtol=1e-9)


def test_what_did_not_converge_is_marked_and_warned_of(matrix_with) -> None:
    operator = matrix_with(np.linspace(0, 1, 300).tolist())
    with pytest.warns(ConvergenceWarning, match="2 eigenpairs did not converge in 10 products"):
        pairs = top(operator, 2, max_matvecs=10)
    assert not pairs.converged.any() and pairs.matvecs == operator.products == 10
    check(pairs, operator.matrix)
    exact = np.linspace(0, 1, 300)
    assert all(
        np.abs(exact - value).min() <= residual for value, residual in zip(pairs.values, pairs.residuals, strict=True)
    )


def test_seeds_give_the_same_answer(objective: Objective) -> None:
    operator = Hessian(objective)
    first, again, other = (operator.top(2, tol=1e-9, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.vectors, again.vectors)
    np.testing.assert_allclose(other.values, first.values, rtol=1e-8)
    torch.testing.assert_close(other.vectors, first.vectors, rtol=0, atol=1e-6)  # signs too


def test_options_out_of_range(objective: Objective) -> None:
    operator = Hessian(objective)
    for k in (0, -1, 120, 1.5, True):
        with pytest.raises(ConfigError, match="from 1 to P = 119"):
            operator.top(k)
    for tol in (0, -1e-3, float("nan"), "tight"):
        with pytest.raises(ConfigError, match="tol is out of range"):
            operator.top(tol=tol)
    with pytest.raises(ConfigError, match="one of LA, LM, SA"):
        operator.top(which="largest")
    with pytest.raises(ConfigError, match="at least k = 3"):
        operator.top(3, max_matvecs=2)


def test_products_that_are_not_finite(matrix_with) -> None:
    operator = matrix_with([1.0, 2.0, 3.0])
    operator.matrix[1, 1] = float("nan")
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        top(operator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_zeros_converge_beside_each_other(dtype: torch.dtype) -> None:
    """Two of five inputs are 0, so 6 of 18 eigenvalues are; residuals beside them are rounding."""
    for seed in range(8):
        with seeded(seed, "tests", "zeros"):
            model, inputs = nn.Linear(5, 3), torch.randn(20, 5)
        inputs[:, 3:] = 0
        pairs = Hessian(Objective(model.to(dtype), (inputs.to(dtype), torch.arange(20) % 3))).top(4, which="SA")
        np.testing.assert_allclose(pairs.values, 0, atol=10 * torch.finfo(dtype).eps)
        assert pairs.converged.all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_never_called_converged(tiny_problem, dtype: torch.dtype) -> None:
    """Its products are right to 2 or 3 digits; 1e-3 is asked for."""
    objective = Objective(copy.deepcopy(tiny_problem.model).to(dtype), tiny_problem.data)
    with pytest.warns(ConvergenceWarning, match="use float32 weights"):
        pairs = Hessian(objective).top(2)
    assert not pairs.converged.any()
    with pytest.warns(ConvergenceWarning):
        assert (pairs.residuals > 1e-3 * np.abs(pairs.values)).all()
        Hessian(objective).top(1)


def test_rounding_is_no_excuse_for_more_than_the_tolerance(matrix_with) -> None:
    """A residual of 0.5 % of the norm is above a tolerance of 0.1 %, however coarse the numbers are."""
    search = Search(matrix_with([1.0, 0.5], torch.float16), 2, which="LA", tol=1e-3, budget=10, seed=0)
    search.size, search.rounding = 1.0, 0.2
    assert (search.excess(np.array([1.0, 0.0]), np.array([5e-3, 5e-4])) > 0).tolist() == [True, False]


def test_numbers_of_numpy_are_numbers(objective: Objective) -> None:
    operator = Hessian(objective)
    pairs = operator.top(np.int64(2), tol=np.float32(1e-3), max_matvecs=np.int32(100), seed=np.int64(0))
    assert pairs.values.tolist() == operator.top(2).values.tolist()
    assert operator.trace(probes=np.int64(3), progress=False) == operator.trace(probes=3, progress=False)
    density = operator.density(
        probes=np.int64(2), steps=np.int64(3), grid=np.int64(50), sigma=np.float32(0.5), progress=False
    )
    assert density.density.shape == (50,)
