"""Paired differences, and the two parts of a distance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from landscape.errors import ConfigError, DataError
from landscape.plotting import differences, distances
from landscape.surface import trajectory_plane

ROWS = {"SAM": [1.0, 2.0, 6.0], "AMP": [-1.0], "LPF-SGD": [1.0, math.nan]}


def test_each_pair_has_a_dot_and_each_row_its_mean() -> None:
    figure: Any = differences(ROWS)
    dots = [trace for trace in figure.data if trace.marker.size == 7]
    means = [trace for trace in figure.data if trace.marker.size == 10]
    assert [trace.x.tolist() for trace in dots] == [[1.0, 2.0, 6.0], [1.0]]
    assert [trace.x[0] for trace in means[:2]] == [3.0, -1.0] and math.isnan(means[2].x[0])
    assert means[0].error_x.array[0] == pytest.approx(np.std([1, 2, 6], ddof=1) / math.sqrt(3))
    assert means[1].error_x.array is None  # one pair has no standard error
    assert "1 pair without a finite difference" in figure.layout.meta["description"]
    assert list(figure.layout.yaxis.ticktext) == ["SAM", "AMP", "LPF-SGD"]


def test_zero_is_on_the_axis() -> None:
    low, high = differences({"a": [3.0, 4.0]}).layout.xaxis.range
    assert low <= 0 < 4 < high


def test_matplotlib_draws_the_same_points() -> None:
    figure: Any = differences(ROWS, backend="matplotlib")
    places = np.concatenate([line.get_xdata() for line in figure.axes[0].get_lines()])
    assert {1.0, 2.0, 6.0, 3.0, -1.0} <= set(places.tolist())


@pytest.mark.parametrize("empty", [{}, None, [1.0], {"a": []}])
def test_no_differences(empty) -> None:
    with pytest.raises(DataError):
        differences(empty)
    with pytest.raises(ConfigError):
        differences({"a": [1.0]}, backend="ascii")  # pyright: ignore[reportArgumentType]


def test_distances_are_those_of_the_points() -> None:
    points = list(torch.randn(6, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    for center, origin in (("last", points[-1]), ("mean", torch.stack(points).mean(0))):
        path = trajectory_plane(points, center=center, steps=range(0, 60, 10), progress=False)
        figure: Any = distances(path)
        whole, on, beside = (trace.y for trace in figure.data)
        np.testing.assert_allclose(whole, [(point - origin).norm() for point in points], atol=1e-12)
        np.testing.assert_allclose(on**2 + beside**2, whole**2, atol=1e-10)
        np.testing.assert_array_equal(beside, path.distance)
        assert figure.data[0].x.tolist() == [0, 10, 20, 30, 40, 50]
    assert "mean of all" in figure.data[0].name
    assert len(distances(path, backend="matplotlib").axes) == 1
    with pytest.raises(DataError, match="cannot show"):
        distances([1, 2])  # pyright: ignore[reportArgumentType]
