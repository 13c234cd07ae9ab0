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


@given(labels=labelings, data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_skipped_is_what_a_smaller_limit_takes(labels, data):
    skip = data.draw(st.integers(0, len(labels) - 1))
    limit = data.draw(st.integers(1, len(labels) - skip))
    balanced = data.draw(st.booleans())
    first = choose_examples(labels, skip, balanced=balanced) if skip else np.array([], dtype=int)
    after = choose_examples(labels, limit, skip=skip, balanced=balanced)
    assert not set(first.tolist()) & set(after.tolist())
    whole = choose_examples(labels, skip + limit, balanced=balanced)
    assert np.array_equal(np.union1d(first, after), whole)
    rest = choose_examples(labels, None, skip=skip, balanced=balanced)
    assert len(rest) == len(labels) - skip and set(after.tolist()) <= set(rest.tolist())


@pytest.mark.parametrize("skip", [-1, 1.5, True, "all", None])
def test_skips_that_are_no_numbers(skip):
    with pytest.raises(ConfigError, match="skip"):
        choose_examples(np.zeros(5, dtype=int), 1, skip=skip)


def test_a_limit_beyond_what_is_left_names_the_number_left():
    with pytest.raises(DataError, match="after 3 examples.*at most 2 examples.*limit=2"):
        choose_examples(np.zeros(5, dtype=int), 3, skip=3)
