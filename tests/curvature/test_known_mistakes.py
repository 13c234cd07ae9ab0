"""What other packages get wrong, each in the situation where it shows, with the formula of the wrong answer.

The formulas are written out here; the packages themselves are beside ours in ``benchmarks/curvature_checks.py``.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.linalg import eigh_tridiagonal
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from landscape.curvature import ConvergenceWarning, Hessian
from landscape.curvature.density import spectral_density
from landscape.curvature.eigenpairs import top_eigenpairs
from landscape.curvature.probes import random_normal, random_signs
from landscape.curvature.trace import trace_estimate
from landscape.errors import ConfigError, NonFiniteError
from landscape.loss_checks import ReductionWarning
from landscape.objective import Objective
from landscape.seeding import generator

NET_LIKE = [4.233, 4.0, 3.6, 3.5, 3.45, *np.linspace(-0.05, 0.4, 95).tolist()]
"""Outliers that are near each other, over a bulk, as trained nets have them."""


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def top(operator, k: int = 1, **options):
    asked = {"tol": 1e-3, "which": "LA", "max_matvecs": None, "seed": 0} | options
    return top_eigenpairs(operator, k, **asked)


def trace(operator, **options):
    return trace_estimate(operator, **({"probes": 100, "method": "hutchinson", "seed": 0, "progress": False} | options))


# ------------------------------------------------------------------------------------------------------- the matrix


def batch_hessians(objective: Objective) -> tuple[list[torch.Tensor], list[int]]:
    """The Hessian of each batch's own mean loss, and how many examples each has."""
    found, sizes = [], []
    for inputs, targets in objective.batches():
        found.append(Hessian(Objective(objective.model, (inputs, targets))).dense())
        sizes.append(len(targets))
    return found, sizes


