"""Spectral density: its quadrature is the dense matrix's own, its curve integrates to one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.curvature import Hessian, SpectralDensity
from landscape.curvature.density import spectral_density
from landscape.curvature.lanczos import Lanczos
from landscape.curvature.probes import random_normal, random_signs
from landscape.errors import ConfigError, MismatchError
from landscape.objective import Objective


def density(operator, **options) -> SpectralDensity:
    defaults = {"probes": 3, "steps": 20, "seed": 0, "grid": 1000, "sigma": None, "progress": False}
    return spectral_density(operator, **(defaults | options))


def test_weights_are_real_not_negative_and_sum_to_one(any_objective: Objective) -> None:
    found = Hessian(any_objective).density(probes=4, steps=10, progress=False)
    assert found.weights.dtype == np.float64 and found.weights.shape == found.nodes.shape == (4, 10)
    assert (found.weights >= 0).all()
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-12)


def test_quadrature_reproduces_the_moments_of_the_dense_hessian(any_objective: Objective, exact_hessian) -> None:
    """Degree 2 * steps - 1 is exact; 1e-8 of the largest eigenvalue's power, in float64."""
    matrix = exact_hessian(any_objective)
    operator = Hessian(any_objective)
    found = operator.density(probes=3, steps=6, progress=False)
    size = float(torch.linalg.eigvalsh(matrix).abs().max())
    for probe in range(3):
        vector = random_signs(operator, 0, "density", probe) / len(matrix) ** 0.5
        moment = vector
        for degree in range(12):
            expected = float(vector @ moment)
            quadrature = float((found.weights[probe] * found.nodes[probe] ** degree).sum())
            assert quadrature == pytest.approx(expected, rel=1e-8, abs=1e-8 * size**degree)
            moment = matrix @ moment


def test_weights_are_those_of_the_eigenvectors(objective: Objective, dense: torch.Tensor) -> None:
    """With all steps nodes are eigenvalues, and a weight is the squared part of the probe along the eigenvector."""
    values, vectors = torch.linalg.eigh(dense)
    operator = Hessian(objective)
    found = operator.density(probes=2, steps=len(dense), progress=False)
    edges = values[1:][(values[1:] - values[:-1]) > 1e-3] - 5e-4  # between eigenvalues that stand apart
    assert len(edges) > 15
    for probe in range(2):
        probed = (vectors.T @ (random_signs(operator, 0, "density", probe) / len(dense) ** 0.5)) ** 2
        for edge in edges.tolist():
            expected = float(probed[values < edge].sum())
            assert float(found.weights[probe][found.nodes[probe] < edge].sum()) == pytest.approx(expected, abs=1e-8)


def test_mean_times_size_is_the_trace(any_objective: Objective, exact_hessian) -> None:
    matrix = exact_hessian(any_objective)
    operator = Hessian(any_objective)
    found = operator.density(probes=20, steps=2, progress=False)
    traces = (found.weights * found.nodes).sum(1) * len(matrix)
    for probe in (0, 7):
        vector = random_signs(operator, 0, "density", probe)
        assert traces[probe] == pytest.approx(float(vector @ matrix @ vector), rel=1e-8)
    assert abs(traces.mean() - float(matrix.trace())) < 4 * traces.std(ddof=1) / np.sqrt(20)


def test_the_curve(matrix_with) -> None:
    operator = matrix_with([5.0] * 10 + [-1.0] * 30)
    found = density(operator, probes=200, sigma=0.1)
    step = np.diff(found.grid)
    assert (found.density[:-1] * step).sum() == pytest.approx(1, rel=1e-3)  # a sum for an integral
    near = (found.grid[:-1] > 4) & (found.grid[:-1] < 6)
    share, margin = (found.density[:-1] * step)[near].sum(), (found.band[:-1] * step)[near].sum()
    assert abs(share - 0.25) < 4 * margin and margin < 0.02
    peak = np.abs(found.grid - 5).argmin()
    bump = 1 / (0.1 * np.sqrt(2 * np.pi))
    assert abs(found.density[peak] - 0.25 * bump) < 4 * found.band[peak]
    assert found.grid[0] == pytest.approx(-1.5) and found.grid[-1] == pytest.approx(5.5)  # 5 sigma beyond


