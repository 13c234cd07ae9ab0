"""Lanczos tridiagonalization, one step at a time, with full re-orthogonalization."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.products import Products
from landscape.errors import NonFiniteError
from landscape.seeding import generator

_BLOCK = 16  # basis vectors are stored in blocks of this many rows


def random_signs(operator: Products, seed: int, *names: str | int) -> Tensor:
    """Draw a vector of independent signs (Rademacher), the same for every device and precision: (P,)."""
    signs = torch.randint(0, 2, (operator.size,), generator=generator(seed, *names), dtype=torch.int8)
    return (2 * signs - 1).to(device=operator.device, dtype=operator.dtype)


def random_normal(operator: Products, seed: int, *names: str | int) -> Tensor:
    """Draw a vector of independent normal numbers, the same for every device and precision: (P,)."""
    drawn = torch.randn(operator.size, generator=generator(seed, *names), dtype=torch.float64)
    return drawn.to(device=operator.device, dtype=operator.dtype)


class Lanczos:
    """Build an orthonormal basis Q of a Krylov space, with ``Q^T H Q = T`` tridiagonal.

    Every new vector is made orthogonal to all earlier ones, twice where rounding calls for it, so no false copies of
    eigenvalues appear. Vectors stay on the operator's device and in its dtype; T is float64. Each step takes one
    product and reads its coefficients from the device.

    Args:
        operator: H, symmetric (P, P).
        start: (P,), not zero.
        locked: (P, L) orthonormal; the search is in the space orthogonal to these.
        seed: Names the vectors that a new search begins with where the space found is invariant; None stops there.
    """

    def __init__(
        self, operator: Products, start: Tensor, *, locked: Tensor | None = None, seed: int | None = None
    ) -> None:
        self.operator, self.seed = operator, seed
        self.diagonal: list[float] = []
        self.beside: list[float] = []  # beside[j] couples vectors j and j + 1
        self._locked = [] if locked is None or not locked.shape[1] else [locked.T.contiguous()]
        self._blocks: list[Tensor] = []
        self._room = operator.size - sum(len(block) for block in self._locked)
        self._scale = 0.0
        self._next = self._fresh(start)

    @property
    def steps(self) -> int:
        """The number of vectors in the basis."""
        return len(self.diagonal)

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to find: the basis is the whole space, or invariant and no seed was given."""
        return self._next is None

    def step(self) -> None:
        """Multiply once and add one vector to the basis.

        Raises:
            NonFiniteError: A product is NaN or infinite.
        """
        assert self._next is not None
        vector = self._next
        self._append(vector)
        image = self.operator @ vector
        alpha = torch.dot(vector, image)
        rest = image - alpha * vector
        if self.steps and self.beside[-1]:
            rest -= self.beside[-1] * self._vector(self.steps - 1)
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
        invariant = beside <= 10 * torch.finfo(self.operator.dtype).eps * self._scale
        self.diagonal.append(diagonal)
        self.beside.append(0.0 if invariant else beside)
        self._next = self._after_invariant() if invariant else self._limited(rest / beside)

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the eigenvalues of T (m,), ascending, its eigenvectors (m, m), and their residual norms (m,)."""
        from scipy.linalg import eigh_tridiagonal

        values, vectors = eigh_tridiagonal(np.array(self.diagonal), np.array(self.beside[:-1]))
        return values, vectors, np.abs(self.beside[-1] * vectors[-1])

    def combine(self, coefficients: np.ndarray) -> Tensor:
        """Return the vectors with the given coefficients in the basis: (m, k) to (P, k)."""
        wanted = torch.as_tensor(coefficients, device=self.operator.device, dtype=self.operator.dtype)
        total = torch.zeros(self.operator.size, wanted.shape[1], device=wanted.device, dtype=wanted.dtype)
        for number, block in enumerate(self._blocks):
            rows = wanted[number * _BLOCK : (number + 1) * _BLOCK]
            total += block[: len(rows)].T @ rows
        return total

    def _append(self, vector: Tensor) -> None:
        if self.steps % _BLOCK == 0:
            self._blocks.append(vector.new_zeros(min(_BLOCK, self._room), len(vector)))
            self._room -= len(self._blocks[-1])
        self._blocks[-1][self.steps % _BLOCK] = vector

    def _vector(self, index: int) -> Tensor:
        return self._blocks[index // _BLOCK][index % _BLOCK]

    def _orthogonal(self, vector: Tensor) -> Tensor:
        """Take the parts along all earlier vectors away, once."""
        for block in (*self._locked, *self._blocks):
            vector = vector - (block @ vector) @ block
        return vector

    def _fresh(self, vector: Tensor) -> Tensor | None:
        before = torch.linalg.vector_norm(vector)
        rest = self._orthogonal(vector)
        after = torch.linalg.vector_norm(rest)
        if bool(after <= 100 * torch.finfo(rest.dtype).eps * before):
            return None
        rest = self._orthogonal(rest / after)
        return rest / torch.linalg.vector_norm(rest)

    def _after_invariant(self) -> Tensor | None:
        if self.seed is None or self._full():
            return None
        return self._fresh(random_normal(self.operator, self.seed, "restart", self.steps))

    def _limited(self, vector: Tensor) -> Tensor | None:
        return None if self._full() else vector

    def _full(self) -> bool:
        return self.steps + sum(len(block) for block in self._locked) >= self.operator.size
