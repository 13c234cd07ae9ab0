"""Eigenpairs at one end of a spectrum, by Lanczos."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.config import is_number, is_whole
from landscape.curvature.lanczos import Lanczos, random_normal
from landscape.curvature.products import Products
from landscape.curvature.results import Eigenpairs
from landscape.errors import ConfigError, unknown_name

ENDS = ("LA", "SA", "LM")
_ROUNDING = 200  # residuals below this many times the precision, relative to the norm of H, are rounding of products
_COARSE = 1e-4  # a precision above this (float16, bfloat16) leaves no digits to iterate with
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
    pool = search.run(k, seed)
    while k > 1 and pool.count < operator.size and search.left > 1:
        better = search.missed(pool, k, seed)
        if better is None:
            break
        pool = pool.with_one(better, which)
    coarse = torch.finfo(operator.dtype).eps > _COARSE
    if not coarse and pool.count > k and (search.excess(pool.first(k), tol) > 0).any() and search.left >= pool.count:
        pool = search.rotated(pool)
    found = search.measured(pool.first(k)) if coarse else pool.first(k)
    return _result(found, tol, search, coarse)


def _result(found: _Pairs, tol: float, search: _Search, coarse: bool) -> Eigenpairs:
    excess = search.excess(found, tol)
    converged = excess <= 0
    if not converged.all():
        worst = excess.argmax()
        warnings.warn(
            f"{int((~converged).sum())} of {found.count} eigenpairs did not converge in {search.matvecs} products: "
            f"the largest residual is {found.residuals[worst]:.3g}, "
            f"asked for was {found.residuals[worst] - excess[worst]:.3g}. "
            + (
                f"{search.operator.dtype} is too coarse: use float32 weights."
                if coarse
                else "Raise max_matvecs or tol."
            ),
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
        """Take one more pair in, at its place."""
        values = np.concatenate([self.values, other.values])
        vectors = torch.cat([self.vectors, other.vectors], dim=1)
        residuals = np.concatenate([self.residuals, other.residuals])
        return _Pairs(values, vectors, residuals).ordered(which)

    def ordered(self, which: str) -> _Pairs:
        """Put the wanted ones first."""
        order = _rank(self.values, which)
        place = torch.as_tensor(order, device=self.vectors.device)
        return _Pairs(self.values[order], self.vectors[:, place], self.residuals[order])

    def first(self, k: int) -> _Pairs:
        """Leave all but the first k out."""
        return _Pairs(self.values[:k], self.vectors[:, :k], self.residuals[:k])


class _Search:
    """Lanczos runs over one operator, with a common budget of products."""

    def __init__(self, operator: Products, which: str, tol: float, budget: int) -> None:
        self.operator, self.which, self.tol, self.budget = operator, which, tol, budget
        self.matvecs = 0
        self.rounding, self.size = 0.0, 0.0  # of products; of the matrix, as far as it is known

    @property
    def left(self) -> int:
        return self.budget - self.matvecs

    def excess(self, found: _Pairs, tol: float) -> np.ndarray:
        """Say how far residuals are above what counts as converged; beside an eigenvalue of 0, that is rounding.

        Where rounding is coarser than the tolerance, it is no excuse: the tolerance of the whole matrix is the limit.
        """
        floor = min(self.rounding, tol * self.size)
        return found.residuals - np.maximum(tol * np.abs(found.values), floor)

    def run(self, k: int, seed: int, locked: _Pairs | None = None, last: float = 0.0) -> _Pairs:
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
                if self._done(lanczos, k, None if locked is None else last):
                    break
        values, coefficients, residuals = self._ritz(lanczos)
        best = _rank(values, self.which)[:k]
        return _Pairs(values[best], lanczos.combine(coefficients[:, best]), residuals[best])

    def _done(self, lanczos: Lanczos, k: int, last: float | None) -> bool:
        values, _, residuals = self._ritz(lanczos)
        best = _rank(values, self.which)[:k]
        if (residuals[best] <= np.maximum(self.tol * np.abs(values[best]), self.rounding)).all():
            return True
        if last is None or lanczos.steps < _SETTLED:
            return False
        # a second search may stop early where it is clear that nothing better is left
        settled = residuals[best] <= 0.1 * np.abs(values[best])
        return bool(settled.all() and not self._beats(values[best], residuals[best], last))

    def _ritz(self, lanczos: Lanczos) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, coefficients, residuals = lanczos.ritz()
        self.size = max(self.size, float(np.abs(values).max()))
        self.rounding = _ROUNDING * torch.finfo(self.operator.dtype).eps * self.size
        return values, coefficients, residuals

    def _beats(self, values: np.ndarray, margins: np.ndarray, last: float) -> bool:
        optimistic = values[0]
        if self.which == "LM":
            return abs(optimistic) + margins[0] > abs(last)
        return optimistic + margins[0] > last if self.which == "LA" else optimistic - margins[0] < last

    def missed(self, pool: _Pairs, k: int, seed: int) -> _Pairs | None:
        """Search beside what was found for a pair that belongs before its k-th one."""
        last = float(pool.values[k - 1])
        pair = self.run(1, seed, pool, last)
        margin = max(self.rounding, float(pool.residuals[k - 1]), float(pair.residuals[0]))
        if not self._beats(pair.values, np.array([-margin]), last):
            return None
        image = self.operator @ pair.vectors[:, 0]
        self.matvecs += 1
        value = torch.dot(pair.vectors[:, 0], image)
        residual = torch.linalg.vector_norm(image - value * pair.vectors[:, 0])
        numbers = torch.stack([value, residual]).double().cpu().numpy()
        return _Pairs(numbers[:1], pair.vectors, numbers[1:])

    def _images(self, pairs: _Pairs) -> Tensor:
        self.matvecs += pairs.count
        return torch.stack([self.operator @ vector for vector in pairs.vectors.unbind(1)], dim=1)

    def rotated(self, pool: _Pairs) -> _Pairs:
        """Separate the pairs from each other: Rayleigh-Ritz in the space that they span.

        A pair of a second search carries what the residuals of the first ones have along it.
        """
        images = self._images(pool)
        inner = (pool.vectors.T @ images).double()
        values, coefficients = torch.linalg.eigh((inner + inner.T) / 2)
        turn = coefficients.to(pool.vectors.dtype)
        vectors = torch.nn.functional.normalize(pool.vectors @ turn, dim=0)
        residuals = torch.linalg.vector_norm(images @ turn - vectors * values.to(vectors.dtype), dim=0)
        return _Pairs(values.cpu().numpy(), vectors, residuals.double().cpu().numpy()).ordered(self.which)

    def measured(self, found: _Pairs) -> _Pairs:
        """Take residuals from products themselves: in half precision what Lanczos says of them is no bound."""
        values = torch.as_tensor(found.values, device=found.vectors.device, dtype=torch.float32)
        apart = self._images(found).float() - found.vectors.float() * values
        return _Pairs(found.values, found.vectors, torch.linalg.vector_norm(apart, dim=0).double().cpu().numpy())


def _check(size: int, k: int, tol: float, which: str, max_matvecs: int | None) -> None:
    if which not in ENDS:
        raise unknown_name("end of the spectrum", which, ENDS)
    if not is_whole(k) or not 1 <= k <= size:
        raise ConfigError("k is out of range.", expected=f"an integer from 1 to P = {size}", got=repr(k))
    if not (is_number(tol) and math.isfinite(tol) and tol > 0):
        raise ConfigError("tol is out of range.", expected="a positive number", got=repr(tol), fix="Use 1e-3.")
    if max_matvecs is not None and (not is_whole(max_matvecs) or max_matvecs < k):
        raise ConfigError("max_matvecs is out of range.", expected=f"at least k = {k}", got=repr(max_matvecs))
