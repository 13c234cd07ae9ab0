"""Estimates from samples, and of what is exact."""

from __future__ import annotations

import math

import numpy as np

from landscape.curvature import Estimate


def mean_estimate(sample: np.ndarray, *, matvecs: int = 0) -> Estimate:
    """Estimate a mean, with its standard error from the sample.

    Args:
        sample: (M,); NaN and infinity as they are.
        matvecs: Products with a curvature matrix that it took.

    Returns:
        The mean. Its standard error is NaN for a sample of one, or where a value is infinite.

    Example:
        >>> print(mean_estimate(np.array([1.0, 3.0])))
        2 ± 1
    """
    with np.errstate(invalid="ignore"):  # infinite values have no spread: NaN
        spread = float(sample.std(ddof=1)) if len(sample) > 1 else math.nan
        return Estimate(
            value=float(sample.mean()), stderr=spread / math.sqrt(len(sample)), matvecs=matvecs, samples=len(sample)
        )


def exact(value: float, *, matvecs: int = 0) -> Estimate:
    """Return a value that nothing was drawn for: its standard error is 0, and NaN where the value is NaN.

    Args:
        value: The value.
        matvecs: Products with a curvature matrix that it took.
    """
    return Estimate(value=float(value), stderr=math.nan if math.isnan(value) else 0.0, matvecs=matvecs)


def unknown() -> Estimate:
    """Return NaN: what a measure is where the loss at the weights, or its gradient, is not finite."""
    return exact(math.nan)