def test_batches_of_different_sizes_count_by_their_examples(objective: Objective, dense: torch.Tensor) -> None:
    """Wrong: (1/B) sum_b H_b, as if the last 8 of 40 examples were as many as the 16 before."""
    each, sizes = batch_hessians(objective)
    assert sizes == [16, 16, 8]
    wrong = torch.stack(each).mean(0)
    weighted = sum(size * matrix for size, matrix in zip(sizes, each, strict=True)) / sum(sizes)
    assert apart(wrong, dense) > 0.02
    torch.testing.assert_close(weighted, dense, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(Hessian(objective).dense(), dense, rtol=1e-8, atol=1e-12)


def test_a_sum_over_the_batch_is_not_scaled_as_a_mean(tiny_problem, dense: torch.Tensor) -> None:
    """Wrong: (1/B) sum_b of what a loss with reduction="sum" gives, which depends on how the data is cut.

    Ours is the mean over examples; one loss per example gives it too. A sum is refused, and in one batch warned of.
    """
    each = Hessian(
        Objective(tiny_problem.model, tiny_problem.data, nn.CrossEntropyLoss(reduction="none"), batch_size=16)
    )
    torch.testing.assert_close(each.dense(), dense, rtol=1e-8, atol=1e-12)
    summed = nn.CrossEntropyLoss(reduction="sum")
    for loss_fn in (summed, lambda outputs, targets: summed(outputs, targets)):
        with pytest.raises(ConfigError, match="mean"):
            Objective(tiny_problem.model, tiny_problem.data, loss_fn, batch_size=16)
    with pytest.warns(ReductionWarning):
        Objective(tiny_problem.model, tiny_problem.data, loss_fn, batch_size=40)
    inputs, targets = tiny_problem.data
    sums = [(inputs[i], targets[i]) for i in (slice(16), slice(16, 32), slice(32, None))]
    wrong = sum(len(y) * Hessian(Objective(tiny_problem.model, (x, y))).dense() for x, y in sums) / len(sums)
    assert apart(wrong, dense) > 10  # sums over batches, averaged over the batches


def test_normalization_is_that_of_evaluation_whatever_mode_the_model_is_in(conv_objective: Objective) -> None:
    """Wrong: the Hessian of the loss in training mode, where each batch is normalized by its own statistics."""
    model = conv_objective.model
    model.train()
    inputs, targets = (torch.cat(part) for part in zip(*conv_objective.batches(), strict=True))
    moving = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    statistics = copy.deepcopy(model[1].state_dict())

    def loss(flat: torch.Tensor) -> torch.Tensor:
        pieces = flat.split([p.numel() for p in moving.values()])
        weights = {name: piece.view_as(p) for (name, p), piece in zip(moving.items(), pieces, strict=True)}
        return F.cross_entropy(functional_call(copy.deepcopy(model), weights, (inputs,)), targets)

    flat = torch.cat([p.flatten() for p in moving.values()])
    wrong = hessian(loss, flat, vectorize=True)
    model.eval()
    expected = hessian(loss, flat, vectorize=True)
    assert apart(wrong, expected) > 0.1
    model.train()
    found = Hessian(Objective(model, (inputs, targets), batch_size=12)).dense()
    assert apart(found, expected) < 1e-8
    assert model.training and all(p.grad is None for p in model.parameters())  # others leave graphs in .grad
    assert all(torch.equal(tensor, statistics[name]) for name, tensor in model[1].state_dict().items())


def test_no_finite_differences_in_single_precision() -> None:
    """Wrong: (g(w + e v) - g(w - e v)) / 2e. Kinks jump and digits cancel: no e is good for a ReLU net in float32."""
    stream = generator(0, "tests", "kinks")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)).double()
    inputs, targets = torch.randn(256, 20, generator=stream, dtype=torch.float64), torch.arange(256) % 3
    exact = Hessian(Objective(net, (inputs, targets)))
    vector = torch.randn(exact.size, generator=stream, dtype=torch.float64)
    expected = exact @ vector
    single = Objective(copy.deepcopy(net).float(), (inputs.float(), targets))
    weights, errors = single.weights(), {}
    for step in (1e-2, 1e-3, 1e-4, 1e-5):
        move = step * vector.float() / vector.norm().float()
        slope = (single.gradient(weights + move) - single.gradient(weights - move)).double() / (2 * step)
        errors[step] = apart(slope * vector.norm(), expected)
    assert min(errors.values()) > 2e-3  # at the best step, which nobody knows
    assert errors[1e-3] > 1
    assert apart((Hessian(single) @ vector).double(), expected) < 1e-5


def test_what_is_not_finite_is_refused_and_not_replaced(tiny_problem) -> None:
    """Wrong: NaN and infinity in the place of means and maxima, or eigenvalues of what is left."""
    with torch.no_grad():
        tiny_problem.model[4].weight[0, 0] = float("inf")
    objective = Objective(tiny_problem.model, tiny_problem.data, batch_size=16)
    assert not objective.gradient().isfinite().all()
    with pytest.raises(NonFiniteError, match="no Hessian"):
        Hessian(objective)


# --------------------------------------------------------------------------------------------------- the eigenvalues


def power_iteration(operator, *, tol: float, most: int = 100) -> float:
    """Stops where the value changes by less than tol of itself."""
    vector, value = random_normal(operator, 0, "power"), None
    vector /= vector.norm()
    for _ in range(most):
        image = operator @ vector
        found = float(vector @ image)
        if value is not None and abs(found - value) / (abs(found) + 1e-6) < tol:
            return found
        value, vector = found, image / image.norm()
    assert value is not None
    return value


def test_a_small_change_does_not_stop_the_search_for_eigenvalues(matrix_with) -> None:
    """Wrong: power iteration until the value changes by less than 0.1 %. Beside a near neighbor it creeps.

    Ours stops by the residual, which bounds the error; the error is its square over the gap.
    """
    operator = matrix_with(NET_LIKE)
    assert abs(power_iteration(operator, tol=1e-3) / 4.233 - 1) > 1e-3
    found = top(operator)
    assert found.converged.all() and abs(found.values[0] / 4.233 - 1) < 1e-5
    assert abs(found.values[0] - 4.233) <= found.residuals[0]
    five = top(operator, 5)
    np.testing.assert_allclose(five.values, NET_LIKE[:5], rtol=1e-4)


