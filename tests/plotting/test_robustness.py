"""Accuracy under attack, drawn: a panel for each norm, L-infinity radii in 1/255, intervals as bands."""

from __future__ import annotations

import numpy as np
import pytest

from landscape.errors import ConfigError, DataError
from landscape.plotting import robustness
from landscape.robustness import RobustAccuracy


def result(norm: str, broken: list[list[bool]], epsilons: list[float]) -> RobustAccuracy:
    sizes = np.where(broken, 0.01, np.nan)
    return RobustAccuracy(attack="pgd", norm=norm, epsilons=epsilons, sizes=sizes, settings={}, provenance={})


ONE = result("l2", [[False] * 4, [True, False, False, False]], [0.0, 0.5])
OTHER = result("linf", [[False] * 4, [True, True, True, False]], [0.0, 8 / 255])


def test_each_norm_has_a_panel_in_its_own_units():
    figure = robustness({"SGD": ONE, "SAM": OTHER})
    curves = {trace.name: trace for trace in figure.data if trace.mode and "markers" in trace.mode}
    np.testing.assert_allclose(curves["SGD"].x, [0, 0.5])
    np.testing.assert_allclose(curves["SAM"].x, [0, 8])
    assert curves["SGD"].y.tolist() == [100, 75] and curves["SAM"].y.tolist() == [100, 25]
    assert curves["SGD"].xaxis != curves["SAM"].xaxis
    labels = {figure.layout.xaxis.title.text, figure.layout.xaxis2.title.text}
    assert any("1/255" in label for label in labels) and any("L2" in label for label in labels)
    told = str(figure.to_dict())
    assert "75.0 % right (95 %: 30.1 to 95.4)" in told


@pytest.mark.parametrize("backend", ["plotly", "matplotlib"])
def test_one_result_is_named_after_its_attack(backend):
    figure = robustness(ONE, backend=backend)
    if backend == "plotly":
        assert "<b>pgd</b>" in str(figure.to_dict())
    else:
        (curve,) = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2]
        assert curve.get_ydata().tolist() == [100, 75]


def test_the_band_is_wilsons_interval_which_ends_at_100_percent():
    (band,) = [trace for trace in robustness(ONE).data if trace.fill == "toself"]
    ends = np.array([y for y in band.y if y is not None and np.isfinite(y)])
    assert ends.max() <= 100 and np.isclose(ends, 100 * ONE.interval[1, 0]).any()


def test_nothing_to_draw():
    with pytest.raises(DataError, match="nothing to draw"):
        robustness({})
    with pytest.raises(ConfigError):
        robustness(ONE, backend="ascii")
