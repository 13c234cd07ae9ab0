"""Start vectors of an earlier search save products, and never decide what the answer is."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from landscape.curvature import ConvergenceWarning, Eigenpairs, Hessian
from landscape.curvature.eigenpairs import top_eigenpairs
from landscape.errors import MismatchError, NonFiniteError
from landscape.objective import Objective
from landscape.seeding import generator

NET = [*np.linspace(5, 1, 10).tolist(), *(0.7 * np.exp(-np.arange(290) / 30) - 0.05).tolist()]


def top(operator, k: int = 1, **options) -> Eigenpairs:
    return top_eigenpairs(operator, k, **({"tol": 1e-3, "which": "LA", "max_matvecs": None, "seed": 0} | options))


def noise(size: int) -> torch.Tensor:
    entries = torch.randn(size, size, generator=generator(0, "tests", "noise"), dtype=torch.float64)
    return (entries + entries.T) / (8 * size) ** 0.5  # of norm 1/2


def moved(operator, matrix_with, by: float):
    """The operator a little later in training."""
    later = matrix_with([0.0] * operator.size)
    later.matrix = operator.matrix + by * noise(operator.size)
    return later


def assert_right(pairs: Eigenpairs, matrix: torch.Tensor, tol: float) -> None:
    exact = torch.linalg.eigvalsh(matrix).numpy()[::-1][: len(pairs.values)]
    np.testing.assert_allclose(pairs.values, exact, atol=tol * np.abs(exact).max())
    assert pairs.converged.all()


@pytest.mark.parametrize(("k", "tol", "by"), [(5, 1e-3, 1e-4), (5, 1e-3, 0.02), (10, 1e-3, 0.02), (10, 1e-6, 1e-3)])
def test_it_takes_fewer_products_for_a_matrix_that_changed_little(matrix_with, k: int, tol: float, by: float) -> None:
    operator = matrix_with(NET)
    before, later = top(operator, k, tol=tol), moved(operator, matrix_with, by)
    cold, warm = top(later, k, tol=tol), top(later, k, tol=tol, start=before)
    assert warm.matvecs < cold.matvecs
    assert_right(warm, later.matrix, tol)


def test_products_for_pairs_that_are_still_right(matrix_with) -> None:
    """One for each, and the check beside them; two thirds of what a search takes."""
    operator = matrix_with(NET)
    before = top(operator, 10)
    operator.products = 0
    again = top(operator, 10, start=before)
    assert again.matvecs == operator.products <= 20 < 0.7 * before.matvecs
    assert_right(again, operator.matrix, 1e-3)
    few = top(operator, 4, start=before)  # of the ten, the first four are used
    assert few.matvecs == top(operator, 4, start=before.vectors[:, :4]).matvecs < 20


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("spectrum", ["net", "random", "multiple"])
def test_wrong_start_vectors_do_not_change_the_answer(matrix_with, spectrum: str, k: int) -> None:
    """Exact eigenvectors of other eigenvalues are the worst: all that is seen of them says that they are right."""
    values = {"net": NET, "multiple": [3.0] * 4 + [2.0] * 6 + [1.0] * 20 + [0.0] * 70, "random": [0.0] * 200}[spectrum]
    operator = matrix_with(values)
    if spectrum == "random":
        operator.matrix = noise(200)
    vectors = torch.linalg.eigh(operator.matrix)[1]
    starts = {
        "the smallest": vectors[:, :k],
        "one place off": vectors[:, -k - 1 : -1].flip(1),
        "two places off": vectors[:, -k - 2 : -2],
        "one of them": vectors[:, -1],
        "their sum": vectors[:, -k:].sum(1),
        "copies": vectors[:, -2:-1].expand(-1, k),
        "nothing": torch.zeros(operator.size, k),
        "chance": torch.randn(operator.size, k + 5, generator=generator(0, "tests", "chance")),
    }
    for name, start in starts.items():
        pairs = top(operator, k, start=start, max_matvecs=2000)
        exact = torch.linalg.eigvalsh(operator.matrix).numpy()[::-1][:k]
        np.testing.assert_allclose(pairs.values, exact, atol=1e-3 * exact[0], err_msg=name)
        assert pairs.converged.all(), name


def test_wrong_start_vectors_cost_little_more_than_none(matrix_with) -> None:
    """A sum of wrong ones has a random part, so the search is one like any other; exact ones are found out by two."""
    operator = matrix_with(NET)
    vectors = torch.linalg.eigh(operator.matrix)[1]
    cold = top(operator, 10).matvecs
    assert top(operator, 10, start=vectors[:, -15:-5].sum(1)).matvecs <= 1.2 * cold
    assert top(operator, 10, start=vectors[:, :10]).matvecs <= 3 * cold


@pytest.mark.parametrize("seed", range(6))
def test_one_wrong_eigenvector_of_a_crowded_spectrum(matrix_with, seed: int) -> None:
    """The largest is 2 % above the start vector's, and the check beside that needs many steps to see it."""
    operator = matrix_with([1.02, 1.0, *np.linspace(-1, 0.97, 400).tolist()])
    start = torch.linalg.eigh(operator.matrix)[1][:, -2]
    assert top(operator, start=start, seed=seed).values[0] == pytest.approx(1.02, abs=1e-3)


