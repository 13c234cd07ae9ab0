"""The search for a rise: it finds it, and it ends."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from landscape.sharpness.crossing import EVALUATIONS, crossing


class Counted:
    def __init__(self, function: Callable[[float], float]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, distance: float) -> float:
        self.calls += 1
        return self.function(distance)


@pytest.mark.parametrize("start", [1e-12, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("power", [0.5, 1, 2, 4])
def test_it_finds_the_place_from_anywhere(start: float, power: float) -> None:
    rise = Counted(lambda r: 3 * r**power)
    found = crossing(rise, 0.1, start=start, largest=1e9, tolerance=1e-9)
    assert 3 * found**power == pytest.approx(0.1, abs=1e-9)
    assert rise.calls <= 60


def test_few_evaluations_for_a_parabola() -> None:
    rise = Counted(lambda r: 40 * r**2)
    crossing(rise, 0.1, start=1e-3, largest=100, tolerance=1e-6)
    assert rise.calls <= 20


@pytest.mark.parametrize(
    "function",
    [lambda r: 0.05, lambda r: 0.0, lambda r: -r, lambda r: 0.09 * math.tanh(r), lambda r: 1e-300 * r],
)
def test_what_never_rises_ends_with_infinity(function: Callable[[float], float]) -> None:
    rise = Counted(function)
    assert crossing(rise, 0.1, start=1e-3, largest=1e6, tolerance=1e-6) == math.inf
    assert rise.calls <= 15  # factors of 5


def test_a_start_of_nothing_ends() -> None:
    rise = Counted(lambda r: r)
    assert crossing(rise, 0.1, start=1e-300, largest=1e6, tolerance=1e-6) == math.inf
    assert rise.calls == EVALUATIONS


@pytest.mark.parametrize("start", [0.1, 1.0, 50.0])
def test_a_jump_is_found_where_it_is(start: float) -> None:
    for top in (1.0, 1e300, math.inf):
        found = crossing(lambda r, top=top: 0.0 if r < 2 else top, 0.1, start=start, largest=1e6, tolerance=1e-6)
        assert found == pytest.approx(2, rel=1e-8)


@pytest.mark.parametrize("start", [0.1, 1.0, 50.0])
def test_nan_before_the_target_is_nan(start: float) -> None:
    rise = Counted(lambda r: 0.01 * r if r < 2 else math.nan)
    assert math.isnan(crossing(rise, 0.1, start=start, largest=1e6, tolerance=1e-6))
    assert rise.calls <= EVALUATIONS


def test_nan_behind_the_target_is_no_matter() -> None:
    found = crossing(lambda r: 0.1 * r if r < 2 else math.nan, 0.1, start=0.3, largest=1e6, tolerance=1e-9)
    assert found == pytest.approx(1, rel=1e-6)


class Bar:
    done = 0

    def update(self, n: int = 1) -> None:
        self.done += n


def test_a_bar_ends_full() -> None:
    bar = Bar()
    crossing(lambda r: r, 0.1, start=1.0, largest=1e6, tolerance=1e-6, bar=bar)
    assert bar.done == EVALUATIONS


def test_nan_everywhere_ends() -> None:
    rise = Counted(lambda r: math.nan)
    assert math.isnan(crossing(rise, 0.1, start=1.0, largest=1e6, tolerance=1e-6))
    assert rise.calls <= EVALUATIONS
