"""The diagonal, entry by entry, from products with random signs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from landscape.curvature.probes import random_signs, unit_vectors
from landscape.curvature.products import Products
from landscape.curvature.results import DiagonalEstimate
from landscape.curvature.sampling import LEAST, Sample, by_eighths, check_probes, check_rel_error, collect
from landscape.errors import unknown_name
from landscape.progress import Progress, progress_bar

METHODS = ("bekas", "exact")


def diagonal_estimate(
    operator: Products, *, probes: int, method: str, rel_error: float | None, seed: int, progress: bool
) -> DiagonalEstimate:
    """Estimate the diagonal; see :meth:`landscape.curvature.Hessian.diagonal`.

    Raises:
        ConfigError: ``method`` is unknown, ``rel_error`` is out of range, or there are no probes.
        KeyboardInterrupt: It came before two probes were done.
    """
    if method not in METHODS:
        raise unknown_name("method for the diagonal", method, METHODS)
    check_probes(probes, 1)
    check_rel_error(rel_error)
    total = operator.size if method == "exact" else probes
    with progress_bar(total, desc="diagonal", unit="product", enabled=progress) as bar:
        if method == "exact":
            return _exact(operator, bar)
        sample = _Diagonal(operator, probes, seed, bar)
        complete = collect(sample, what="diagonal", probes=probes, rel_error=rel_error)
    values, stderr = sample.entries()
    return DiagonalEstimate(
        values=values, stderr=stderr, matvecs=sample.matvecs, samples=sample.count, complete=complete
    )


def _wide(operator: Products) -> torch.dtype:
    """The dtype of entries: half precision has too few digits to take means in."""
    return torch.promote_types(operator.dtype, torch.float32)


def _exact(operator: Products, bar: Progress) -> DiagonalEstimate:
    values = torch.empty(operator.size, dtype=_wide(operator), device=operator.device)
    for index, vector in enumerate(unit_vectors(operator)):
        values[index] = (operator @ vector)[index]
        bar.update()
    return DiagonalEstimate(values=values, stderr=torch.zeros_like(values), matvecs=operator.size)


class _Diagonal(Sample):
    """Mean and spread of ``v * H v`` over random signs v, updated probe by probe (Welford): three vectors in memory."""

    def __init__(self, operator: Products, probes: int, seed: int, bar: Progress) -> None:
        self.operator, self.probes, self.seed, self.bar = operator, probes, seed, bar
        none = torch.zeros(operator.size, dtype=_wide(operator), device=operator.device)
        self._state = (0, none, none)  # replaced as a whole, so that no interrupt finds half of it

    @property
    def matvecs(self) -> int:
        """Products taken so far."""
        return self._state[0]

    @property
    def count(self) -> int:
        """One term a product."""
        return self._state[0]

    @property
    def finished(self) -> bool:
        """Whether all probes are drawn."""
        return self.count >= self.probes

    def draw(self) -> None:
        """Take one more probe."""
        count, mean, squares = self._state
        signs = random_signs(self.operator, self.seed, "diagonal", count)
        term = (signs * (self.operator @ signs)).to(mean.dtype)
        before = term - mean
        mean = mean + before / (count + 1)
        self._state = (count + 1, mean, squares + before * (term - mean))
        self.bar.update()

    def looks(self) -> Iterator[int]:
        """Look first after 30."""
        return by_eighths(LEAST)

    def entries(self) -> tuple[Tensor, Tensor]:
        """Return the estimates and their standard errors, (P,) each."""
        count, mean, squares = self._state
        return mean, torch.sqrt(squares / ((count - 1) * count))

    def numbers(self) -> tuple[float, float]:
        """Return the length of the diagonal as a vector, and that of its standard errors."""
        lengths = [torch.linalg.vector_norm(part, dtype=torch.float64) for part in self.entries()]
        length, stderr = torch.stack(lengths).tolist()
        return length, stderr
