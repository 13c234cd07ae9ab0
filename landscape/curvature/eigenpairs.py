"""Eigenpairs at one end of a spectrum, by Lanczos."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from landscape.config import is_number, is_whole
from landscape.curvature.products import Products
from landscape.curvature.results import Eigenpairs
from landscape.curvature.search import Search
from landscape.curvature.unfinished import ConvergenceWarning, InterruptedWarning
from landscape.errors import ConfigError, NonFiniteError, unknown_name
from landscape.objective_checks import check_vectors

ENDS = ("LA", "SA", "LM")


def top_eigenpairs(
    operator: Products,
    k: int,
    *,
    tol: float,
    which: str,
    max_matvecs: int | None,
    seed: int,
    start: Tensor | Eigenpairs | None = None,
) -> Eigenpairs:
    """Compute k eigenpairs; see :meth:`landscape.curvature.Hessian.top`.

    Raises:
        ConfigError: An option is unknown or out of range.
        MismatchError: ``start`` is of another shape.
        NonFiniteError: A product or ``start`` is NaN or infinite.
    """
    _check(operator.size, k, tol, which, max_matvecs)
    budget = max(200, 20 * k) if max_matvecs is None else max_matvecs
    search = Search(operator, k, which=which, tol=tol, budget=budget, seed=seed)
    search.solve(_start_vectors(operator, start, k))
    return _result(search)


def _start_vectors(operator: Products, start: Tensor | Eigenpairs | None, k: int) -> tuple[Tensor, ...]:
    """Return the first k of the vectors given, on the operator's device and in its dtype."""
    if start is None:
        return ()
    vectors = start.vectors if isinstance(start, Eigenpairs) else start
    fix = "Give Eigenpairs or vectors of the same model, or leave start out."
    check_vectors(vectors, operator.size, "The search cannot start from this.", fix=fix)
    vectors = vectors.detach().reshape(len(vectors), -1)[:, :k]
    if not bool(torch.isfinite(vectors).all()):
        raise NonFiniteError("A start vector holds NaN or infinite numbers.", fix="Leave start out.")
    return tuple(vector.to(device=operator.device, dtype=operator.dtype) for vector in vectors.unbind(1))


def _result(search: Search) -> Eigenpairs:
    found, k = search.found, search.k
    assert found is not None
    values, residuals, places = found.values[:k], found.residuals[:k], found.places[:k]
    excess = search.excess(values, residuals)
    trusted = search.proven and not (search.coarse and search.interrupted)
    converged = (excess <= 0) & trusted
    said = _what_is_wrong(search, converged, residuals, excess)
    if said:
        kind = InterruptedWarning if search.interrupted else ConvergenceWarning
        warnings.warn(said, kind, stacklevel=4)
    vectors = torch.empty(search.operator.size, k, dtype=found.rows.dtype, device=found.rows.device)
    for column, place in enumerate(places):
        vector = found.rows[place]
        peak = vector[vector.abs().argmax()]
        vectors[:, column] = torch.where(peak < 0, -vector, vector)
    return Eigenpairs(
        values=values,
        vectors=vectors,
        residuals=residuals,
        matvecs=search.matvecs,
        converged=converged,
        complete=not search.interrupted,
    )


def _what_is_wrong(search: Search, converged: np.ndarray, residuals: np.ndarray, excess: np.ndarray) -> str:
    """Say in words what did not go as asked for; nothing where all did."""
    count, missed = len(converged), int((~converged).sum())
    if search.interrupted:
        return (
            f"Interrupted after {search.matvecs} of at most {search.budget} products: "
            f"{count - missed} of {count} eigenpairs had converged, and further copies of multiple ones may be missing."
        )
    if not missed:
        return ""
    worst = excess.argmax()
    if excess[worst] <= 0:
        return (
            f"{count} eigenpairs were found from the start vectors in {search.matvecs} products, and too few were left "
            "to see whether others belong before them. Raise max_matvecs or leave start out."
        )
    return (
        f"{missed} of {count} eigenpairs did not converge in {search.matvecs} products: "
        f"the largest residual is {residuals[worst]:.3g}, asked for was {residuals[worst] - excess[worst]:.3g}. "
        + (
            f"{search.operator.dtype} is too coarse: use float32 weights."
            if search.coarse
            else "Raise max_matvecs or tol."
        )
    )


def _check(size: int, k: int, tol: float, which: str, max_matvecs: int | None) -> None:
    if which not in ENDS:
        raise unknown_name("end of the spectrum", which, ENDS)
    if not is_whole(k) or not 1 <= k <= size:
        raise ConfigError("k is out of range.", expected=f"an integer from 1 to P = {size}", got=repr(k))
    if not (is_number(tol) and math.isfinite(tol) and tol > 0):
        raise ConfigError("tol is out of range.", expected="a positive number", got=repr(tol), fix="Use 1e-3.")
    if max_matvecs is not None and (not is_whole(max_matvecs) or max_matvecs < k):
        raise ConfigError("max_matvecs is out of range.", expected=f"at least k = {k}", got=repr(max_matvecs))
