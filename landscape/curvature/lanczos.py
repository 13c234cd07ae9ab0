"""Lanczos with full re-orthogonalization, one step at a time, with thick restarts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.probes import random_normal
from landscape.curvature.products import Products
from landscape.curvature.rows import Rows, outside
from landscape.curvature.unfinished import held_back
from landscape.errors import NonFiniteError


class _State(NamedTuple):
    """The relation ``H Q = Q T + w c^T``; w is orthogonal to Q."""

    projected: np.ndarray
    """T, (m, m), symmetric."""
    coupling: np.ndarray
    """c, (m,)."""
    waiting: bool
    """Whether there is a w to go on with."""


class Lanczos:
    """Build an orthonormal basis Q of a Krylov space, with ``T = Q^T H Q`` and ``H Q = Q T + w c^T``.

    T is tridiagonal and c has one entry, the last, until the first restart. Every new vector is made orthogonal to all
    earlier ones, twice where rounding calls for it, so no false copies of eigenvalues appear. Vectors stay on the
    operator's device and in its dtype; T and c are float64. Each step takes one product and reads its coefficients from
    the device. An interrupt in a step leaves what was before it.

    Args:
        operator: H, symmetric (P, P).
        start: (P,), not zero.
        locked: Orthonormal vectors; the search is in the space orthogonal to these.
        seed: Names the vectors that a new search begins with where the space found is invariant; None stops there.

    References:
        K. Wu, H. Simon, Thick-Restart Lanczos Method for Large Symmetric Eigenvalue Problems, SIAM J. Matrix Anal.
        Appl. 2000.
    """

    def __init__(
        self, operator: Products, start: Tensor, *, locked: Rows | None = None, seed: int | None = None
    ) -> None:
        self.operator, self.seed = operator, seed
        self.products = 0
        self.rows = Rows(operator)  # Q, and w after it
        self._locked = Rows(operator) if locked is None else locked
        self._scale = 0.0
        first = self._fresh(start)
        if first is not None:
            self.rows.append(first)
        self._state = _State(np.zeros((0, 0)), np.zeros(0), first is not None)

    @property
    def steps(self) -> int:
        """The number of vectors in the basis."""
        return len(self._state.coupling)

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to find: the basis is the whole space, or invariant and no seed was given."""
        return not self._state.waiting

    def step(self) -> None:
        """Multiply once and add one vector to the basis.

        Raises:
            NonFiniteError: A product is NaN or infinite.
        """
        coupling = self._state.coupling
        vector = self.rows[self.steps]
        image = self.operator @ vector
        alpha = torch.dot(vector, image)
        rest = image - alpha * vector
        for index in np.flatnonzero(coupling).tolist():
            rest -= float(coupling[index]) * self.rows[index]
        before = torch.linalg.vector_norm(rest)
        rest = self._orthogonal(rest)
        diagonal, was, beside = torch.stack([alpha, before, torch.linalg.vector_norm(rest)]).double().tolist()
        if not np.isfinite(diagonal + beside):
            raise NonFiniteError(
                "A product with the curvature matrix is NaN or infinite.",
                fix="Use float64, or look for an operation whose second derivative is undefined at these weights.",
            )
        if beside < 0.7 * was:  # much was taken away, so rounding matters: once more, which is enough (Kahan, Parlett)
            rest = self._orthogonal(rest)
            beside = float(torch.linalg.vector_norm(rest))
        self._scale = max(self._scale, abs(diagonal), beside)
        if beside <= 10 * torch.finfo(self.operator.dtype).eps * self._scale:
            beside = 0.0
        self._extend(diagonal, beside, rest)

    def _extend(self, diagonal: float, beside: float, rest: Tensor) -> None:
        """Take the vector multiplied last into Q, and what its product had outside as the next one."""
        (projected, coupling, _), steps = self._state, self.steps
        wider = np.zeros((steps + 1, steps + 1))
        wider[:steps, :steps] = projected
        wider[steps, :steps] = wider[:steps, steps] = coupling
        wider[steps, steps] = diagonal
        after = None
        if beside and not self._full():
            after = rest / beside
        elif self.seed is not None and not self._full():
            beside = 0.0
            after = self._fresh(random_normal(self.operator, self.seed, "restart", self.products + 1))
        if after is not None:
            self.rows.append(after)
        self.products += 1
        self._state = _State(wider, np.append(np.zeros(steps), beside), after is not None)

    def relation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return T (m, m) and c (m,); c is 0 where the space is exhausted."""
        return self._state.projected, self._state.coupling

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the eigenvalues of T (m,), ascending, its eigenvectors (m, m), and their residual norms (m,)."""
        values, vectors = np.linalg.eigh(self._state.projected)
        return values, vectors, np.abs(self._state.coupling @ vectors)

    def restart(self, values: np.ndarray, coefficients: np.ndarray) -> None:
        """Keep some Ritz vectors as the basis and forget the rest of it.

        Args:
            values: (l,) of :meth:`ritz`.
            coefficients: (m, l) of :meth:`ritz`.
        """
        _, coupling, waiting = self._state
        steps, kept = coefficients.shape
        turn = np.zeros((len(self.rows), kept + waiting))
        turn[:steps, :kept] = coefficients
        if waiting:
            turn[steps, kept] = 1
        with held_back():
            self.rows.turn(turn)
            self._state = _State(np.diag(values), coupling @ coefficients, waiting)

    def turned(self, coefficients: np.ndarray) -> Rows:
        """End here: return the vectors with these coefficients in the basis, (m, k), which take its place in memory."""
        turn = np.zeros((len(self.rows), coefficients.shape[1]))
        turn[: self.steps] = coefficients
        self.rows.turn(turn)
        return self.rows

    def _orthogonal(self, vector: Tensor) -> Tensor:
        """Take the parts along all earlier vectors away, once."""
        return self.rows.without(self._locked.without(vector)[0])[0]

    def _fresh(self, vector: Tensor) -> Tensor | None:
        return outside(vector, self._locked, self.rows)

    def _full(self) -> bool:
        return len(self.rows) + len(self._locked) >= self.operator.size
