"""Planes of eigenvectors: they stay eigenvectors, and the loss on them is the parabola that their values say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from landscape.curvature import Hessian, eigen_plane
from landscape.errors import ConfigError, MismatchError
from landscape.objective import Objective
from landscape.surface import Surface, evaluate_surface


@pytest.fixture
def quadratic() -> Objective:
    """L(w) = 3 + sum_i k_i w_i**2 / 2 with curvatures k = 5, 3, 1, -2, of a model at its stationary point w = 0."""
    curvatures = torch.tensor([5.0, 3.0, 1.0, -2.0], dtype=torch.float64)
    model = nn.Linear(4, 1, bias=False).double()
    nn.init.zeros_(model.weight)

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return 3 + (outputs[:, 0] ** 2 * targets).mean()

    return Objective(model, (torch.eye(4).double(), 2 * curvatures), loss)


@pytest.mark.parametrize(
    ("which", "values", "places"),
    [(None, (5, 3), (0, 1)), ("SA", (-2, 1), (3, 2)), ("LM", (5, 3), (0, 1)), ("BE", (5, -2), (0, 3))],
)
def test_the_loss_is_the_parabola_of_the_eigenvalues(quadratic: Objective, which, values, places) -> None:
    """1e-9: the tolerance of the eigenvectors, squared."""
    plane = eigen_plane(Hessian(quadratic), which=which, tol=1e-10)
    surface = evaluate_surface(quadratic, plane, points=5, progress=False)
    a, b = np.meshgrid(surface.alphas, surface.betas, indexing="ij")
    np.testing.assert_allclose(surface.loss, 3 + (values[0] * a**2 + values[1] * b**2) / 2, atol=1e-9)
    for direction, value, place in zip(plane.directions, values, places, strict=True):
        assert direction.length == pytest.approx(1, abs=1e-12) and direction.norm == "unit"
        assert abs(direction.vector[place]) == pytest.approx(1, abs=1e-9)
        assert direction.details["eigenvalue"] == pytest.approx(value, abs=1e-9)
        assert direction.details["residual"] < 1e-8 and direction.details["converged"] is True


def test_vectors_stay_eigenvectors_of_a_net(objective: Objective, exact_hessian, tmp_path: Path) -> None:
    plane = eigen_plane(Hessian(objective), tol=1e-6)
    matrix = exact_hessian(objective)
    for direction in plane.directions:
        residual = torch.linalg.vector_norm(
            matrix @ direction.vector - direction.details["eigenvalue"] * direction.vector
        )
        assert float(residual) == pytest.approx(direction.details["residual"], rel=1e-2, abs=1e-10)
        assert direction.weights == objective.provenance()["weights_sha256"]
    surface = evaluate_surface(objective, plane, points=3, progress=False)
    surface.save(tmp_path / "s.npz")
    loaded = Surface.load(tmp_path / "s.npz")
    assert loaded.directions[0]["details"] == dict(plane.direction1.details)
    assert torch.equal(loaded.plane.direction2.vector, plane.direction2.vector)
    assert loaded.plane.direction2.details == plane.direction2.details


def test_eigenpairs_may_be_given(objective: Objective) -> None:
    pairs = Hessian(objective).top(3)
    plane = eigen_plane(pairs)
    assert torch.equal(plane.direction2.vector, pairs.vectors[:, 1])
    assert plane.direction1.details["eigenvalue"] == pairs.values[0]
    with pytest.raises(ConfigError, match="chosen already"):
        eigen_plane(pairs, which="LA")
    with pytest.raises(MismatchError, match="One eigenpair"):
        eigen_plane(Hessian(objective).top(1))
    with pytest.raises(ConfigError, match="Unknown end of the spectrum 'both'"):
        eigen_plane(Hessian(objective), which="both")