def test_at_the_other_ends(matrix_with) -> None:
    operator = matrix_with([-9.0, 8.0, -7.0, 6.0, *np.linspace(-1, 1, 60).tolist()])
    later = moved(operator, matrix_with, 0.01)
    exact = torch.linalg.eigvalsh(later.matrix).numpy()
    for which, expected in (("SA", np.sort(exact)), ("LM", exact[np.argsort(-np.abs(exact))])):
        warm = top(later, 3, which=which, start=top(operator, 3, which=which))
        np.testing.assert_allclose(warm.values, expected[:3], rtol=1e-4)


def test_what_could_not_be_checked_is_not_called_converged(matrix_with) -> None:
    """The budget ends before the check does, though all residuals are rounding."""
    operator = matrix_with(NET)
    right = torch.linalg.eigh(operator.matrix)[1][:, -4:]
    with pytest.warns(ConvergenceWarning, match="found from the start vectors in .* Raise max_matvecs or leave start"):
        pairs = top(operator, 4, start=right, max_matvecs=9)
    assert not pairs.converged.any() and pairs.matvecs == operator.products <= 9 and pairs.complete
    assert (pairs.residuals < 1e-10).all()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_as_many_as_there_are(matrix_with, size: int) -> None:
    operator = matrix_with([2.0, -1.0, 0.5][:size])
    vectors = torch.linalg.eigh(operator.matrix)[1]
    for k in range(1, size + 1):
        pairs = top(operator, k, start=vectors[:, :k], tol=1e-9)
        np.testing.assert_allclose(pairs.values, sorted([2.0, -1.0, 0.5][:size], reverse=True)[:k], atol=1e-9)
        assert pairs.converged.all()


def test_on_a_hessian(objective: Objective, exact_hessian) -> None:
    """Pairs of a net's weights help with those a step later; tensors of another precision do, too."""
    before = Hessian(objective).top(5)
    with torch.no_grad():
        for weight in objective.model.parameters():
            weight.mul_(1.001)
    matrix = exact_hessian(objective)
    operator = Hessian(objective)
    cold, warm = operator.top(5), operator.top(5, start=before)
    single = operator.top(5, start=before.vectors.float())
    assert max(warm.matvecs, single.matvecs) < cold.matvecs
    assert_right(warm, matrix, 1e-5)
    assert_right(single, matrix, 1e-5)


def test_products_that_are_not_finite(matrix_with) -> None:
    operator = matrix_with([1.0, 2.0, 3.0, 4.0])
    operator.matrix[1, 1] = float("nan")
    with pytest.raises(NonFiniteError, match="A product"):
        top(operator, 2, start=torch.eye(4)[:, :2])


@pytest.mark.parametrize("most", range(4, 40, 3))
def test_the_budget_is_kept(matrix_with, most: int) -> None:
    operator = matrix_with(NET)
    start = top(operator, 4).vectors + 1e-3 * torch.randn(300, 4, generator=generator(0, "tests", "little"))
    operator.products = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pairs = top(operator, 4, start=start, max_matvecs=most)
    assert pairs.matvecs == operator.products <= most


def test_starts_that_cannot_be(objective: Objective) -> None:
    operator = Hessian(objective)
    for start in (torch.ones(118), torch.ones(119, 2, 1), torch.ones(118, 3), [1.0] * 119, "last"):
        with pytest.raises(MismatchError, match="cannot start from this"):
            operator.top(2, start=start)
    bad = torch.ones(119)
    bad[7] = float("nan")
    with pytest.raises(NonFiniteError, match="start vector"):
        operator.top(start=bad)
