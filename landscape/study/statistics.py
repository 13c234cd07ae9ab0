"""Means over seeds and their standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from landscape.errors import MismatchError


def mean(values: Sequence[float]) -> float:
    """Return the mean.

    Args:
        values: At least one.

    Example:
        >>> mean([0.1, 0.1, 0.1])  # of equal values it is that value
        0.1
    """
    return values[0] + sum(value - values[0] for value in values) / len(values)


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean, ``s / sqrt(n)``; NaN for one value.

    Args:
        values: At least one.

    Example:
        >>> standard_error([1.0, 3.0])
        1.0
    """
    if len(values) < 2:
        return math.nan
    center = mean(values)
    return math.sqrt(sum((value - center) ** 2 for value in values) / (len(values) - 1) / len(values))


def paired_difference(values: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    """Return by how much numbers are below others, on average over pairs, and the standard error of that.

    Definition: with the differences ``d_k = reference[k] - values[k]``, their mean, and ``s / sqrt(n)`` with s their
    standard deviation (n - 1 degrees of freedom). What both numbers of a pair share drops out of it.

    Args:
        values: (n,) a number for each seed, of one method.
        reference: (n,) the numbers of the method that it is compared with, in the same order of seeds.

    Returns:
        The mean difference, above 0 where ``values`` are lower, and its standard error: NaN for one pair.

    Raises:
        MismatchError: There are more of one than of the other, or none.

    Example:
        >>> paired_difference([0.0, 1.0], [1.0, 4.0])
        (2.0, 1.0)
    """
    if len(values) != len(reference) or not len(values):
        raise MismatchError(
            "These numbers are no pairs.",
            expected="as many of one as of the other, at least one",
            got=f"{len(values)} and {len(reference)}",
            fix="Pass one number for each seed, in the same order.",
        )
    gains = [float(plain) - float(its) for plain, its in zip(reference, values, strict=True)]
    return mean(gains), standard_error(gains)


def with_error(value: float, error: float, form: str, error_form: str | None = None) -> str:
    """Write a number with its standard error; alone where that is not known.

    Args:
        value: The number.
        error: Its standard error, or NaN.
        form: As in format(), for the number.
        error_form: The same for the error; by default that of the number without a sign.

    Example:
        >>> with_error(2.0, 0.5, "+.2f"), with_error(2.0, math.nan, "+.2f")
        ('+2.00 ± 0.50', '+2.00')
    """
    if math.isnan(error):
        return format(value, form)
    return f"{value:{form}} ± {error:{error_form or form.removeprefix('+')}}"


def seeds_note(seeds: int) -> list[str]:
    """Return the lines below a table of means over seeds: none, or that one seed has no standard error.

    Args:
        seeds: How many.
    """
    return ["", "One seed: no standard errors."] if seeds == 1 else []