def test_the_largest_is_not_the_largest_in_size(matrix_with) -> None:
    """Wrong: power iteration's answer, which is the eigenvalue of the largest size, for the largest one."""
    operator = matrix_with([-10.0, 5.0, *np.linspace(-1, 1, 30).tolist()])
    assert power_iteration(operator, tol=1e-9) == pytest.approx(-10, rel=1e-6)
    assert top(operator).values[0] == pytest.approx(5, rel=1e-6)
    assert top(operator, which="LM").values[0] == pytest.approx(-10, rel=1e-6)


def test_two_steps_are_not_enough_and_that_is_said(matrix_with) -> None:
    """Wrong: max(2 k, ...) steps of Lanczos whatever they have reached, and no word of it."""
    operator = matrix_with(NET_LIKE)
    with pytest.warns(ConvergenceWarning, match="1 of 1 eigenpairs did not converge in 2 products"):
        found = top(operator, max_matvecs=2)
    assert not found.converged[0] and abs(found.values[0] / 4.233 - 1) > 0.05
    assert abs(found.values[0] - 4.233) <= found.residuals[0] + 1.0  # some eigenvalue lies within the residual
    nearest = np.abs(np.array(NET_LIKE) - found.values[0]).min()
    assert nearest <= found.residuals[0]


