"""The effective dimension: how many directions the loss determines, by quadrature with a node where it bends."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from landscape.curvature import Estimate
from landscape.curvature.density import probed
from landscape.sharpness.estimates import mean_estimate
from landscape.sharpness.workbench import Workbench


def effective_dimension(bench: Workbench, *, probes: int, steps: int) -> Estimate:
    """Compute the measure "effective_dimension"."""
    hessian, most = bench.hessian, min(steps, bench.hessian.size)
    found, errors, matvecs = [], [], 0
    with bench.bar("effective_dimension", probes * most, "product") as bar:
        for probe in range(probes):
            lanczos = probed(hessian, most, bench.seed, probe, bar)
            matvecs += lanczos.steps
            value, error = _extrapolated(*lanczos.relation())
            found.append(value * hessian.size)
            errors.append(error * hessian.size)
    mean = mean_estimate(np.array(found), matvecs=matvecs)
    unresolved = float(np.mean(errors))  # all probes see one spectrum, so this does not average out
    return replace(mean, stderr=math.hypot(mean.stderr, unresolved))


def _extrapolated(projected: np.ndarray, coupling: np.ndarray) -> tuple[float, float]:
    """Return the middle of what the quadrature is on its way to, and how far the ends are from it.

    Its error falls with the steps, at least as one over their number where eigenvalues crowd about 0, and faster
    elsewhere. So the integral lies between what all steps give and what follows from all and half of them for errors
    that fall so slowly.

    Args:
        projected: (m, m), tridiagonal.
        coupling: (m,).
    """
    steps = len(projected)
    half = steps // 2

    def bound(count: int) -> float:
        beyond = projected[count, count - 1] if count < steps else coupling[-1]
        return _counted(*radau_at_zero(projected[:count, :count], float(beyond)))

    last = bound(steps)
    if not coupling[-1]:  # the probe's whole space: nothing is left out
        return last, 0.0
    if not half:
        return last, math.nan
    reach = (last - bound(half)) * half / (steps - half) / 2
    return last + reach, reach


def _counted(nodes: np.ndarray, weights: np.ndarray) -> float:
    """Integrate lambda / (lambda + 1) over what is positive."""
    positive = np.maximum(nodes, 0)
    return float(weights @ (positive / (positive + 1)))


def radau_at_zero(projected: np.ndarray, beyond: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes and weights of the quadrature that has a node at 0, beside as many as there are steps.

    Where nearly all eigenvalues are about 0, a Ritz value near it holds nearly all weight, and which side of 0 it is on
    changes from step to step. A node at 0 takes this weight; what a function that bends at 0 is integrated to then
    converges steadily. It is exact for polynomials up to degree 2 m.

    Args:
        projected: (m, m) of Lanczos, tridiagonal.
        beyond: What couples the last vector to the next one; where it is 0, the quadrature is exact without more.

    Returns:
        (m + 1,) each, or (m,); weights are not negative and sum to 1.

    Example:
        Two steps on a matrix with the eigenvalues -1, 0 and 1, from a vector that has the same part of each.

        >>> T = np.array([[0.0, (2 / 3) ** 0.5], [(2 / 3) ** 0.5, 0.0]])
        >>> nodes, weights = radau_at_zero(T, (1 / 3) ** 0.5)
        >>> abs(nodes).round(6).tolist(), weights.round(6).tolist()
        ([1.0, 0.0, 1.0], [0.333333, 0.333333, 0.333333])

    References:
        G. Golub, G. Meurant, Matrices, Moments and Quadrature, 2010, section 6.2.
    """
    steps = len(projected)
    last = np.zeros(steps)
    last[-1] = beyond
    matrix = projected
    if beyond:
        try:
            corner = beyond * float(np.linalg.solve(projected, last)[-1])
        except np.linalg.LinAlgError:  # 0 is a node already
            corner = math.inf
        if math.isfinite(corner):
            matrix = np.zeros((steps + 1, steps + 1))
            matrix[:steps, :steps] = projected
            matrix[steps, :steps] = matrix[:steps, steps] = last
            matrix[steps, steps] = corner
    nodes, vectors = np.linalg.eigh(matrix)
    weights = vectors[0] ** 2
    return nodes, weights / weights.sum()
