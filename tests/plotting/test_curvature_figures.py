"""Figures of curvature: maps over a plane, histories along a training, layers of a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from landscape import plotting
from landscape.curvature import CurvatureMap, Eigenpairs, Estimate, Hessian
from landscape.errors import ConfigError, DataError
from landscape.study import CurvatureHistory

AXIS = np.linspace(-1, 1, 5)
FILTER = {"norm": "filter"}
PLANE = {"origin_sha256": None, "marks": {}}


def curvature(low: float = -2.0, high: float = 5.0, **changes) -> CurvatureMap:
    a, b = np.meshgrid(AXIS, AXIS, indexing="ij")
    values = {
        "lowest": low * (1 + a**2),
        "highest": high * (1 + a**2 + b**2),
        "residuals": np.full(a.shape, 1e-3),
        "converged": np.ones(a.shape, bool),
        "provenance": {"directions": [FILTER, FILTER], "plane": PLANE, "tol": 1e-2},
        "complete": True,
    }
    return CurvatureMap(alpha=AXIS, beta=AXIS, **{**values, **changes})


def said(figure) -> str:
    return figure.layout.meta["description"]


def cells(figure) -> list:
    return [trace for trace in figure.data if trace.type in ("heatmap", "contour") and trace.coloraxis]


# ---------------------------------------------------------------------------------------------------------- maps


def test_signed_values_diverge_from_white_at_zero():
    one = curvature()
    figure = plotting.curvature_map(one, show="lowest")
    axis = figure.layout.coloraxis
    assert axis.cmin == -axis.cmax == pytest.approx(one.lowest.min())
    assert axis.colorscale[len(axis.colorscale) // 2][1] == "rgb(247,247,247)"
    np.testing.assert_array_equal(cells(figure)[0].z, one.lowest.T)
    assert "White is 0" in said(figure)
    assert axis.colorbar.title.text.replace("<br>", " ") == "smallest eigenvalue (loss per squared weight)"


def test_positive_values_have_the_colors_of_a_surface_and_a_log_scale_where_they_span_a_decade():
    figure = plotting.curvature_map(curvature(high=5.0))
    assert figure.layout.coloraxis.cmin == pytest.approx(5.0) and "White" not in said(figure)
    wide = curvature(highest=10 ** (AXIS[:, None] + AXIS[None, :]))
    assert "log scale" in plotting.curvature_map(wide).layout.coloraxis.colorbar.title.text
    np.testing.assert_allclose(cells(plotting.curvature_map(wide))[0].z, np.log10(wide.highest).T)


def test_the_ratio_begins_at_zero_and_says_what_it_means():
    one = curvature()
    figure = plotting.curvature_map(one, show="ratio")
    assert figure.layout.coloraxis.cmin == 0.0
    np.testing.assert_array_equal(cells(figure)[0].z, one.ratio.T)
    assert "Near 0 the loss is convex" in said(figure)


def test_maps_share_one_scale():
    maps = {"SGD": curvature(), "SAM": curvature(low=-0.5)}
    figure = plotting.curvature_map(maps, show="lowest")
    assert figure.layout.coloraxis.cmax == pytest.approx(4.0)
    assert {trace.coloraxis for trace in cells(figure)} == {"coloraxis"}
    assert "share the axes and the color scale" in said(figure)


def test_points_without_a_value_are_hatched_and_those_not_converged_marked():
    converged, lowest = np.ones((5, 5), bool), curvature().lowest.copy()
    converged[1, 2] = converged[3, 4] = False
    lowest[0, 0] = np.nan
    figure = plotting.curvature_map(curvature(lowest=lowest, converged=converged), show="lowest")
    (marks,) = [trace for trace in figure.data if trace.name == "not converged"]
    assert sorted(zip(marks.x, marks.y, strict=True)) == [(AXIS[1], AXIS[2]), (AXIS[3], AXIS[4])]
    assert all("not converged" in text for text in marks.text)
    assert [trace for trace in figure.data if trace.name == "no value (gap)"]
    assert "1 point without a value: gaps." in said(figure) and "2 points not converged" in said(figure)
    interrupted = plotting.curvature_map(curvature(lowest=lowest, complete=False), show="lowest")
    assert "without a value (interrupted): gaps." in said(interrupted)


def test_a_map_that_does_not_say_what_converged_is_judged_by_its_residuals():
    residuals = np.full((5, 5), 1e-3)
    residuals[2, 2] = 1.0  # of eigenvalues up to 5, to a tolerance of 0.01
    figure = plotting.curvature_map(curvature(residuals=residuals, converged=None))
    (marks,) = [trace for trace in figure.data if trace.name == "not converged"]
    assert (marks.x, marks.y) == ((0.0,), (0.0,))


def test_only_a_plane_through_the_trained_weights_names_them():
    def names(one):
        return {trace.name for trace in plotting.curvature_map(one).data}

    trained = "trained weights (α = β = 0)"
    assert trained in names(curvature())
    assert trained not in names(curvature(provenance={"directions": [FILTER, FILTER]}))
    marked = {"plane": {"origin_sha256": "abc", "marks": {"SAM": [0.5, 0.5]}}}
    assert "SAM" in names(curvature(provenance={"directions": [FILTER, FILTER], **marked}))


@pytest.mark.parametrize("show", ["highest", "lowest", "ratio"])
def test_maps_show_in_matplotlib(show):
    figure = plotting.curvature_map({"SGD": curvature(), "SAM": curvature(low=-0.1)}, show=show, backend="matplotlib")
    assert figure.axes[0].collections and figure.axes[0].get_title() == "SGD"
    figure.draw_without_rendering()


def test_clipped_and_unloggable_values_are_counted():
    assert "above 6 drawn at 6" in said(plotting.curvature_map(curvature(), clip=6.0))
    assert "25 points of 0 or less" in said(plotting.curvature_map(curvature(), show="lowest", log=True))


def test_unknown_quantities_and_other_results_are_refused(results):
    with pytest.raises(ConfigError, match="Did you mean 'lowest'"):
        plotting.curvature_map(curvature(), show="lowets")
    with pytest.raises(DataError, match=r"plotting\.curvature_map draws a CurvatureMap"):
        plotting.contour(curvature())
    with pytest.raises(DataError, match="a CurvatureMap"):
        plotting.curvature_map(results.surfaces)


# ----------------------------------------------------------------------------------------------------- histories


def history(rate: float = 0.1, k: int = 1, **changes) -> CurvatureHistory:
    steps = np.arange(6) * 10
    values = np.stack([(5 + steps) / (i + 1) for i in range(k)], axis=1)
    arrays = {"values": values, "residuals": 0.1 * values, "converged": np.ones(values.shape, bool)}
    arrays |= {"learning_rate": rate, "provenance": {"which": "LA"}}
    return CurvatureHistory(steps=steps, matvecs=np.full(6, 9), **{**arrays, **changes})


def curves(figure) -> list:
    return [trace for trace in figure.data if trace.mode == "lines+markers"]


def test_values_against_steps_with_the_edge_of_stability():
    one = history()
    figure = plotting.curvature_history(one)
    (curve,) = curves(figure)
    np.testing.assert_array_equal(curve.x, one.steps)
    np.testing.assert_array_equal(curve.y, one.values[:, 0])
    (edge,) = [trace for trace in figure.data if trace.mode == "lines+text"]
    assert set(edge.y) == {20.0} and edge.text[0] == "2 / learning rate = 20"
    low, high = (10**end for end in figure.layout.yaxis.range)
    assert low < 5 and high > 55 and figure.layout.yaxis.type == "log"


def test_the_band_is_the_residual():
    one = history()
    (band,) = [trace for trace in plotting.curvature_history(one, log=False).data if trace.fill == "toself"]
    assert np.nanmax(band.y) == pytest.approx((one.values + one.residuals).max())
    assert np.nanmin(band.y) == pytest.approx((one.values - one.residuals).min())


def test_checkpoints_that_did_not_converge_are_hollow():
    converged = np.ones((6, 1), bool)
    converged[2] = False
    figure = plotting.curvature_history(history(converged=converged))
    assert [symbol.endswith("-open") for symbol in curves(figure)[0].marker.symbol] == (~converged[:, 0]).tolist()
    assert "Hollow: 1 of 6 eigenpairs not converged." in said(figure)
    axes = plotting.curvature_history(history(converged=converged), backend="matplotlib").axes[0]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_xdata().tolist() for line in hollow] == [[20.0]]


def test_there_is_no_edge_without_a_learning_rate_or_for_the_smallest_eigenvalues():
    for one in (history(rate=0.0), history(provenance={"which": "SA"})):
        figure = plotting.curvature_history(one)
        assert not [trace for trace in figure.data if trace.mode == "lines+text"]
    assert "smallest curvature" in figure.layout.title.text


def test_several_trainings_have_their_own_edges_where_these_differ():
    same = plotting.curvature_history({"SGD": history(), "SAM": history()})
    assert [t.text[0] for t in same.data if t.mode == "lines+text"] == ["2 / learning rate = 20"]
    other = plotting.curvature_history({"SGD": history(), "SAM": history(rate=0.2)})
    assert [t.text[0] for t in other.data if t.mode == "lines+text"] == [
        "SGD: 2 / learning rate = 20",
        "SAM: 2 / learning rate = 10",
    ]


def test_several_eigenvalues_are_told_apart_and_a_lost_checkpoint_is_a_gap():
    one = history(k=3)
    assert [curve.name for curve in curves(plotting.curvature_history(one))] == ["λ1", "λ2", "λ3"]
    names = [curve.name for curve in curves(plotting.curvature_history({"SGD": one, "SAM": one}))]
    assert names == [f"{run}, λ{k}" for run in ("SGD", "SAM") for k in (1, 2, 3)]
    values = one.values.copy()
    values[4] = np.nan
    figure = plotting.curvature_history(replace(one, values=values))
    assert np.isnan(curves(figure)[0].y[4]) and "1 checkpoint without a finite loss: gaps." in said(figure)


def test_a_history_without_any_value_still_draws():
    nothing = np.full((6, 1), np.nan)
    for backend in ("plotly", "matplotlib"):
        assert plotting.curvature_history(history(values=nothing, residuals=nothing), backend=backend) is not None


# -------------------------------------------------------------------------------------------------------- layers


@pytest.fixture
def answers(objective):
    hessian = Hessian(objective)
    return {
        "top": hessian.layerwise("top", k=1, progress=False),
        "trace": hessian.layerwise("trace", probes=8, progress=False),
    }


def test_layers_are_bars_in_the_order_of_the_network_with_their_errors(objective, answers):
    figure = plotting.layers(answers, log=False, sizes=objective.layout)
    top, trace, share = figure.data
    assert list(figure.layout.yaxis.ticktext) == list(objective.layout.layers) == ["0", "2", "4"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # the first layer on top
    assert {one.type for one in figure.data} == {"bar"} and top.orientation == "h"
    assert list(top.x) == [pairs.values[0] for pairs in answers["top"].values()]
    assert list(top.error_x.array) == [pairs.residuals[0] for pairs in answers["top"].values()]
    assert list(trace.x) == [one.value for one in answers["trace"].values()]
    assert list(trace.error_x.array) == [one.stderr for one in answers["trace"].values()]
    assert list(share.x) == pytest.approx(np.array(trace.x) / [6 * 8 + 8, 8 * 5 + 5, 5 * 3 + 3])
    assert list(share.error_x.array) == pytest.approx(np.array(trace.error_x.array) / [56, 45, 18])


def test_answers_of_one_question_are_named_by_it(answers):
    unit = plotting.layers(answers["trace"], log=False, question="trace").layout.xaxis.title.text
    assert unit == plotting.layers({"trace": answers["trace"]}, log=False).layout.xaxis.title.text != "value"
    assert plotting.layers(answers["trace"], log=False).layout.xaxis.title.text == "value"


def test_a_log_axis_has_points_since_bars_begin_nowhere():
    values = {"a": Estimate(1.0, 0.1, 9), "b": Estimate(1000.0, 1.0, 9), "c": Estimate(-1.0, 0.1, 9)}
    figure = plotting.layers(values, log=True)
    (points,) = figure.data
    assert points.type == "scatter" and points.mode == "markers" and figure.layout.xaxis.type == "log"
    assert list(points.x)[:2] == [1.0, 1000.0] and np.isnan(points.x[2])
    assert "1 value of 0 or less" in said(figure)
    assert plotting.layers(values).data[0].type == "bar"  # a log axis is not chosen where it cannot show all
    del values["c"]
    assert plotting.layers(values).data[0].type == "scatter"


def pairs(value: float, converged: bool) -> Eigenpairs:
    return Eigenpairs(
        values=np.array([value]), vectors=torch.ones(1, 1), residuals=np.array([0.1]), matvecs=1,
        converged=np.array([converged]),
    )  # fmt: skip


def test_layers_that_did_not_converge_are_hollow_and_lost_ones_counted():
    figure = plotting.layers({"a": pairs(1.0, True), "b": pairs(2.0, False), "c": pairs(np.nan, True)})
    assert [color == "rgba(0,0,0,0)" for color in figure.data[0].marker.color] == [False, True, False]
    assert "Hollow: 1 eigenpair not converged." in said(figure) and "1 value not finite" in said(figure)
    patches = plotting.layers({"a": pairs(1.0, True), "b": pairs(2.0, False)}, backend="matplotlib").axes[0].patches
    assert [patch.get_facecolor()[3] for patch in patches] == [1.0, 0.0]


def test_answers_that_are_no_numbers_and_panels_of_other_layers_are_refused(objective, answers):
    with pytest.raises(DataError, match="is no number"):
        plotting.layers({"a": torch.ones(2, 2)})
    with pytest.raises(DataError, match="other layers than the first"):
        plotting.layers({"top": answers["top"], "trace": {"0": 1.0}})
    with pytest.raises(DataError, match="nothing to draw"):
        plotting.layers({})
    with pytest.raises(DataError, match="have no size"):
        plotting.layers(answers, sizes={"0": 3})


def test_a_long_network_is_drawn_without_a_layer_over_another():
    figure = plotting.layers({f"layer{i}.conv": Estimate(1.0 + i, 0.1, 9) for i in range(62)}, backend="matplotlib")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    assert not [1 for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
