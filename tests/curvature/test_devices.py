"""One code path: every estimator gives the same numbers wherever the products are computed."""

from __future__ import annotations

import pytest
import torch

from landscape.curvature.density import spectral_density
from landscape.curvature.diagonal import diagonal_estimate
from landscape.curvature.eigenpairs import top_eigenpairs
from landscape.curvature.frobenius import frobenius_estimate
from landscape.curvature.trace import trace_estimate

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
VALUES = [*torch.linspace(9, 3, 8).tolist(), *torch.linspace(-1, 2, 192).tolist()]
COMMON = {"seed": 3, "progress": False}


@pytest.mark.parametrize("device", DEVICES)
def test_estimates_are_the_same_on_every_device(matrix_with, device: str) -> None:
    """1e-9: float64, and sums in another order. Vectors are drawn on the CPU."""
    here, there = matrix_with(VALUES), matrix_with(VALUES)
    there.matrix = there.matrix.to(device)
    there.device = there.matrix.device
    for method in ("hutchinson", "hutch++", "xtrace"):
        for probes, rel_error in ((30, None), (3000, 0.05)):
            ask = {"probes": probes, "method": method, "rel_error": rel_error, **COMMON}
            one, other = trace_estimate(here, **ask), trace_estimate(there, **ask)
            assert (one.value, one.stderr) == pytest.approx((other.value, other.stderr), rel=1e-9)
            assert one.matvecs == other.matvecs
    ask = {"probes": 20, "rel_error": None, **COMMON}
    diagonal = diagonal_estimate(there, method="bekas", **ask)
    assert diagonal.values.device == there.device
    torch.testing.assert_close(diagonal.values.cpu(), diagonal_estimate(here, method="bekas", **ask).values)
    norms = [frobenius_estimate(operator, method="hutchinson", **ask).value for operator in (here, there)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-9)
    density = {"probes": 2, "steps": 8, "grid": 40, "sigma": 0.2, **COMMON}
    curves = [torch.tensor(spectral_density(operator, **density).density) for operator in (here, there)]
    torch.testing.assert_close(*curves)


@pytest.mark.parametrize("device", DEVICES)
def test_eigenpairs_are_the_same_on_every_device(matrix_with, device: str) -> None:
    """With restarts, a second search, and start vectors from the other device."""
    here, there = matrix_with(VALUES), matrix_with(VALUES)
    there.matrix = there.matrix.to(device)
    there.device = there.matrix.device
    ask = {"tol": 1e-9, "which": "LM", "max_matvecs": 2000, "seed": 0}
    one, other = top_eigenpairs(here, 12, **ask), top_eigenpairs(there, 12, **ask)
    assert other.vectors.device == there.device and other.converged.all()
    torch.testing.assert_close(torch.tensor(one.values), torch.tensor(other.values), rtol=1e-9, atol=0)
    torch.testing.assert_close(one.vectors, other.vectors.cpu(), rtol=0, atol=1e-5)
    again = top_eigenpairs(there, 12, **ask, start=one)
    assert again.converged.all() and again.matvecs < other.matvecs
