"""A limited set is balanced, nested and the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.datasets import choose_examples
from landscape.errors import ConfigError, DataError

labelings = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@given(labels=labelings, data=st.data())
@settings(max_examples=100, deadline=None)
def test_balanced_choices(labels, data):
    limit = data.draw(st.integers(1, len(labels)))
    chosen = choose_examples(labels, limit, seed=3)
    assert len(chosen) == limit == len(set(chosen.tolist())) and (np.diff(chosen) > 0).all()
    available, taken = np.bincount(labels, minlength=5), np.bincount(labels[chosen], minlength=5)
    open_classes = taken[taken < available]  # what is used up may lag behind
    if len(open_classes):
        assert taken.max() - open_classes.min() <= 1
    smaller = choose_examples(labels, max(1, limit // 2), seed=3)
    assert set(smaller.tolist()) <= set(chosen.tolist())
    assert np.array_equal(chosen, choose_examples(labels, limit, seed=3))


@given(labels=labelings, data=st.data())
@settings(max_examples=30, deadline=None)
def test_unbalanced_choices_are_nested(labels, data):
    limit = data.draw(st.integers(1, len(labels)))
    chosen = choose_examples(labels, limit, balanced=False)
    assert len(set(chosen.tolist())) == limit
    assert set(choose_examples(labels, 1, balanced=False).tolist()) <= set(chosen.tolist())


def test_other_seeds_choose_others_and_none_chooses_all():
    labels = np.arange(1000) % 10
    assert not np.array_equal(choose_examples(labels, 100, seed=0), choose_examples(labels, 100, seed=1))
    assert not np.array_equal(
        choose_examples(labels, 100, balanced=False), choose_examples(labels, 100, balanced=False, seed=1)
    )
    assert np.array_equal(choose_examples(labels, None), np.arange(1000))


def test_leftover_places_do_not_always_go_to_the_first_classes():
    labels = np.arange(1000) % 10
    winners = {tuple(np.flatnonzero(np.bincount(labels[choose_examples(labels, 13, seed=s)]) == 2)) for s in range(8)}
    assert len(winners) > 1


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "all"])
def test_limits_that_are_no_numbers(limit):
    with pytest.raises(ConfigError):
        choose_examples(np.zeros(5, dtype=int), limit)


def test_a_limit_beyond_the_set_names_the_number_available():
    with pytest.raises(DataError, match="at most 5 examples.*limit=5"):
        choose_examples(np.zeros(5, dtype=int), 6)
