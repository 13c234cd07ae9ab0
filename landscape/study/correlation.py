"""Does one number go with another, over a handful of networks? Kendall's tau with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from landscape.errors import DataError, MismatchError
from landscape.study.results import RankCorrelation


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> RankCorrelation:
    r"""Compute Kendall's tau-b of two numbers over some networks, with its uncertainty.

    Definition: ``tau = (C - D) / sqrt((C + D + T_1)(C + D + T_2))`` with C pairs of networks that both numbers rank
    alike, D that they rank oppositely, and T_1 (T_2) that only the first (the second) does not tell apart. Its standard
    error is the jackknife's, ``sqrt((n - 1) / n * sum_i (tau_i - mean)**2)`` with tau_i that of all networks but i. The
    p-value is exact for few networks without ties.

    Both take the networks for independent draws. Networks that share data, a seed or a method are not quite that, so
    the truth is rather less certain.

    Args:
        one: (n,) a number of each network; infinity is larger than all others.
        other: (n,) another number of each.

    Returns:
        The correlation.

    Raises:
        MismatchError: There are more of one than of the other.
        DataError: There are fewer than two networks.

    Example:
        >>> found = rank_correlation([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 40.0, 30.0])  # 5 pairs alike, 1 opposite
        >>> round(found.tau, 4), found.count
        (0.6667, 4)

    References:
        M. Kendall, A New Measure of Rank Correlation, Biometrika 1938. B. Efron, C. Stein, The Jackknife Estimate of
        Variance, Annals of Statistics 1981.
    """
    x, y = (np.asarray(list(values), dtype=float) for values in (one, other))
    if len(x) != len(y):
        raise MismatchError("The two numbers are of different networks.", expected=f"{len(x)} values", got=len(y))
    if len(x) < 2:
        raise DataError("Nothing can be ranked.", expected="at least two networks", got=len(x))
    tau, p_value = _tau(x, y)
    count = len(x)
    stderr = math.nan
    if count > 2:
        left_out = np.array([_tau(np.delete(x, i), np.delete(y, i))[0] for i in range(count)])
        stderr = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    return RankCorrelation(tau=tau, stderr=stderr, p_value=p_value, count=count)


def _tau(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    from scipy.stats import kendalltau

    if np.isnan(x).any() or np.isnan(y).any():
        return math.nan, math.nan
    found = kendalltau(np.unique(x, return_inverse=True)[1], np.unique(y, return_inverse=True)[1])
    return float(found.statistic), float(found.pvalue)  # pyright: ignore[reportAttributeAccessIssue]
