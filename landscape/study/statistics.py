"""Means over seeds and their standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence


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
