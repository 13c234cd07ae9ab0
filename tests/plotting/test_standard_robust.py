"""Robust against standard accuracy: a panel a radius, a point a network, networks of one method joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landscape.errors import ConfigError, DataError, MismatchError
from landscape.plotting import standard_robust
from landscape.robustness import RobustAccuracy


def network(*broken: int, norm: str = "l2") -> RobustAccuracy:
    """A hundred examples, of which so many are broken within the radii 0, 0.5 and 1."""
    sizes = [np.where(np.arange(100) < count, 0.0, np.nan) for count in broken]
    radii = [0.0, 0.5, 1.0][: len(broken)]
    return RobustAccuracy(attack="pgd", norm=norm, epsilons=radii, sizes=sizes, settings={}, provenance={})


FOUND = {"SGD": network(10, 60, 90), "PGD": [network(15, 40, 60), network(30, 45, 50)]}


def traces(figure: Any, mode: str) -> list[Any]:
    return [trace for trace in figure.data if trace.mode == mode]


def test_a_panel_for_each_radius_and_a_point_for_each_network():
    figure = standard_robust(FOUND)
    points = traces(figure, "markers")
    assert [(t.name, t.x.tolist(), np.round(t.y, 9).tolist()) for t in points] == [
        ("SGD", [90], [40]), ("PGD", [85, 70], [60, 55]), ("SGD", [90], [10]), ("PGD", [85, 70], [40, 50]),
    ]  # fmt: skip
    assert {a.text for a in figure.layout.annotations} >= {"within 0.5 (L2)", "within 1 (L2)"}


def test_networks_of_one_method_are_joined_in_their_order():
    lines = traces(standard_robust(FOUND, epsilons=[1.0]), "lines")
    assert [(line.x.tolist(), np.round(line.y, 9).tolist()) for line in lines] == [([85, 70], [40, 50])]


def test_bars_are_standard_errors_sideways_and_wilsons_interval_upwards():
    (point,) = traces(standard_robust({"SGD": network(10, 60)}), "markers")
    assert point.error_x.array.tolist() == pytest.approx([100 * (0.9 * 0.1 / 100) ** 0.5])
    one = FOUND["SGD"]
    low, high = 100 * one.interval[1]
    assert point.error_y.array.tolist() == pytest.approx([high - 40])
    assert point.error_y.arrayminus.tolist() == pytest.approx([40 - low])


def test_both_backends_and_the_other_norm():
    found = {"SGD": network(10, 60, norm="linf")}
    figure = standard_robust(found, backend="matplotlib")
    assert figure.axes[0].get_title() == "within 128/255 (L-infinity)"
    assert figure.axes[0].get_xlabel() == "standard accuracy (%)"


def test_what_cannot_be_drawn():
    with pytest.raises(DataError, match="nothing to draw"):
        standard_robust({})
    with pytest.raises(DataError, match="no accuracy at this radius"):
        standard_robust(FOUND, epsilons=[0.7])
    with pytest.raises(DataError, match="no radius above 0"):
        standard_robust({"SGD": network(10)})
    with pytest.raises(MismatchError, match="cannot be compared"):
        standard_robust({**FOUND, "SAM": network(1, 2, 3, norm="linf")})
    with pytest.raises(ConfigError):
        standard_robust(FOUND, backend="ascii")
