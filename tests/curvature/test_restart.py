"""Many eigenpairs in little memory: thick restarts change neither the answer nor, by much, its cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.curvature import ConvergenceWarning, Eigenpairs, Hessian, search
from landscape.curvature.eigenpairs import top_eigenpairs
from landscape.curvature.lanczos import Lanczos
from landscape.curvature.probes import random_normal
from landscape.curvature.rows import Rows
from landscape.objective import Objective
from landscape.seeding import generator

SPECTRUM = [*np.linspace(5, 1, 12).tolist(), *(0.7 * np.exp(-np.arange(788) / 60) - 0.05).tolist()]
"""As nets have them: few large ones, a bulk at 0, some below it."""


def top(operator, k: int = 1, **options) -> Eigenpairs:
    return top_eigenpairs(operator, k, **({"tol": 1e-3, "which": "LA", "max_matvecs": None, "seed": 0} | options))


def symmetric(matrix_with, size: int, dtype: torch.dtype = torch.float64):
    """Random entries, indefinite: eigenvalues crowd at both ends."""
    operator = matrix_with([0.0] * size)
    entries = torch.randn(size, size, generator=generator(0, "tests", "entries"), dtype=torch.float64)
    operator.matrix = ((entries + entries.T) / 2).to(dtype)
    operator.dtype = dtype
    return operator


@pytest.fixture
def most_vectors(monkeypatch) -> list[int]:
    """Its only entry: the most vectors that were alive at once, in all bases of a search."""
    most, counts = [0], {}
    append, turn = Rows.append, Rows.turn

    def note(rows: Rows) -> None:
        counts[id(rows)] = len(rows)
        most[0] = max(most[0], sum(counts.values()))

    def counted_append(self: Rows, vector: torch.Tensor) -> None:
        append(self, vector)
        note(self)

    def counted_turn(self: Rows, coefficients: np.ndarray) -> None:
        turn(self, coefficients)
        note(self)

    monkeypatch.setattr(Rows, "append", counted_append)
    monkeypatch.setattr(Rows, "turn", counted_turn)
    monkeypatch.setattr(Rows, "__del__", lambda self: counts.pop(id(self), None), raising=False)
    return most


@pytest.mark.parametrize("which", ["LA", "SA", "LM"])
def test_a_hundred_of_three_hundred(matrix_with, which: str) -> None:
    operator = symmetric(matrix_with, 300)
    exact = torch.linalg.eigvalsh(operator.matrix).numpy()
    order = {"LA": -exact, "SA": exact, "LM": -np.abs(exact)}[which]
    pairs = top(operator, 100, which=which, tol=1e-6)
    expected = exact[np.argsort(order)][:100]
    np.testing.assert_allclose(pairs.values, expected, atol=1e-6 * np.abs(exact).max())
    assert pairs.converged.all() and pairs.matvecs == operator.products < 400
    inner = pairs.vectors.T @ pairs.vectors
    torch.testing.assert_close(inner, torch.eye(100).double(), rtol=0, atol=1e-12)
    true = (operator.matrix @ pairs.vectors - pairs.vectors * torch.tensor(pairs.values)).norm(dim=0)
    np.testing.assert_allclose(true.numpy(), pairs.residuals, rtol=1e-3, atol=1e-11)


def test_a_hundred_in_single_precision(matrix_with) -> None:
    operator = symmetric(matrix_with, 300, torch.float32)
    exact = torch.linalg.eigvalsh(operator.matrix.double()).numpy()[::-1]
    pairs = top(operator, 100)
    assert pairs.vectors.dtype == torch.float32 and pairs.converged.all() and pairs.matvecs < 400
    np.testing.assert_allclose(pairs.values, exact[:100], atol=1e-6 * np.abs(exact).max())
    inner = pairs.vectors.T @ pairs.vectors
    torch.testing.assert_close(inner, torch.eye(100), rtol=0, atol=1e-5)


@pytest.mark.parametrize("k", [1, 8, 40, 100])
def test_memory_is_bounded(matrix_with, most_vectors: list[int], k: int) -> None:
    """64 vectors, or 2 k + 20. Without restarts they would be as many as products, about."""
    operator = symmetric(matrix_with, 500)
    pairs = top(operator, k, tol=1e-9, max_matvecs=4000)
    assert pairs.converged.all()
    assert most_vectors[0] <= max(64, 2 * k + 20) < pairs.matvecs


def test_memory_is_bounded_while_start_vectors_are_checked(matrix_with, most_vectors: list[int]) -> None:
    """The check takes many steps, as the next eigenvalue is close; what was found counts, too."""
    operator = matrix_with(np.linspace(0, 1, 500).tolist())
    right = torch.linalg.eigh(operator.matrix)[1][:, -40:]
    pairs = top(operator, 40, start=right, max_matvecs=2000)
    assert pairs.converged.all() and pairs.matvecs > 110  # 70 steps of the check
    assert most_vectors[0] <= 100


def test_many_copies_stay_within_the_bound(matrix_with, most_vectors: list[int]) -> None:
    operator = matrix_with([*np.linspace(3, 3.001, 30), *[2.0] * 40, *np.linspace(0, 1, 130)])
    pairs = top(operator, 40, tol=1e-6, max_matvecs=4000)
    np.testing.assert_allclose(pairs.values, [*np.linspace(3.001, 3, 30), *[2.0] * 10], rtol=1e-9)
    assert pairs.converged.all() and most_vectors[0] <= 100


@pytest.mark.parametrize(("k", "tol", "most"), [(1, 1e-3, 13), (1, 1e-6, 18), (10, 1e-3, 45), (100, 1e-3, 260)])
def test_products_for_a_spectrum_like_that_of_a_net(matrix_with, k: int, tol: float, most: int) -> None:
    operator = matrix_with(SPECTRUM)
    pairs = top(operator, k, tol=tol)
    np.testing.assert_allclose(pairs.values, sorted(SPECTRUM, reverse=True)[:k], atol=5 * tol**2 + 1e-12)
    assert pairs.converged.all() and pairs.matvecs <= most


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_eigenvalue_of_a_trained_net_takes_few_products(objective: Objective, seed: int) -> None:
    for _ in range(100):
        gradient = objective.gradient().split([weight.numel() for weight in objective.model.parameters()])
        with torch.no_grad():
            for weight, part in zip(objective.model.parameters(), gradient, strict=True):
                weight -= 0.3 * part.view_as(weight)
    operator = Hessian(objective)
    pairs = operator.top(seed=seed)
    exact = float(torch.linalg.eigvalsh(operator.dense())[-1])
    assert pairs.matvecs <= 12 and pairs.values[0] == pytest.approx(exact, rel=1e-4)


def test_restarts_cost_few_products(matrix_with, monkeypatch) -> None:
    operator = symmetric(matrix_with, 400)
    needed = {}
    for room in (24, 10_000):
        monkeypatch.setattr(search, "_ROOM", room)
        monkeypatch.setattr(search, "_SPARE", 20 if room == 24 else 10_000)
        pairs = top(operator, 2, tol=1e-6, max_matvecs=2000)
        assert pairs.converged.all()
        needed[room] = pairs.matvecs
    assert needed[24] < 1.1 * needed[10_000]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_relation_holds_after_restarts(matrix_with, dtype: torch.dtype) -> None:
    """``H Q = Q T + w c^T``, by true residuals of all Ritz pairs; 200 roundings of sums over 60 numbers up to 9."""
    operator = matrix_with([9.0, 5.0, *np.linspace(-1, 1, 58).tolist()], dtype)
    lanczos = Lanczos(operator, random_normal(operator, 0))
    for _ in range(5):
        for _ in range(6):
            lanczos.step()
        values, coefficients, _ = lanczos.ritz()
        lanczos.restart(values[-3:], coefficients[:, -3:])
    lanczos.step()
    values, coefficients, residuals = lanczos.ritz()
    assert lanczos.products == 31 and lanczos.steps == 4
    vectors = torch.stack(list(lanczos.turned(coefficients)), dim=1).double()
    true = (operator.matrix.double() @ vectors - vectors * torch.tensor(values)).norm(dim=0)
    eps = torch.finfo(dtype).eps
    np.testing.assert_allclose(residuals, true.numpy(), atol=200 * 9 * eps)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(4).double(), rtol=0, atol=200 * eps)


def test_what_is_locked_stays_out_of_small_remainders(matrix_with) -> None:
    """Products point along the locked vector but for 1e-10 of them: taken away once, 1e-6 of it would stay."""
    operator = matrix_with([0.0] * 40)
    a, b = torch.eye(40, dtype=torch.float64)[:2]
    small = torch.randn(40, 40, generator=generator(0, "tests", "small"), dtype=torch.float64)
    turn = torch.linalg.qr(small).Q  # so that rounding is that of full vectors
    operator.matrix = turn @ (torch.outer(a, b) + torch.outer(b, a) + 1e-10 * (small + small.T)) @ turn.T
    locked = Rows(operator)
    locked.append(turn @ a)
    lanczos = Lanczos(operator, turn @ b, locked=locked)
    for _ in range(3):
        lanczos.step()
    assert float(lanczos.rows.dots(turn @ a).abs().max()) < 1e-13


def test_vectors_are_rarely_made_orthogonal_twice(matrix_with, monkeypatch) -> None:
    """The known parts of a product are taken away first, so little is left for the pass over the whole basis."""
    operator, passes = symmetric(matrix_with, 300), [0]
    without = Lanczos._orthogonal

    def counted(self: Lanczos, vector: torch.Tensor) -> torch.Tensor:
        passes[0] += 1
        return without(self, vector)

    monkeypatch.setattr(Lanczos, "_orthogonal", counted)
    lanczos = Lanczos(operator, random_normal(operator, 0))
    for _ in range(40):
        lanczos.step()
    assert passes[0] <= 42


def test_a_budget_that_ends_after_a_restart_is_said(matrix_with) -> None:
    operator = matrix_with(np.linspace(0, 1, 500).tolist())
    with pytest.warns(ConvergenceWarning, match="5 eigenpairs did not converge in 90 products"):
        pairs = top(operator, 5, max_matvecs=90)
    assert pairs.matvecs == operator.products == 90 and pairs.complete
    exact = np.linspace(0, 1, 500)
    assert all(np.abs(exact - v).min() <= r for v, r in zip(pairs.values, pairs.residuals, strict=True))
