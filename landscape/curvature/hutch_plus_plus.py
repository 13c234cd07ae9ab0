"""Hutch++: the trace inside of a random sketch of the range, exactly, and outside of it by random signs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from landscape.curvature.probes import random_signs
from landscape.curvature.products import Products
from landscape.curvature.sampling import Sample, doubling, mean_of
from landscape.curvature.sketch import Sketch
from landscape.progress import Progress

_FIRST = 16  # vectors of the first stage, where there are several: 48 products


class _Term(NamedTuple):
    """A random vector g, multiplied with H when it was made orthogonal to the first few vectors of the basis."""

    vectors: int
    """How many these were."""
    form: Tensor
    """g^T H g."""
    image: Tensor | None
    """H g, where the basis may grow afterwards."""


class HutchPlusPlus(Sample):
    """The Hutch++ estimate ``tr(Q^T H Q) + mean of g^T H g``, with g random signs made orthogonal to Q.

    The standard error is that of the mean, as the first part is exact. In stages, Q grows from one to the next: the
    products with g are kept, and corrected for the new vectors by small products. Until two g were multiplied, an
    interrupted estimate is Hutchinson's from the signs that Q was made of.

    Args:
        operator: H, symmetric (P, P).
        probes: Products; a third for the range, a third inside of it, a third outside.
        seed: Names the random vectors.
        bar: Counts products.
        stages: Whether it may end early. It then begins with 48 products and doubles them.
    """

    def __init__(self, operator: Products, probes: int, seed: int, bar: Progress, *, stages: bool) -> None:
        self.operator, self.seed, self.bar = operator, seed, bar
        self._sketch = Sketch(operator, lambda number: random_signs(operator, seed, "sketch", number), seed, bar)
        self._terms: list[_Term] = []
        most = min(probes // 3, operator.size)
        self._stages = [(most, probes - 2 * most)]  # vectors inside, terms outside
        if stages:
            self._stages = [(vectors, vectors) for vectors in _doubled(most)] + self._stages

    @property
    def matvecs(self) -> int:
        """Products taken so far."""
        return self._sketch.matvecs + len(self._terms)

    @property
    def count(self) -> int:
        """The terms outside, where there are enough."""
        return len(self._terms) if self._has_terms() else self._sketch.count

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return (self._sketch.count, len(self._terms)) == self._stages[-1]

    def draw(self) -> None:
        """Take one more vector into the range, or one more term outside of it."""
        vectors, _ = next(stage for stage in self._stages if not self._reached(stage))
        if self._sketch.count < vectors:
            self._sketch.grow()
        else:
            self._terms.append(self._outside(len(self._terms), keep=vectors < self._stages[-1][0]))
            self.bar.update()

    def looks(self) -> Iterator[int]:
        """Look where a stage ends."""
        return doubling(3 * _FIRST)

    def numbers(self) -> tuple[float, float]:
        """Return the estimate and its standard error."""
        if not self._has_terms():
            return mean_of(self._sketch.forms())
        inside = torch.as_tensor(self._sketch.inside())
        mean, stderr = mean_of([self._now(number, inside) for number in range(len(self._terms))])
        return self._sketch.trace() + mean, stderr

    def _has_terms(self) -> bool:
        return len(self._terms) >= min(2, self._stages[0][1])

    def _reached(self, stage: tuple[int, int]) -> bool:
        return self._sketch.count >= stage[0] and len(self._terms) >= stage[1]

    def _signs(self, number: int) -> Tensor:
        return random_signs(self.operator, self.seed, "trace", number)

    def _outside(self, number: int, *, keep: bool) -> _Term:
        vector, _ = self._sketch.basis.without(self._signs(number))
        image = self.operator @ vector
        form = (vector * image).sum(dtype=torch.float64)
        return _Term(self._sketch.count, form, image if keep else None)

    def _now(self, number: int, inside: Tensor) -> Tensor:
        """Return a term for the basis of now: with u and v what the new vectors have of g and of H g."""
        since, form, image = self._terms[number]
        if image is None or since == self._sketch.count:
            return form
        u, v = (self._sketch.parts(vector)[since:] for vector in (self._signs(number), image))
        block = inside[since:, since:].to(u.device)
        return form - 2 * (u @ v) + u @ block @ u


def _doubled(most: int) -> Iterator[int]:
    """Yield 16, 32, 64, ... as far as they are below a number, and this number where any of them is."""
    vectors = _FIRST
    while vectors < most:
        yield vectors
        vectors *= 2
    if most > _FIRST:
        yield most
