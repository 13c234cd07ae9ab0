"""Eigenpairs at one end of a spectrum, by Lanczos."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.lanczos import Lanczos, random_normal
from landscape.curvature.products import Products
from landscape.curvature.results import Eigenpairs
from landscape.errors import ConfigError, unknown_name

ENDS = ("LA", "SA", "LM")
_ROUNDING = 200  # residuals below this many times the precision, relative to the norm of H, are rounding of products
_SETTLED = 10  # steps before a second search may stop early: a small residual alone does not say which value is near


class ConvergenceWarning(UserWarning):
    """An iteration stopped before its tolerance was met; what it returned says how far it came."""


def top_eigenpairs(
    operator: Products, k: int, *, tol: float, which: str, max_matvecs: int | None, seed: int
) -> Eigenpairs:
    """Compute k eigenpairs; see :meth:`landscape.curvature.Hessian.top`.

    Raises:
        ConfigError: An option is unknown or out of range.
        NonFiniteError: A product is NaN or infinite.
    """
    _check(operator.size, k, tol, which, max_matvecs)
    search = _Search(
        operator, which, tol if k == 1 else tol / 2, max(200, 20 * k) if max_matvecs is None else max_matvecs
    )
    found = search.run(k, seed)
    while k > 1 and found.count < operator.size and search.left > 1:
        better = search.missed(found, seed)
        if better is None:
            break
        found = found.with_one(better, which)
    limits = np.maximum(tol * np.abs(found.values), search.rounding)
    return _result(found, limits, search)


def _result(found: _Pairs, limits: np.ndarray, search: _Search) -> Eigenpairs:
    converged = found.residuals <= limits
    if not converged.all():
        worst = found.residuals.argmax()
        warnings.warn(
            f"{int((~converged).sum())} of {found.count} eigenpairs did not converge in {search.matvecs} products: "
            f"the largest residual is {found.residuals[worst]:.3g}, asked for was {limits[worst]:.3g}. "
            "Raise max_matvecs or tol.",
            ConvergenceWarning,
            stacklevel=4,
        )
    peaks = found.vectors.gather(0, found.vectors.abs().argmax(0, keepdim=True))
    return Eigenpairs(
        values=found.values,
        vectors=found.vectors * torch.where(peaks < 0, -1.0, 1.0).to(found.vectors.dtype),
        residuals=found.residuals,
        matvecs=search.matvecs,
        converged=converged,
    )


def _rank(values: np.ndarray, which: str) -> np.ndarray:
    """Order values by what was asked for, the wanted ones first."""
    keys = {"LA": -values, "SA": values, "LM": -np.abs(values)}
    return np.argsort(keys[which], kind="stable")


@dataclass(frozen=True)
class _Pairs:
    values: np.ndarray
    vectors: Tensor
    residuals: np.ndarray

    @property
    def count(self) -> int:
        return len(self.values)

    def with_one(self, other: _Pairs, which: str) -> _Pairs:
        """Take one more pair in and leave the least wanted one out."""
        values = np.concatenate([self.values, other.values])
        order = _rank(values, which)[: self.count]
        vectors = torch.cat([self.vectors, other.vectors], dim=1)
        residuals = np.concatenate([self.residuals, other.residuals])
        return _Pairs(values[order], vectors[:, torch.as_tensor(order, device=vectors.device)], residuals[order])


class _Search:
    """Lanczos runs over one operator, with a common budget of products."""

    def __init__(self, operator: Products, which: str, tol: float, budget: int) -> None:
        self.operator, self.which, self.tol, self.budget = operator, which, tol, budget
        self.matvecs = 0
        self.rounding = 0.0

    @property
    def left(self) -> int:
        return self.budget - self.matvecs

    def run(self, k: int, seed: int, locked: _Pairs | None = None) -> _Pairs:
        """Search until k pairs have converged, the space is exhausted, or the budget is spent."""
        vectors = None if locked is None else locked.vectors
        start = random_normal(self.operator, seed, "lanczos", 0 if locked is None else self.matvecs)
        lanczos = Lanczos(self.operator, start, locked=vectors, seed=seed)
        check = k
        while not lanczos.exhausted and (self.left > 0 or lanczos.steps < k):
            lanczos.step()
            self.matvecs += 1
            if lanczos.steps >= check:
                check = lanczos.steps + max(1, lanczos.steps // 8)
                if self._done(lanczos, k, locked):
                    break
        values, coefficients, residuals = self._ritz(lanczos)
        best = _rank(values, self.which)[:k]
        return _Pairs(values[best], lanczos.combine(coefficients[:, best]), residuals[best])

    def _done(self, lanczos: Lanczos, k: int, locked: _Pairs | None) -> bool:
        values, _, residuals = self._ritz(lanczos)
        best = _rank(values, self.which)[:k]
        if (residuals[best] <= np.maximum(self.tol * np.abs(values[best]), self.rounding)).all():
            return True
        if locked is None or lanczos.steps < _SETTLED:
            return False
        # a second search may stop early where it is clear that nothing better is left
        settled = residuals[best] <= 0.1 * np.abs(values[best])
        return bool(settled.all() and not self._beats(values[best], residuals[best], locked))

    def _ritz(self, lanczos: Lanczos) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, coefficients, residuals = lanczos.ritz()
        size = float(np.abs(values).max())
        self.rounding = max(self.rounding, _ROUNDING * torch.finfo(self.operator.dtype).eps * size)
        return values, coefficients, residuals

    def _beats(self, values: np.ndarray, margins: np.ndarray, locked: _Pairs) -> bool:
        last, optimistic = locked.values[-1], values[0]
        if self.which == "LM":
            return abs(optimistic) + margins[0] > abs(last)
        return optimistic + margins[0] > last if self.which == "LA" else optimistic - margins[0] < last

    def missed(self, found: _Pairs, seed: int) -> _Pairs | None:
        """Search beside what was found for a pair that belongs before its last one."""
        pair = self.run(1, seed, found)
        margin = max(self.rounding, float(found.residuals[-1]), float(pair.residuals[0]))
        if not self._beats(pair.values, np.array([-margin]), found):
            return None
        image = self.operator @ pair.vectors[:, 0]
        self.matvecs += 1
        value = torch.dot(pair.vectors[:, 0], image)
        residual = torch.linalg.vector_norm(image - value * pair.vectors[:, 0])
        numbers = torch.stack([value, residual]).double().cpu().numpy()
        return _Pairs(numbers[:1], pair.vectors, numbers[1:])


def _check(size: int, k: int, tol: float, which: str, max_matvecs: int | None) -> None:
    if which not in ENDS:
        raise unknown_name("end of the spectrum", which, ENDS)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= size:
        raise ConfigError("k is out of range.", expected=f"an integer from 1 to P = {size}", got=repr(k))
    if not (isinstance(tol, int | float) and math.isfinite(tol) and tol > 0):
        raise ConfigError("tol is out of range.", expected="a positive number", got=repr(tol), fix="Use 1e-3.")
    if max_matvecs is not None and (not isinstance(max_matvecs, int) or max_matvecs < k):
        raise ConfigError("max_matvecs is out of range.", expected=f"at least k = {k}", got=repr(max_matvecs))
