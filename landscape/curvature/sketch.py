"""Random sketches of a matrix's range: an orthonormal basis Q of H times random vectors, and H inside of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.probes import random_normal
from landscape.curvature.products import Products
from landscape.curvature.rows import Rows
from landscape.progress import Progress


class _Column(NamedTuple):
    """What is kept of one random vector w; float64."""

    square: Tensor
    """w^T w."""
    form: Tensor
    """w^T H w."""
    part: Tensor
    """Q^T H w, (c + 1,), a column of R; its last entry is 0 where H w lies in the space of the earlier ones."""
    inside: Tensor
    """Q^T H q with q the last vector of Q, (c + 1,)."""


class Sketch:
    """An orthonormal basis Q of the range of ``H W`` for random vectors W, with ``H W = Q R`` and ``Q^T H Q``.

    It grows by one vector at a time: two products, and work in proportion to P times the vectors that there are. Where
    the range is exhausted, Q grows by a random vector, and R has a 0 on its diagonal. An interrupt while it grows
    leaves what was before it.

    Args:
        operator: H, symmetric (P, P).
        vector: Computes the random vector of a number, (P,).
        seed: Names the vectors that go beyond the range.
        bar: Counts products.
    """

    def __init__(self, operator: Products, vector: Callable[[int], Tensor], seed: int, bar: Progress) -> None:
        self.operator, self.vector, self.seed, self.bar = operator, vector, seed, bar
        self.matvecs = 0
        self.basis = Rows(operator)
        self._columns: list[_Column] = []

    @property
    def count(self) -> int:
        """How many vectors are whole."""
        return len(self._columns)

    def grow(self) -> None:
        """Take one more random vector in; at most P."""
        vector = self.vector(self.count)
        image = self._multiply(vector)
        part = self._absorb(image)
        newest = self.basis[self.count]
        inside = self.basis.dots(self._multiply(newest))
        square, form = (_dot(vector, other) for other in (vector, image))
        self._columns.append(_Column(square, form, part, inside.double()))

    def forms(self) -> list[Tensor]:
        """Return ``w^T H w`` for each random vector."""
        return [column.form for column in self._columns]

    def squares(self) -> np.ndarray:
        """Return ``w^T w`` for each random vector, (count,)."""
        return torch.stack([column.square for column in self._columns]).cpu().numpy()

    def triangle(self) -> np.ndarray:
        """Return R, (count, count)."""
        return _upper([column.part for column in self._columns])

    def inside(self) -> np.ndarray:
        """Return ``Q^T H Q``, (count, count)."""
        upper = _upper([column.inside for column in self._columns])
        return upper + np.triu(upper, 1).T

    def trace(self) -> float:
        """Return the trace of ``Q^T H Q``."""
        return float(torch.stack([column.inside[-1] for column in self._columns]).sum())

    def parts(self, vector: Tensor) -> Tensor:
        """Return ``Q^T v``, (count,), float64."""
        return self.basis.dots(vector)[: self.count].double()

    def _multiply(self, vector: Tensor) -> Tensor:
        image = self.operator @ vector
        self.matvecs += 1
        self.bar.update()
        return image

    def _absorb(self, image: Tensor) -> Tensor:
        """Add the part of a product that lies outside of the basis to it, and return the column of R."""
        rest, part = self.basis.without(image)
        rest, more = self.basis.without(rest)  # twice is enough (Kahan, Parlett)
        length = torch.linalg.vector_norm(rest)
        tiny = 100 * torch.finfo(rest.dtype).eps * torch.linalg.vector_norm(image)
        if bool(length <= tiny):
            length = torch.zeros_like(length)
            rest = random_normal(self.operator, self.seed, "beyond the sketch", self.count)
            for _ in range(2):
                rest = self.basis.without(rest / torch.linalg.vector_norm(rest))[0]
        self.basis.append(rest / torch.linalg.vector_norm(rest))
        return torch.cat([part + more, length[None]]).double()


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dtype=torch.float64)


def _upper(columns: list[Tensor]) -> np.ndarray:
    """Write columns of growing length into an upper triangular matrix."""
    count = len(columns)
    padded = [torch.nn.functional.pad(column, (0, count - len(column))) for column in columns]
    return torch.stack(padded, dim=1).cpu().numpy()
