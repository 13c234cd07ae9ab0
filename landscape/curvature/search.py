"""The search for eigenpairs at one end of a spectrum: Lanczos runs with one budget of products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.lanczos import Lanczos
from landscape.curvature.probes import random_normal
from landscape.curvature.products import Products
from landscape.curvature.rows import Rows, outside
from landscape.curvature.unfinished import held_back

_ROUNDING = 200  # residuals below this many times the precision, relative to the norm of H, are rounding of products
_COARSE = 1e-4  # a precision above this (float16, bfloat16) leaves no digits to iterate with
_SETTLED = 10  # steps before a second search may stop early: a small residual alone does not say which value is near
_SURE = 10  # the same of a search that checks start vectors: a better value lies within 6 residuals of its best one
_BESIDE = 0.01  # a random part of start vectors, for what they do not know
_ROOM, _SPARE = 64, 20  # vectors in memory before a restart: 2 k + 20, but 64 at least


def rank(values: np.ndarray, which: str) -> np.ndarray:
    """Order values by what was asked for, the wanted ones first."""
    keys = {"LA": -values, "SA": values, "LM": -np.abs(values)}
    return np.argsort(keys[which], kind="stable")


@dataclass(frozen=True)
class Pairs:
    """Eigenpairs, the wanted ones first; ``places`` says in which row each vector is."""

    values: np.ndarray
    residuals: np.ndarray
    places: np.ndarray
    rows: Rows

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.values)

    def ordered(self, which: str) -> Pairs:
        """Put the wanted ones first."""
        order = rank(self.values, which)
        return Pairs(self.values[order], self.residuals[order], self.places[order], self.rows)

    def with_one(self, value: float, residual: float, vector: Tensor, which: str) -> Pairs:
        """Take one more pair in, at its place."""
        self.rows.append(vector)
        values, residuals = np.append(self.values, value), np.append(self.residuals, residual)
        return Pairs(values, residuals, np.append(self.places, len(self.rows) - 1), self.rows).ordered(which)


class Search:
    """Look for the first k eigenpairs of an operator; ``found`` is what there is so far, also after an interrupt.

    Args:
        operator: H, symmetric (P, P).
        k: How many.
        which: "LA", "SA" or "LM".
        tol: Relative residual of a converged pair.
        budget: Products to stop after.
        seed: Names the start vectors.
    """

    def __init__(self, operator: Products, k: int, *, which: str, tol: float, budget: int, seed: int) -> None:
        self.operator, self.k, self.which, self.budget, self.seed = operator, k, which, budget, seed
        self.asked = tol
        self.tol = tol if k == 1 else tol / 2  # a pair of a second search carries residuals of the first ones along
        self.found: Pairs | None = None
        self.proven, self.interrupted, self.cut = True, False, False  # cut: the last run ended with the budget
        self.matvecs = 0
        self.rounding, self.size = 0.0, 0.0  # of products; of the matrix, as far as it is known

    @property
    def left(self) -> int:
        """Products that may still be taken."""
        return self.budget - self.matvecs

    @property
    def coarse(self) -> bool:
        """Whether the operator's numbers have too few digits to iterate with."""
        return torch.finfo(self.operator.dtype).eps > _COARSE

    def excess(self, values: np.ndarray, residuals: np.ndarray) -> np.ndarray:
        """Say how far residuals are above what counts as converged; beside an eigenvalue of 0, that is rounding.

        Where rounding is coarser than the tolerance, it is no excuse: the tolerance of the whole matrix is the limit.
        """
        floor = min(self.rounding, self.asked * self.size)
        return residuals - np.maximum(self.asked * np.abs(values), floor)

    def solve(self, starts: Sequence[Tensor]) -> None:
        """Fill ``found``, from start vectors where there are any and where they help.

        Raises:
            KeyboardInterrupt: It came before there was anything; else what there is was kept.
            NonFiniteError: A product is NaN or infinite.
        """
        try:
            if not (starts and self._warm(starts)):
                self._cold()
            if not self.interrupted:
                self._refine()
        except KeyboardInterrupt:
            if self.found is None:
                raise
            self.interrupted = True

    def _cold(self) -> None:
        self.found, self.proven = None, True
        self.run(self.k, random_normal(self.operator, self.seed, "lanczos", 0))
        if self.k > 1 and not self.interrupted:
            self._look_beside()

    def _warm(self, starts: Sequence[Tensor]) -> bool:
        """Search from given vectors, and then for what they may have missed; say whether that was all.

        Start vectors may know nothing of an eigenvector that belongs to the answer. So what they lead to is only
        believed when a search beside it, from a random vector, ended with nothing better. Where that finds several, it
        is better to begin anew.
        """
        self.proven = False
        basis = Rows(self.operator)
        for start in reversed(starts):
            part = outside(start, basis)
            if part is not None:
                basis.append(part)
        if not len(basis):
            return False
        try_them = len(basis) == self.k > 1 and self.left >= 2 * self.k
        if not (try_them and self._good_already(basis)):
            noise = random_normal(self.operator, self.seed, "lanczos", 0)
            total = sum(basis, start=(_BESIDE * len(basis) ** 0.5 / torch.linalg.vector_norm(noise)) * noise)
            del basis
            self.run(self.k, total)
        return self.interrupted or self._look_beside(most=1 + self.k // 8) or self.left < self.k

    def _good_already(self, basis: Rows) -> bool:
        """Say whether vectors span eigenvectors without any search: then these are found by Rayleigh-Ritz.

        That is one product for the first of them, and for all only where it is as good as converged.
        """
        images = Rows(self.operator)
        for vector in basis:
            images.append(self._multiply(vector))
            if len(images) == 1:
                value = float(torch.dot(vector, images[0]))
                apart = float(torch.linalg.vector_norm(images[0] - value * vector))
                if not apart <= 2 * self.tol * abs(value):  # NaN is not
                    return False
        pairs = self._rayleigh_ritz(basis, images)
        self._know(pairs.values)
        if (pairs.residuals > self._enough(pairs.values)).any():
            return False
        self.found = pairs
        return True

    def run(self, k: int, start: Tensor, *, beside: Pairs | None = None) -> Pairs | None:
        """Search until k pairs have converged, the space is exhausted, or the budget is spent.

        Args:
            k: How many pairs.
            start: (P,).
            beside: Search in the space orthogonal to these; without them, the result is also put into ``found``.

        Returns:
            The pairs; None where the space is empty.
        """
        lanczos = Lanczos(self.operator, start, locked=beside.rows if beside else None, seed=self.seed)
        try:
            self._iterate(lanczos, k, beside)
        except KeyboardInterrupt:
            if beside is not None or lanczos.products < k:
                raise
            self.interrupted = True
        if not lanczos.steps:
            return None
        values, coefficients, residuals = lanczos.ritz()
        self._know(values)
        best = rank(values, self.which)[:k]
        with held_back():
            pairs = Pairs(values[best], residuals[best], np.arange(len(best)), lanczos.turned(coefficients[:, best]))
            if beside is None:
                self.found = pairs
        return pairs

    def _iterate(self, lanczos: Lanczos, k: int, beside: Pairs | None) -> None:
        room, reserved = max(_ROOM, 2 * self.k + _SPARE), 0
        if beside is not None:
            room, reserved = max(_SPARE, room - beside.count), 1  # a product to see what was found as it is
        check, self.cut = k, False
        while not lanczos.exhausted:
            if self.left <= reserved and lanczos.products >= k:
                self.cut = True
                return
            lanczos.step()
            self.matvecs += 1
            full = len(lanczos.rows) >= room
            if lanczos.products < check and not full:
                continue
            check = lanczos.products + max(1, lanczos.steps // 8)
            values, coefficients, residuals = lanczos.ritz()
            self._know(values)
            order = rank(values, self.which)
            if self._done(lanczos, values[order[:k]], residuals[order[:k]], beside):
                return
            if full:
                kept = order[: k + (room - 1 - k) // 2]
                lanczos.restart(values[kept], coefficients[:, kept])

    def _know(self, values: np.ndarray) -> None:
        """Take into account how large the matrix is at least."""
        self.size = max([self.size, *np.abs(values)])
        self.rounding = _ROUNDING * torch.finfo(self.operator.dtype).eps * self.size

    def _enough(self, values: np.ndarray) -> np.ndarray:
        return np.maximum(self.tol * np.abs(values), self.rounding)

    def _done(self, lanczos: Lanczos, values: np.ndarray, residuals: np.ndarray, beside: Pairs | None) -> bool:
        if (residuals <= self._enough(values)).all():
            return True
        if beside is None or lanczos.products < _SETTLED:
            return False
        # a second search may stop early where it is clear that nothing better is left
        settled = residuals <= 0.1 * np.abs(values)
        margin = residuals[0] * (1 if self.proven else _SURE)
        return bool(settled.all() and not self._beats(values[0], margin, beside.values[self.k - 1]))

    def _beats(self, value: float, margin: float, last: float) -> bool:
        if self.which == "LM":
            return abs(value) + margin > abs(last)
        return value + margin > last if self.which == "LA" else value - margin < last

    def _look_beside(self, most: int | None = None) -> bool:
        """Search beside what was found for pairs that belong there, until there are none; say whether it came so far.

        Args:
            most: Give up when there are more.
        """
        assert self.found is not None
        taken = 0
        while self.found.count < self.operator.size:
            if self.left <= 1:
                return False
            better = self._missed(self.found)
            if better is None:
                break
            taken += 1
            if most is not None and taken > most:
                return False
            self.found = self.found.with_one(*better, self.which)
        self.proven = self.proven or not self.cut or self.found.count == self.operator.size
        return True

    def _missed(self, pool: Pairs) -> tuple[float, float, Tensor] | None:
        """Search beside what was found for a pair that belongs before its k-th one."""
        last = float(pool.values[self.k - 1])
        pair = self.run(1, random_normal(self.operator, self.seed, "lanczos", self.matvecs), beside=pool)
        if pair is None:
            return None
        margin = max(self.rounding, float(pool.residuals[self.k - 1]), float(pair.residuals[0]))
        if not self._beats(pair.values[0], -margin, last):
            return None
        vector = pair.rows[0]
        image = self._multiply(vector)
        value = torch.dot(vector, image)
        residual = torch.linalg.vector_norm(image - value * vector)
        return (*torch.stack([value, residual]).double().tolist(), vector)

    def _refine(self) -> None:
        """Separate pairs that a second search mixed, and see what half precision made of them."""
        found, k = self.found, self.k
        assert found is not None
        mixed = found.count > k and (self.excess(found.values[:k], found.residuals[:k]) > 0).any()
        if not self.coarse and mixed and self.left >= found.count:
            images = Rows(self.operator)
            for vector in found.rows:
                images.append(self._multiply(vector))
            with held_back():
                self.found = self._rayleigh_ritz(found.rows, images)
        if self.coarse:
            self.found = self._measured(found)

    def _multiply(self, vector: Tensor) -> Tensor:
        image = self.operator @ vector
        self.matvecs += 1
        return image

    def _rayleigh_ritz(self, rows: Rows, images: Rows) -> Pairs:
        """Take the best pairs in the space of orthonormal vectors, with true residuals; both are replaced."""
        inner = torch.stack([rows.dots(image).double() for image in images]).cpu().numpy()
        values, turn = np.linalg.eigh((inner + inner.T) / 2)
        rows.turn(turn)
        images.turn(turn)
        apart = [
            torch.linalg.vector_norm(image - float(value) * vector)
            for image, value, vector in zip(images, values, rows, strict=True)
        ]
        residuals = torch.stack(apart).double().cpu().numpy()
        return Pairs(values, residuals, np.arange(len(rows)), rows).ordered(self.which)

    def _measured(self, found: Pairs) -> Pairs:
        """Take residuals from products themselves: in half precision what Lanczos says of them is no bound."""
        residuals = []
        for place, value in zip(found.places[: self.k], found.values, strict=False):
            vector = found.rows[place]
            apart = self._multiply(vector).float() - float(value) * vector.float()
            residuals.append(torch.linalg.vector_norm(apart))
        measured = torch.stack(residuals).double().cpu().numpy()
        return Pairs(found.values[: self.k], measured, found.places[: self.k], found.rows)