def plain_lanczos(operator, start: torch.Tensor, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The three-term recurrence alone: Ritz values and the first components of their vectors."""
    vector, before, beta = start / start.norm(), torch.zeros_like(start), 0.0
    diagonal, beside = [], []
    for _ in range(steps):
        image = operator @ vector - beta * before
        alpha = float(vector @ image)
        image -= alpha * vector
        beta, before = float(image.norm()), vector
        vector = image / beta
        diagonal.append(alpha)
        beside.append(beta)
    values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside[:-1]))
    return values, vectors[0]


def test_no_eigenvalue_is_found_twice(matrix_with) -> None:
    """Wrong: Lanczos without re-orthogonalization, which finds converged eigenvalues again and again."""
    values = [1000.0, 100.0, 10.0, *np.linspace(0, 1, 100).tolist()]
    operator = matrix_with(values)
    wrong, _ = plain_lanczos(operator, random_normal(operator, 0, "plain"), 60)
    assert (wrong > 500).sum() > 1
    nodes = spectral_density(operator, probes=1, steps=60, seed=0, grid=2, sigma=None, progress=False).nodes[0]
    assert (nodes > 500).sum() == 1
    np.testing.assert_allclose(top(operator, 4).values, sorted(values)[:-5:-1], rtol=1e-3)


# ---------------------------------------------------------------------------------------------- trace and density


def test_no_early_stop_where_the_running_mean_looks_steady(matrix_with) -> None:
    """Wrong: stop once the mean over the probes changes by less than 0.1 % with one more.

    It stops by chance after few, and its error is far from 0.1 %. Ours takes all, or stops by its standard error.
    """
    operator = matrix_with(NET_LIKE)
    true, used, errors = sum(NET_LIKE), [], []
    for seed in range(40):
        forms: list[float] = []
        for number in range(100):
            signs = random_signs(operator, seed, "trace", number)
            forms.append(float(signs @ (operator @ signs)))
            if number and abs(np.mean(forms) - np.mean(forms[:-1])) / abs(np.mean(forms)) < 1e-3:
                break
        used.append(len(forms))
        errors.append(abs(np.mean(forms) / true - 1))
    assert np.median(used) < 50
    assert np.mean(np.array(errors) > 1e-3) > 0.8  # of the runs that say 1e-3
    inside = []
    for seed in range(40):
        found = trace(operator, seed=seed)
        assert found.matvecs == 100
        asked = trace(operator, seed=seed, rel_error=0.02, probes=3000)
        assert asked.stderr <= 0.02 * abs(asked.value)
        low, high = asked.interval()
        inside.append(low <= true <= high)
    assert np.mean(inside) >= 0.8  # 95 %, of 40 runs: 0.8 has a chance below 1e-3


def test_a_negative_trace_takes_its_probes_too(matrix_with) -> None:
    """Wrong: the change over (mean + 1e-6), without its size: where the mean is negative, two probes are enough."""
    operator = matrix_with([-value for value in NET_LIKE])
    forms: list[float] = []
    mean = 0.0
    for number in range(100):
        signs = random_signs(operator, 0, "trace", number)
        forms.append(float(signs @ (operator @ signs)))
        if abs(np.mean(forms) - mean) / (mean + 1e-6) < 1e-3:
            break
        mean = float(np.mean(forms))
    assert len(forms) == 2
    found = trace(operator, rel_error=0.02, probes=3000)
    assert found.matvecs > 10 and abs(found.value + sum(NET_LIKE)) < 4 * found.stderr <= 0.08 * sum(NET_LIKE) * 1.1


def test_an_estimate_says_how_far_off_it_is(matrix_with) -> None:
    """Wrong: the mean alone. With 100 probes it is 2 or 3 % off here, and nobody would know."""
    operator = matrix_with(NET_LIKE)
    off = operator.matrix - torch.diag(torch.diag(operator.matrix))
    theory = float((2 * off.square().sum() / 100) ** 0.5)
    assert theory / sum(NET_LIKE) > 0.01
    errors = [trace(operator, seed=seed).stderr for seed in range(10)]
    assert np.mean(errors) == pytest.approx(theory, rel=0.1)


def test_the_density_is_weighed_by_first_components(matrix_with) -> None:
    """Wrong: all squared entries of the eigenvector matrix as weights, (m, m): they sum to m, and each node's to 1."""
    operator = matrix_with(NET_LIKE)
    steps = 30
    signs = random_signs(operator, 0, "density", 0)
    nodes, first = plain_lanczos(operator, signs, 12)  # so few that it is still orthogonal
    found = spectral_density(operator, probes=1, steps=12, seed=0, grid=2, sigma=None, progress=False)
    np.testing.assert_allclose(found.nodes[0], nodes, atol=1e-8)
    np.testing.assert_allclose(found.weights[0], first**2, atol=1e-8)
    assert found.weights[0].sum() == pytest.approx(1, abs=1e-12) and found.weights.dtype == np.float64
    form = float(signs @ (operator @ signs))  # of signs; the trace in the mean
    assert len(NET_LIKE) * (found.weights[0] * found.nodes[0]).sum() == pytest.approx(form, rel=1e-9)
    wrong = np.ones(12)  # the squares of each column
    assert abs(len(NET_LIKE) * (wrong / 12 * nodes).sum() / sum(NET_LIKE) - 1) > 2
    whole = spectral_density(operator, probes=20, steps=steps, seed=0, grid=400, sigma=0.05, progress=False)
    assert np.trapezoid(whole.density, whole.grid) == pytest.approx(1, abs=1e-3)
    near = whole.grid > 3
    share = np.trapezoid(whole.density[near], whole.grid[near])
    assert share == pytest.approx(0.05, abs=0.02)  # five of the hundred


def test_the_sum_of_ritz_values_is_no_trace(matrix_with) -> None:
    """Wrong: the plain sum of the Ritz values, with the quadrature's weights left out; it grows with the steps."""
    operator = matrix_with(NET_LIKE)
    sums = []
    for steps in (10, 20, 40):
        found = spectral_density(operator, probes=10, steps=steps, seed=0, grid=2, sigma=None, progress=False)
        sums.append(float(found.nodes.sum(1).mean()))
        traces = len(NET_LIKE) * (found.weights * found.nodes).sum(1)
        assert abs(traces.mean() - sum(NET_LIKE)) < 4 * traces.std(ddof=1) / 10**0.5
    assert sums[0] < sums[1] < sums[2] and abs(sums[0] / sum(NET_LIKE) - 1) > 0.3
