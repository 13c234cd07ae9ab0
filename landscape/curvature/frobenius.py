"""The Frobenius norm, from the lengths of products with random signs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.curvature.probes import random_signs, unit_vectors
from landscape.curvature.products import Products
from landscape.curvature.results import Estimate
from landscape.curvature.sampling import Mean, check_probes, check_rel_error, collect
from landscape.errors import unknown_name
from landscape.progress import progress_bar

METHODS = ("hutchinson", "exact")


def frobenius_estimate(
    operator: Products, *, probes: int, method: str, rel_error: float | None, seed: int, progress: bool
) -> Estimate:
    """Estimate the Frobenius norm; see :meth:`landscape.curvature.Hessian.frobenius_norm`.

    Raises:
        ConfigError: ``method`` is unknown, ``rel_error`` is out of range, or there are no probes.
        KeyboardInterrupt: It came before two probes were done.
    """
    if method not in METHODS:
        raise unknown_name("method for the Frobenius norm", method, METHODS)
    check_probes(probes, 1)
    check_rel_error(rel_error)
    total = operator.size if method == "exact" else probes
    with progress_bar(total, desc="Frobenius norm", unit="product", enabled=progress) as bar:
        if method == "exact":
            squares = []
            for vector in unit_vectors(operator):
                squares.append(_squared_length(operator @ vector))
                bar.update()
            return Estimate(value=float(torch.stack(squares).sum().sqrt()), stderr=0.0, matvecs=total)

        def term(number: int) -> Tensor:
            return _squared_length(operator @ random_signs(operator, seed, "frobenius", number))

        sample = Mean(term, probes, bar, _root)
        complete = collect(sample, what="Frobenius norm", probes=probes, rel_error=rel_error)
    value, stderr = sample.numbers()
    return Estimate(value=value, stderr=stderr, matvecs=sample.matvecs, samples=sample.count, complete=complete)


def _squared_length(vector: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vector, dtype=torch.float64) ** 2


def _root(square: float, stderr: float) -> tuple[float, float]:
    """Return the root of a mean, and its standard error by the delta method: ``stderr / (2 sqrt(square))``."""
    root = math.sqrt(square)
    return root, stderr / (2 * root) if root else stderr
