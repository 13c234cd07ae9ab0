"""The effective dimension: against spectra that are known, with an error that covers what few steps do not resolve."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from landscape.curvature import Hessian
from landscape.curvature.lanczos import Lanczos
from landscape.curvature.probes import random_signs
from landscape.objective import Objective
from landscape.sharpness.dimension import radau_at_zero
from tests.curvature.nets import net_objective
from tests.sharpness.problems import drawn, found


def dimension(values: torch.Tensor) -> float:
    positive = values.clamp(min=0)
    return float((positive / (positive + 1)).sum())


def like_a_net(size: int = 2000, bulk: float = -7.0, spread: float = 2.0) -> torch.Tensor:
    """A few outliers, and a bulk of both signs that crowds about 0."""
    sizes = torch.exp(drawn(size - 12, name="sizes") * spread + bulk)
    signs = drawn(size - 12, name="signs").sign()
    return torch.cat([torch.linspace(2, 30, 12).double(), (sizes * signs).clamp(-0.9, 0.9)])


class Diagonal(nn.Module):
    """``sum_i k_i w_i**2 / 2`` for every example."""

    def __init__(self, curvatures: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("curvatures", curvatures)
        self.w = nn.Parameter(torch.zeros_like(curvatures))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.curvatures @ self.w**2 / 2).expand(len(x))


def of_spectrum(values: torch.Tensor) -> Objective:
    data = torch.zeros(1, 1).double(), torch.zeros(1).double()
    return Objective(Diagonal(values), data, lambda outputs, targets: outputs.clone())


def steps_of(objective: Objective, steps: int) -> tuple[np.ndarray, np.ndarray]:
    hessian = Hessian(objective)
    lanczos = Lanczos(hessian, random_signs(hessian, 0, "density", 0))
    for _ in range(steps):
        lanczos.step()
    return lanczos.relation()


@pytest.mark.parametrize("steps", [20, 30, 50, 80])
@pytest.mark.parametrize(("size", "bulk", "spread"), [(2000, -7.0, 2.0), (600, -5.0, 2.0), (600, -8.0, 3.0)])
def test_the_error_covers_what_the_steps_do_not_resolve(size: int, bulk: float, spread: float, steps: int) -> None:
    """Of a diagonal matrix vectors of signs see the sum itself, so all error is that of the quadrature."""
    spectrum = like_a_net(size, bulk, spread)
    value = found(of_spectrum(spectrum), "effective_dimension", steps=steps, probes=2)
    exact = dimension(spectrum)
    assert value.matvecs == 2 * steps
    assert abs(value.value - exact) <= 1.3 * value.stderr
    assert steps < 50 or value.stderr < 0.06 * exact


def test_without_the_node_at_0_it_jumps_from_step_to_step() -> None:
    """Wrong: the plain quadrature, of which all probes say nearly the same, so their spread is no error."""
    spectrum = like_a_net()
    size, exact = len(spectrum), dimension(spectrum)
    projected, coupling = steps_of(of_spectrum(spectrum), 50)
    plain, with_node = [], []
    for count in range(40, 50):
        nodes, vectors = np.linalg.eigh(projected[:count, :count])
        plain.append(size * float(vectors[0] ** 2 @ (np.maximum(nodes, 0) / (np.maximum(nodes, 0) + 1))))
        nodes, weights = radau_at_zero(projected[:count, :count], float(projected[count, count - 1]))
        with_node.append(size * float(weights @ (np.maximum(nodes, 0) / (np.maximum(nodes, 0) + 1))))
    assert np.ptp(plain) > 4 * np.ptp(with_node)
    assert with_node == sorted(with_node) and with_node[-1] < exact
    assert max(plain) > exact > min(plain) and coupling[-1] > 0


@pytest.mark.parametrize("name", ["cnn", "residual", "attention"])
def test_of_a_net(name: str, exact_dimension) -> None:
    objective = net_objective(name)
    for steps in (12, 25):
        value = found(objective, "effective_dimension", steps=steps, probes=6)
        assert abs(value.value - exact_dimension(objective)) <= 3 * value.stderr


@pytest.fixture
def exact_dimension():
    return lambda objective: dimension(torch.linalg.eigvalsh(Hessian(objective).dense()))


def test_all_steps_are_exact() -> None:
    spectrum = like_a_net(30)
    value = found(of_spectrum(spectrum), "effective_dimension")
    assert value.value == pytest.approx(dimension(spectrum), rel=1e-9) and value.stderr < 1e-9


def test_few_steps_and_probes_do_not_know_their_error() -> None:
    spectrum = like_a_net(30)
    objective = of_spectrum(spectrum)
    assert math.isnan(found(objective, "effective_dimension", steps=1).stderr)
    assert math.isnan(found(objective, "effective_dimension", probes=1).stderr)
    for steps in (2, 3, 4, 5):
        assert found(objective, "effective_dimension", steps=steps).stderr > 0


# ------------------------------------------------------------------------------------------------------ the quadrature


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_the_quadrature_is_exact_up_to_twice_its_steps(steps: int) -> None:
    """Moments of the spectral measure, 1e-9 of the largest eigenvalue's power."""
    spectrum = like_a_net(40)
    objective = of_spectrum(spectrum)
    projected, coupling = steps_of(objective, steps)
    nodes, weights = radau_at_zero(projected, float(coupling[-1]))
    assert len(nodes) == steps + 1 and np.abs(nodes).min() < 1e-9 * 30
    assert (weights >= 0).all() and weights.sum() == pytest.approx(1, rel=1e-12)
    for degree in range(2 * steps + 1):
        expected = float((spectrum**degree).mean())
        assert weights @ nodes**degree == pytest.approx(expected, rel=1e-8, abs=1e-9 * 30**degree)


def test_a_quadrature_that_has_the_node_already() -> None:
    """T is singular: its own nodes are 0 and 2, and stay."""
    nodes, weights = radau_at_zero(np.array([[1.0, 1.0], [1.0, 1.0]]), 0.5)
    assert nodes == pytest.approx([0, 2], abs=1e-12) and weights == pytest.approx([0.5, 0.5])
    nodes, weights = radau_at_zero(np.zeros((1, 1)), 0.5)
    assert nodes.tolist() == [0] and weights.tolist() == [1]


def test_an_exhausted_space_is_left_as_it_is() -> None:
    nodes, weights = radau_at_zero(np.diag([1.0]), 0.0)
    assert nodes.tolist() == [1] and weights.tolist() == [1]
