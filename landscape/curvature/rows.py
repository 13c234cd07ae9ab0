"""Long vectors side by side: a basis that grows one by one, and turns and shrinks in place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.products import Products
from landscape.curvature.unfinished import held_back

_BLOCK = 16  # vectors are stored in blocks of this many rows, allocated as they are needed
_CHUNK = 2**16  # entries of each vector that are turned at once


class Rows:
    """Vectors (P,), at most P of them, one in each row; on the operator's device and in its dtype."""

    def __init__(self, operator: Products) -> None:
        self.size, self.dtype, self.device = operator.size, operator.dtype, operator.device
        self._blocks: list[Tensor] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Tensor:
        """Return one vector, a view."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._blocks[index // _BLOCK][index % _BLOCK]

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the vectors, views."""
        return (self[index] for index in range(self._count))

    def append(self, vector: Tensor) -> None:
        """Copy one more vector in."""
        block, row = divmod(self._count, _BLOCK)
        if block == len(self._blocks):
            room = min(_BLOCK, self.size - block * _BLOCK)
            self._blocks.append(torch.empty(room, self.size, dtype=self.dtype, device=self.device))
        self._blocks[block][row] = vector
        self._count += 1

    def dots(self, vector: Tensor) -> Tensor:
        """Return the scalar products with a vector, (count,)."""
        return torch.cat([vector.new_empty(0), *(block @ vector for block in self._filled())])

    def without(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Take the parts along all vectors away, once, where these are orthonormal: the rest and the parts (count,)."""
        parts = [vector.new_empty(0)]
        for block in self._filled():
            parts.append(block @ vector)
            vector = vector - parts[-1] @ block
        return vector, torch.cat(parts)

    def turn(self, coefficients: np.ndarray) -> None:
        """Replace the vectors by combinations of them, in place; the memory of those that are too many is given back.

        Args:
            coefficients: (count, m) with m at most count: column i holds what the new vector i is made of.
        """
        wanted = torch.as_tensor(coefficients.T.copy(), dtype=self.dtype, device=self.device)
        count = len(wanted)
        with held_back():
            for start in range(0, self.size, _CHUNK):
                part = slice(start, start + _CHUNK)
                made = torch.zeros(count, min(_CHUNK, self.size - start), dtype=self.dtype, device=self.device)
                for number, block in enumerate(self._filled()):
                    made.addmm_(wanted[:, number * _BLOCK : number * _BLOCK + len(block)], block[:, part])
                for block, rows in zip(self._blocks, made.split(_BLOCK), strict=False):
                    block[: len(rows), part] = rows
            self._count = count
            del self._blocks[-(-count // _BLOCK) :]

    def _filled(self) -> Iterator[Tensor]:
        """Yield the blocks without rows that hold nothing."""
        for number, block in enumerate(self._blocks):
            yield block[: min(_BLOCK, self._count - number * _BLOCK)]


def outside(vector: Tensor, *bases: Rows) -> Tensor | None:
    """Return the part of a vector outside of the spaces of orthonormal bases, of norm 1; None where it is rounding."""
    rest = _without_all(vector, bases)
    before, after = torch.linalg.vector_norm(vector), torch.linalg.vector_norm(rest)
    if bool(after <= 100 * torch.finfo(rest.dtype).eps * before):
        return None
    rest = _without_all(rest / after, bases)
    return rest / torch.linalg.vector_norm(rest)


def _without_all(vector: Tensor, bases: tuple[Rows, ...]) -> Tensor:
    for basis in bases:
        vector, _ = basis.without(vector)
    return vector
