"""Kendall's tau with its uncertainty, against counting pairs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from landscape.errors import DataError, MismatchError
from landscape.study import rank_correlation


def counted(x, y) -> float:
    """Tau-b by its definition."""
    alike = opposite = only_x = only_y = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        alike, opposite = alike + (a * b > 0), opposite + (a * b < 0)
        only_x, only_y = only_x + (a == 0 != b), only_y + (b == 0 != a)
    both = alike + opposite
    return (alike - opposite) / math.sqrt((both + only_x) * (both + only_y))


@pytest.mark.parametrize("ties", [False, True])
def test_tau_is_what_counting_pairs_gives(ties: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=9), rng.normal(size=9)
    if ties:
        x, y = np.round(x), np.round(y)
    found = rank_correlation(x.tolist(), y.tolist())
    assert found.tau == pytest.approx(counted(x, y), abs=1e-12)
    left_out = [counted(np.delete(x, i), np.delete(y, i)) for i in range(9)]
    assert found.stderr == pytest.approx(math.sqrt(8 * np.var(left_out)), abs=1e-12)


def test_p_is_the_share_of_orders_that_are_as_far_from_zero() -> None:
    y = [1, 2, 4, 3, 5]
    taus = [rank_correlation(range(5), order).tau for order in itertools.permutations(range(5))]
    found = rank_correlation(range(5), y)
    assert found.p_value == pytest.approx(np.mean([abs(tau) >= found.tau - 1e-12 for tau in taus]))
    assert found.by_chance == pytest.approx(np.std(taus))


def test_orders_count_and_nothing_else() -> None:
    x = [3.0, 1.0, 2.0, 5.0]
    assert rank_correlation(x, np.exp(x).tolist()).tau == 1
    assert rank_correlation(x, [-value for value in x]).tau == -1
    assert rank_correlation([1.0, 2.0, math.inf], [1.0, 2.0, 3.0]).tau == 1


def test_what_is_unknown_stays_unknown() -> None:
    assert math.isnan(rank_correlation([1.0, math.nan, 2.0], [1.0, 2.0, 3.0]).tau)
    assert math.isnan(rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).tau)
    assert math.isnan(rank_correlation([1.0, 2.0], [1.0, 2.0]).stderr)


def test_bad_input() -> None:
    with pytest.raises(MismatchError):
        rank_correlation([1.0, 2.0], [1.0])
    with pytest.raises(DataError):
        rank_correlation([1.0], [1.0])


def test_words() -> None:
    assert str(rank_correlation([1, 2, 3, 4], [1, 2, 4, 3])).startswith("+0.67 ± 0.")