def test_an_exhausted_space_fills_up_with_weights_of_zero(matrix_with) -> None:
    found = density(matrix_with([5.0] * 10 + [-1.0] * 30), steps=7)
    assert found.nodes.shape == (3, 7)
    np.testing.assert_allclose(found.nodes[:, :2], [[-1, 5]] * 3, rtol=1e-9)
    assert (found.weights[:, 2:] == 0).all()
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-12)


def test_more_steps_than_weights(matrix_with) -> None:
    found = density(matrix_with([1.0, 2.0]), steps=50)
    assert found.nodes.shape == (3, 2) and found.provenance["steps"] == 2


def test_the_band_is_the_standard_error_over_probes(objective: Objective) -> None:
    operator = Hessian(objective)
    grid = np.linspace(-1, 3, 50)
    whole = operator.density(probes=4, steps=8, grid=grid, sigma=0.2, progress=False)
    curves = []
    for nodes, weights in zip(whole.nodes, whole.weights, strict=True):
        bumps = np.exp(-((grid[:, None] - nodes) ** 2) / (2 * 0.2**2)) / (0.2 * np.sqrt(2 * np.pi))
        curves.append(bumps @ weights)
    np.testing.assert_allclose(whole.density, np.mean(curves, axis=0), rtol=1e-10)
    np.testing.assert_allclose(whole.band, np.std(curves, axis=0, ddof=1) / 2, rtol=1e-8, atol=1e-300)
    assert np.isnan(operator.density(probes=1, steps=8, progress=False).band).all()


def test_default_sigma(matrix_with) -> None:
    assert density(matrix_with([0.0, 4.0, 10.0])).sigma == pytest.approx(0.1)
    assert density(matrix_with([4.0, 4.0])).sigma == pytest.approx(0.04)


def test_round_trip(objective: Objective, tmp_path: Path) -> None:
    found = Hessian(objective).density(probes=2, steps=4, progress=False)
    found.save(tmp_path / "d.npz")
    loaded = SpectralDensity.load(tmp_path / "d.npz")
    for name in ("grid", "density", "band", "nodes", "weights"):
        assert getattr(loaded, name).tobytes() == getattr(found, name).tobytes()
    assert loaded.sigma == found.sigma and loaded.provenance == found.provenance
    assert loaded.provenance["operator"] == "Hessian" and loaded.provenance["probes"] == 2
    with pytest.raises(MismatchError, match="weights does not fit"):
        SpectralDensity(grid=[0], density=[0], band=[0], nodes=[[0]], weights=[[0, 1]], sigma=1, provenance={})


def test_options_out_of_range(objective: Objective) -> None:
    operator = Hessian(objective)
    for name in ("probes", "steps"):
        for value in (0, -1, 1.5, True):
            with pytest.raises(ConfigError, match=f"{name} is out of range"):
                operator.density(**{name: value})
    for sigma in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="sigma is out of range"):
            operator.density(sigma=sigma)
    for grid in (1, True, [], [float("nan")], "fine"):
        with pytest.raises(ConfigError, match="grid is out of range"):
            operator.density(grid=grid)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lanczos_stays_orthogonal_past_convergence(matrix_with, dtype: torch.dtype) -> None:
    """Without re-orthogonalization a spectrum like this one loses it entirely within 30 steps."""
    operator = matrix_with([1e4, 1e3, 100.0, *np.linspace(0, 1, 100).tolist()], dtype)
    lanczos = Lanczos(operator, random_normal(operator, 0))
    for _ in range(60):
        lanczos.step()
    projected_by_lanczos = lanczos.ritz()
    basis = torch.stack(list(lanczos.turned(np.eye(60))), dim=1).double()
    eps = torch.finfo(dtype).eps
    assert float((basis.T @ basis - torch.eye(60)).abs().max()) < 100 * eps  # sums over 103 numbers
    projected = basis.T @ operator.matrix.double() @ basis
    values, vectors, _ = projected_by_lanczos
    np.testing.assert_allclose(projected.numpy(), (vectors * values) @ vectors.T, atol=1e4 * 100 * eps)
    assert np.abs(np.triu(projected.numpy(), 2)).max() < 1e4 * 100 * eps  # tridiagonal
