"""The common scale: what can be drawn, where, with which ticks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.plotting.comparison import cell
from landscape.plotting.scale import Scale, common_scale, nice_step

values = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=20)


@given(values, st.sampled_from([None, False]))
def test_drawn_values_lie_inside_the_scale_and_only_what_is_not_finite_is_lost(numbers, log):
    array = np.array(numbers, dtype=float)
    scale = common_scale([array], log=log)
    drawn = scale.drawn(array)
    finite = np.isfinite(drawn)
    assert (drawn[finite] >= scale.low - 1e-9 * abs(scale.low)).all()
    assert (drawn[finite] <= scale.high + 1e-9 * abs(scale.high)).all()
    assert (finite == np.isfinite(array)).all()
    assert scale.low < scale.high


@given(st.floats(1e-12, 1e12), st.floats(1.01, 1e9))
def test_ticks_are_few_ordered_and_inside(low, ratio):
    for scale in (
        Scale(log=True, clip=None, low=math.log10(low), high=math.log10(low * ratio)),
        Scale(log=False, clip=None, low=low, high=low * ratio),
    ):
        positions, texts = scale.ticks(7)
        assert len(positions) == len(texts) <= 8
        assert positions == sorted(positions)
        margin = 1e-6 * (scale.high - scale.low)
        assert all(scale.low - margin <= p <= scale.high + margin for p in positions)


def test_log_is_chosen_for_more_than_a_decade_of_positive_values():
    assert common_scale([np.array([1.0, 11.0])]).log
    assert not common_scale([np.array([1.0, 9.0])]).log
    assert not common_scale([np.array([0.0, 9.0, 100.0])]).log


def test_values_that_a_log_cannot_show_become_gaps():
    scale = common_scale([np.array([0.0, 1.0, 100.0])], log=True)
    assert np.isnan(scale.drawn(np.array([0.0, -1.0, np.inf]))).all()


@given(st.floats(1e-9, 1e9))
def test_nice_step_is_at_least_the_rough_one_and_at_most_two_and_a_half_times_it(rough):
    assert rough * (1 - 1e-6) <= nice_step(rough) <= 2.5 * rough


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (11.678, 0.987, "11.68 ± 0.99"),
        (0.0123456, 0.000012, "0.012346 ± 0.000012"),
        (1234567.0, 4321.0, "1234600 ± 4300"),
        (2.0, 0.0, "2.00"),
        (float("inf"), 1.0, "inf"),
    ],
)
def test_numbers_are_rounded_to_two_digits_of_their_error(value, error, text):
    assert cell(value, error) == text
