"""Axes are exactly symmetric around an exact zero; refinement visits each point once, the coarse picture first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.errors import ConfigError
from landscape.surface.grid import axis, both, evaluation_order, levels


@given(st.floats(1e-3, 1e3), st.integers(2, 300))
def test_axes_are_symmetric_even_and_end_at_the_extent(extent: float, points: int) -> None:
    values = axis(extent, points)
    assert np.array_equal(values, -values[::-1])
    assert values[-1] == extent and len(values) == points
    assert (values == 0).sum() == points % 2
    np.testing.assert_allclose(np.diff(values), 2 * extent / (points - 1), rtol=1e-12)  # rounding of the difference


def test_the_zero_of_an_axis_is_no_rounding() -> None:
    assert axis(0.3, 51)[25] == 0.0 and axis((-0.5, 1.5), 41)[10] == 0.0
    assert np.linspace(-0.1, 0.2, 4)[1] != 0.0 and axis((-0.1, 0.2), 4)[1] == 0.0
    assert axis((0, 1), 11)[0] == 0.0 and axis((0, 1), 11)[-1] == 1.0
    assert axis(2.0, 1).tolist() == [0.0]


@pytest.mark.parametrize(
    "extent", [0, -1.0, float("nan"), float("inf"), "1 m", None, (1.0, 0.0), (0.0, float("inf")), (1.0,)]
)
def test_extents_out_of_range(extent: object) -> None:
    with pytest.raises(ConfigError, match="extent is out of range"):
        axis(extent, 5)


@pytest.mark.parametrize("points", [0, -3, 2.5, "many", True, None])
def test_points_out_of_range(points: object) -> None:
    with pytest.raises(ConfigError, match="number of points is out of range"):
        axis(1.0, points)
    with pytest.raises(ConfigError, match="number of points is out of range"):
        both((5, points))


def test_refinement_is_every_2_to_the_kth_point() -> None:
    level = levels(17)
    for k in range(5):
        assert np.flatnonzero(level <= k).tolist() == list(range(0, 17, 2 ** (4 - k)))


@given(st.integers(1, 60), st.integers(1, 60))
def test_every_order_visits_each_point_once(rows: int, columns: int) -> None:
    for order in ("coarse-to-fine", "rows"):
        assert sorted(evaluation_order((rows, columns), order)) == list(range(rows * columns))


@given(st.integers(5, 80))
def test_an_early_look_shows_the_whole_plane(points: int) -> None:
    """At every level both ends are there, and gaps differ by one point at most."""
    level = levels(points)
    for k in range(1, level.max()):
        seen = np.flatnonzero(level <= k)
        gaps = np.diff(seen)
        assert seen[0] == 0 and seen[-1] == points - 1
        assert gaps.max() - gaps.min() <= 1  # as even as whole numbers can be


def test_unknown_order() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'rows'"):
        evaluation_order((3, 3), "row")
