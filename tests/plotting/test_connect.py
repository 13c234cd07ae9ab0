"""Ways between two models: their curves, chords and barriers as numbers on the page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape import plotting
from landscape.errors import DataError, MismatchError
from landscape.surface import barrier, bezier_curve, interpolation_line, linear_barrier
from landscape.surface.results import Line

T = np.linspace(0, 1, 21)


def line(height: float, ends: tuple[float, float] = (0.1, 0.3), **provenance) -> Line:
    loss = (1 - T) * ends[0] + T * ends[1] + height * np.sin(np.pi * T) ** 2
    return Line(
        alphas=T, loss=loss, accuracy=1 - loss / 10, status=np.ones(21), directions=({"kind": "between"},),
        provenance=provenance,
    )  # fmt: skip


@pytest.fixture
def ways(objective):
    other = objective.weights() + 0.6
    options = {"points": 9, "progress": False}
    curve = bezier_curve(objective, other, epochs=5, lr=0.1, **options)
    return {"straight line": interpolation_line(objective, other, **options), "Bezier curve": curve}


def said(figure) -> str:
    return figure.layout.meta["description"]


def test_loss_and_accuracy_along_each_way_are_what_was_computed(ways):
    figure = plotting.connectivity(ways, ends=("SGD", "SAM"))
    for name, way in ways.items():
        loss, accuracy = [trace for trace in figure.data if trace.name == name]
        np.testing.assert_array_equal(loss.x, way.t if hasattr(way, "t") else way.alphas)
        np.testing.assert_array_equal(loss.y, way.loss)
        np.testing.assert_allclose(accuracy.y, 100 * way.accuracy)
        assert loss.line.color == accuracy.line.color
        assert f"{name} {barrier(way).height:.3g} at t = {barrier(way).at:.3g}" in said(figure)
    assert [axis.title.text for axis in figure.select_yaxes()] == ["loss (cross-entropy, nats)", "accuracy (%)"]
    assert {note.text for note in figure.layout.annotations} == {"SGD", "SAM"}
    assert {axis.type for axis in figure.select_yaxes()} == {None}  # a height is read on a linear axis


def test_the_bracket_reaches_from_the_chord_to_the_curve():
    one = line(2.0)
    figure = plotting.connectivity(one)
    found = barrier(one)
    (bar,) = [trace for trace in figure.data if trace.error_y.array is not None and trace.yaxis == "y"]
    assert bar.x[0] == found.at == 0.5
    assert bar.y[0] + bar.error_y.array[0] == pytest.approx(one.loss[10])
    assert 2 * bar.error_y.array[0] == pytest.approx(found.height)
    (note, *_) = [trace for trace in figure.data if trace.mode == "text"]
    assert note.text == ("barrier 2",)
    (chord, *_) = [trace for trace in figure.data if trace.line.dash == "dot" and trace.name == ""]
    assert chord.y[0] == pytest.approx(0.1) and chord.y[-1] == pytest.approx(0.3)


def test_training_and_test_data_differ_in_dashes_and_ways_in_color():
    paths = {
        "line": {"train": line(2.0), "test": line(3.0)},
        "curve": {"train": line(0.01), "test": line(0.02)},
    }
    figure = plotting.connectivity(paths, accuracy=False)
    looks = {t.name: (t.line.color, t.line.dash) for t in figure.data if t.name}
    assert looks["line, train"][0] == looks["line, test"][0] != looks["curve, train"][0]
    assert looks["line, train"][1] == looks["curve, train"][1] != looks["line, test"][1]
    texts = {trace.text[0] for trace in figure.data if trace.mode == "text"}
    assert texts == {"train 2", "test 3"}  # flat ways have no bracket, but their number in the caption
    bars = [trace.x[0] for trace in figure.data if trace.error_y.array is not None]
    assert len(set(bars)) == 2 and np.ptp(bars) < 0.02  # side by side
    assert "curve, test 0.02 at t = 0.5" in said(figure)


@pytest.mark.parametrize("order", [1, -1])
def test_a_number_stands_on_the_outer_side_of_its_bracket(order):
    rise = 2.0 * np.sin(np.pi * T) ** 2
    early, late = (replace(line(0.0), loss=0.1 + 0.2 * T + np.roll(rise, by) * (T > 0)) for by in (-2, 1))
    ways = dict([("early", early), ("late", late)][::order])
    figure = plotting.connectivity(ways, accuracy=False)
    notes = {t.text[0].split()[0]: (t.x[0], t.textposition) for t in figure.data if t.mode == "text"}
    assert notes == {"early": (0.4, "middle left"), "late": (0.55, "middle right")}


def test_one_set_of_data_needs_no_dashes_but_colors():
    figure = plotting.connectivity({"": {"train": line(2.0), "test": line(3.0)}}, accuracy=False)
    assert len({t.line.color for t in figure.data if t.name in ("train", "test")}) == 2


def test_a_way_with_a_gap_has_no_height_but_is_drawn():
    one = line(2.0)
    loss = one.loss.copy()
    loss[4] = np.inf
    figure = plotting.connectivity(replace(one, loss=loss), accuracy=False)
    assert "not finite" in said(figure) and "1 point without a finite loss: gaps" in said(figure)
    assert not [trace for trace in figure.data if trace.error_y.array is not None]
    assert np.isnan(figure.data[0].y[4])


def test_a_way_without_ends_is_refused_and_so_is_anything_else(results):
    with pytest.raises(MismatchError, match="does not go from one model to the other"):
        plotting.connectivity(replace(line(1.0), alphas=T + 0.1))
    with pytest.raises(DataError, match=r"cannot show a Surface.*plotting\.barrier draws a Barrier"):
        plotting.connectivity(results.surfaces)
    with pytest.raises(DataError, match=r"plotting\.connectivity draws a Curve|cannot show a Line"):
        plotting.barrier(line(1.0))


def test_a_regression_has_no_panel_of_accuracy():
    one = replace(line(1.0), accuracy=np.full(21, np.nan))
    assert len(list(plotting.connectivity(one).select_yaxes())) == 1


@pytest.mark.parametrize("backend", ["plotly", "matplotlib"])
def test_barriers_are_points_with_their_unit(objective, backend):
    found = linear_barrier({"train": objective, "test": objective}, objective.weights() + 0.5, points=5, progress=False)
    figure = plotting.barrier(found, backend=backend, loss_name="nats")
    if backend == "plotly":
        heights = [trace.x[0] for trace in figure.data if trace.xaxis == "x"]
        assert heights == [one.height for one in found.values()]
        assert [axis.title.text.replace("<br>", " ") for axis in figure.select_xaxes()][:2] == ["nats", "nats"]
    else:
        assert [axes.get_xlabel() for axes in figure.axes][:2] == ["nats", "nats"]
    errors = linear_barrier({"train": objective}, objective.weights() + 0.5, points=5, quantity="error", progress=False)
    (height, *_) = plotting.barrier(errors["train"]).data
    assert height.x[0] == pytest.approx(100 * errors["train"].height)
    with pytest.raises(MismatchError, match="no common axis"):
        plotting.barrier({"a": found["train"], "b": errors["train"]})


def test_ways_show_in_matplotlib(ways):
    figure = plotting.connectivity(ways, backend="matplotlib")
    drawn = [item.get_xydata() for item in figure.axes[0].lines if len(item.get_xydata()) == 9]
    for way, curve in zip(ways.values(), drawn, strict=True):
        np.testing.assert_array_equal(curve[:, 1], way.loss)
    figure.draw_without_rendering()


def test_a_long_name_is_left_to_the_legend_and_does_not_lie_across_the_curves():
    figure = plotting.connectivity({"straight to the other one": line(2.0), "short": line(3.0)}, accuracy=False)
    assert {trace.text[0] for trace in figure.data if trace.mode == "text"} == {"2", "short 3"}
    assert "straight to the other one 2 at t = 0.5" in said(figure)


def test_a_height_is_written_off_the_curves_where_there_is_room():
    """On the steep side of a lopsided ridge there is none; at the very peak there is none at all."""
    for width in (0.35, 0.06):
        rise = 2.0 * np.exp(-(((T - 0.5) / np.where(T > 0.5, width, 0.06)) ** 2))
        one = replace(line(2.0), loss=0.1 + rise)
        figure = plotting.connectivity({"way": one, "flat": line(0.0)}, accuracy=False)
        (note,) = [trace for trace in figure.data if trace.mode == "text"]
        sign = 1 if "right" in note.textposition else -1
        across = np.interp(note.x[0] + sign * np.linspace(0.02, 0.026 * len(note.text[0]), 20), T, one.loss)
        free = np.abs(across - note.y[0]).min() > 0.04 * np.ptp(one.loss)
        assert free == (width == 0.35) and (sign == 1 or not free)
