"""Accuracy under attack, drawn: a panel for each norm, intervals as bands; and against sharpness, a point a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from landscape.curvature import Estimate
from landscape.errors import ConfigError, DataError, MismatchError
from landscape.plotting import robustness, sharpness_robustness, standard_robust, styles
from landscape.robustness import RobustAccuracy, worst_case


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


def test_inputs_that_are_no_images_have_panels_in_their_own_units():
    signal = replace(OTHER, images=False)
    figure = robustness({"image": OTHER, "signal": signal})
    curves = {trace.name: trace for trace in figure.data if trace.mode and "markers" in trace.mode}
    np.testing.assert_allclose(curves["signal"].x, [0, 8 / 255])
    assert curves["signal"].xaxis != curves["image"].xaxis and curves["signal"].y.tolist() == [100, 25]
    assert "units of the inputs" in figure.layout.xaxis2.title.text
    assert worst_case([signal]).images is False


def test_captions_and_titles_of_signals_name_no_pixels():
    signal = replace(OTHER, images=False)
    measured = {"SGD": {"trace": Estimate(3.0, 0.1, 0)}}
    for figure in (sharpness_robustness(measured, {"SGD": signal}, epsilon=8 / 255), standard_robust({"SGD": signal})):
        told = str(figure.to_dict())
        assert "within 0.03137 (L-infinity)" in told and "/255" not in told


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


# ------------------------------------------------------------------------------------------------ against sharpness


def network(sharp: float, broken: int, *, measure: str = "lambda_max", norm: str = "l2") -> tuple[dict, RobustAccuracy]:
    """The sharpness of a network, and a hundred examples of which some are broken at the second radius."""
    radii = [0.0, 0.5] if norm == "l2" else [0.0, 8 / 255]
    lost = [False] * (100 - broken) + [True] * broken
    return {measure: Estimate(sharp, 0.1 * sharp, 3)}, result(norm, [[False] * 100, lost], radii)


def both(**networks: Any) -> tuple[dict, dict]:
    lists = {label: its if isinstance(its, list) else [its] for label, its in networks.items()}
    return tuple({label: [one[part] for one in its] for label, its in lists.items()} for part in (0, 1))


def points(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.mode == "markers"}


def test_each_network_is_a_point_with_wilsons_interval():
    figure = sharpness_robustness(*both(SGD=[network(40, 60), network(50, 50)], SAM=network(2, 30)), epsilon=0.5)
    drawn = points(figure)
    assert drawn["SGD"].x.tolist() == [40, 50] and drawn["SGD"].y.tolist() == [40, 50]
    low, high = 100 * network(2, 30)[1].interval[1]
    bar = drawn["SAM"].error_y
    assert not figure.data[0].fill and drawn["SAM"].error_x.array.tolist() == pytest.approx([0.2])
    np.testing.assert_allclose([70 - bar.arrayminus[0], 70 + bar.array[0]], [low, high])
    assert figure.layout.xaxis.type == "log" and "log scale" in figure.layout.xaxis.title.text
    assert "loss per squared weight" in figure.layout.xaxis.title.text
    assert "3 networks, 100 examples each, changed within 0.5 (L2). To the right: sharper." in figure.layout.title.text
    assert "70.0 % right (95 %: 60.4 to 78.1)" in str(drawn["SAM"].text)


def test_every_label_is_named_once_beside_one_of_its_points():
    networks = {"SGD": [network(1, 50), network(1.05, 50)], "SAM": network(1.1, 50), "PGD": network(9, 10)}
    figure = sharpness_robustness(*both(**networks), epsilon=0.5)
    named = {trace.text[0].strip("\u00a0"): trace for trace in figure.data if trace.mode == "text"}
    assert list(named) == ["SGD", "SAM", "PGD"]
    for label, trace in named.items():
        own = points(figure)[label]
        assert (trace.x[0], trace.y[0]) in list(zip(own.x, own.y, strict=True))
    assert named["SGD"].textposition == "middle left" and named["SAM"].textposition == "middle right"
    assert not any(trace.showlegend for trace in figure.data)


def test_several_measures_have_a_panel_each_and_a_legend():
    measured, found = both(SGD=network(1, 50), SAM=network(2, 40))
    for its in measured.values():
        its[0]["pac_bayes"] = Estimate(-3.0, 0.0, 1)
    figure = sharpness_robustness(measured, found, epsilon=0.5)
    assert len([trace for trace in figure.data if trace.showlegend]) == 2
    assert figure.layout.xaxis.type != "log" and "pac_bayes" in figure.layout.xaxis2.title.text
    one = sharpness_robustness(measured, found, epsilon=0.5, measures=["pac_bayes"])
    assert points(one)["SGD"].x.tolist() == [-3.0] and points(one)["SGD"].error_x.array is None


def test_points_have_the_same_bars_in_matplotlib():
    measured, found = both(SGD=network(4, 5), SAM=network(2, 30, norm="l2"))
    figure = sharpness_robustness(measured, found, epsilon=0.5, backend="matplotlib")
    bars = [segment for one in figure.axes[0].collections for segment in one.get_segments()]
    ends = [sorted(segment[:, 1]) for segment in bars if segment[0, 0] == segment[1, 0] == 4]
    np.testing.assert_allclose(ends, [100 * found["SGD"][0].interval[1]])


def test_radii_of_a_box_are_in_steps_of_a_pixel():
    figure = sharpness_robustness(*both(SGD=network(4, 5, norm="linf")), epsilon=8 / 255)
    assert "8/255 (L-infinity)" in figure.layout.title.text


def test_what_cannot_be_set_against_each_other():
    measured, found = both(SGD=network(4, 5), SAM=network(2, 30))
    with pytest.raises(DataError, match="nothing to draw"):
        sharpness_robustness({}, {}, epsilon=0.5)
    with pytest.raises(DataError, match="no accuracy at this radius"):
        sharpness_robustness(measured, found, epsilon=0.4)
    with pytest.raises(DataError, match="has no measure trace"):
        sharpness_robustness(measured, found, epsilon=0.5, measures=["trace"])
    with pytest.raises(MismatchError, match="other networks"):
        sharpness_robustness(measured, {"SGD": found["SGD"]}, epsilon=0.5)
    with pytest.raises(MismatchError, match="cannot be compared"):
        sharpness_robustness(measured, {**found, "SAM": [OTHER]}, epsilon=0.5)
    with pytest.raises(ConfigError):
        sharpness_robustness(measured, found, epsilon=0.5, backend="ascii")


def test_labels_beside_named_methods_have_markers_of_their_own():
    looks = styles(["SGD", "SAM", "AMP", "LPF-SGD", "PGD", "grad-l2", "gradient"])
    assert len({look.color for look in looks.values()}) == len({look.marker for look in looks.values()}) == 7
