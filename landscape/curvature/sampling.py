"""Random probes drawn one after the other: until there are enough, the error is small enough, or Ctrl-C."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from landscape.config import is_number, is_whole
from landscape.curvature.unfinished import ConvergenceWarning, InterruptedWarning
from landscape.errors import ConfigError
from landscape.progress import Progress

LEAST = 30  # probes before the standard error is first looked at: it is known to 13 % then, 1 / sqrt(2 (n - 1))


class Sample(ABC):
    """Probes drawn so far, and what they say. An interrupt at any point leaves what was there before."""

    @property
    @abstractmethod
    def matvecs(self) -> int:
        """Products taken so far."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many random terms the standard error would be from."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether all probes are drawn."""

    @abstractmethod
    def draw(self) -> None:
        """Take one or two products more."""

    @abstractmethod
    def looks(self) -> Iterator[int]:
        """Yield the numbers of products after which the error may be looked at, ascending, without end."""

    @abstractmethod
    def numbers(self) -> tuple[float, float]:
        """Return the estimate and its standard error; the only place that reads from the device."""


def by_eighths(first: int) -> Iterator[int]:
    """Yield numbers that grow by an eighth: few looks, and at most an eighth of the probes too many."""
    while True:
        yield first
        first += max(1, first // 8)


def doubling(first: int) -> Iterator[int]:
    """Yield numbers that double."""
    while True:
        yield first
        first *= 2


def collect(sample: Sample, *, what: str, probes: int, rel_error: float | None) -> bool:
    """Draw probes until all are drawn, the relative standard error is small enough, or Ctrl-C.

    Args:
        sample: Where they are drawn.
        what: What is estimated, for messages: "trace".
        probes: How many products were asked for.
        rel_error: When to stop: ``stderr <= rel_error * |estimate|``. None draws all.

    Returns:
        Whether it was not interrupted.

    Raises:
        KeyboardInterrupt: It came before there were two terms.

    Warns:
        InterruptedWarning: It came later.
        ConvergenceWarning: All probes are drawn, and the error is larger than asked for.
    """
    looks = sample.looks()
    look = next(looks)
    try:
        while not sample.finished:
            sample.draw()
            if rel_error is None or sample.matvecs < look or sample.finished:
                continue
            while look <= sample.matvecs:
                look = next(looks)
            if _precise(sample, rel_error):
                return True
    except KeyboardInterrupt:
        if sample.count < 2:
            raise
        said = f"Interrupted after {sample.matvecs} of {probes} probes: the {what} is from these, and less certain."
        warnings.warn(said, InterruptedWarning, stacklevel=4)
        return False
    if rel_error is not None and not _precise(sample, rel_error):
        value, stderr = sample.numbers()
        warnings.warn(
            f"The standard error of the {what} is {stderr:.3g} after {sample.matvecs} products, "
            f"asked for was {rel_error:g} of {abs(value):.4g}. Raise probes or rel_error.",
            ConvergenceWarning,
            stacklevel=4,
        )
    return True


def _precise(sample: Sample, rel_error: float) -> bool:
    value, stderr = sample.numbers()
    return stderr <= rel_error * abs(value)


class Mean(Sample):
    """The mean of independent terms, one product each; nothing is read from the device before it is looked at.

    Args:
        term: Computes one term from its number, a float64 tensor without axes.
        probes: How many.
        bar: Counts products.
        shape: What becomes of the mean and its standard error; by default nothing.
    """

    def __init__(
        self,
        term: Callable[[int], Tensor],
        probes: int,
        bar: Progress,
        shape: Callable[[float, float], tuple[float, float]] = lambda value, stderr: (value, stderr),
    ) -> None:
        self.term, self.probes, self.bar, self.shape = term, probes, bar, shape
        self._terms: list[Tensor] = []

    @property
    def matvecs(self) -> int:
        """Products taken so far."""
        return len(self._terms)

    @property
    def count(self) -> int:
        """One term a product."""
        return len(self._terms)

    @property
    def finished(self) -> bool:
        """Whether all probes are drawn."""
        return len(self._terms) >= self.probes

    def draw(self) -> None:
        """Compute one more term."""
        self._terms.append(self.term(len(self._terms)))
        self.bar.update()

    def looks(self) -> Iterator[int]:
        """Look first after 30."""
        return by_eighths(LEAST)

    def numbers(self) -> tuple[float, float]:
        """Return the mean and its standard error."""
        return self.shape(*mean_of(self._terms))


def mean_of(terms: list[Tensor]) -> tuple[float, float]:
    """Return the mean of independent terms and its standard error, NaN for one term."""
    sample, count = torch.stack(terms), len(terms)
    spread = sample.std() if count > 1 else sample.new_full((), math.nan)
    mean, stderr = torch.stack([sample.mean(), spread / math.sqrt(count)]).tolist()
    return mean, stderr


def check_probes(probes: int, least: int) -> None:
    """Check a number of probes.

    Raises:
        ConfigError: It is no integer, or too small.
    """
    if not is_whole(probes) or probes < least:
        raise ConfigError(
            "The number of probes is out of range.", expected=f"an integer of at least {least}", got=repr(probes)
        )


def check_rel_error(rel_error: float | None) -> None:
    """Check a relative standard error.

    Raises:
        ConfigError: It is not positive and finite.
    """
    if rel_error is not None and not (is_number(rel_error) and math.isfinite(rel_error) and rel_error > 0):
        raise ConfigError(
            "rel_error is out of range.",
            expected="a positive number, or None for all probes",
            got=repr(rel_error),
            fix="Use 0.05 for a standard error of 5 % of the estimate.",
        )
