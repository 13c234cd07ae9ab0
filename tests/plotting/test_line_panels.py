"""Panels of lines: one scale, one color for each label, and all directions drawn."""

from __future__ import annotations

import numpy as np
import pytest

from landscape import plotting
from landscape.errors import DataError
from landscape.surface.results import Line

ALPHAS = np.linspace(-1, 1, 5)


def line(height: float, norm: str = "filter", bottom: float = 0.01) -> Line:
    loss = bottom + height * ALPHAS**2
    return Line(
        alphas=ALPHAS, loss=loss, accuracy=1 - loss, status=np.ones(5), directions=({"norm": norm},),
        provenance={"loss": "cross_entropy"},
    )  # fmt: skip


def said(figure) -> str:
    return figure.layout.meta["description"]


def test_panels_share_their_scale_and_labels_their_color():
    panels = {"raw": {"one": line(1.0, "model"), "two": line(50.0, "model")}, "own": {"two": line(1.0)}}
    figure = plotting.line_panels(panels)
    first, second, third = figure.data
    assert first.line.color != second.line.color == third.line.color
    np.testing.assert_array_equal(second.y, panels["raw"]["two"].loss)
    assert {axis.type for axis in figure.select_yaxes()} == {"log"}
    ranges = {tuple(axis.range) for axis in figure.select_yaxes() if axis.range}
    assert len(ranges) == 1 and next(iter(ranges))[1] > np.log10(50)
    assert "1 = the norm of all weights (raw); filter-normalized: 1 = each filter's own norm (own)" in said(figure)
    assert "random directions for each" not in said(figure)
    assert {axis.type for axis in plotting.line_panels(panels, log=False).select_yaxes()} != {"log"}


def test_all_directions_are_drawn_and_only_the_first_is_in_the_legend():
    figure = plotting.line_panels({"own": {"one": [line(1.0), line(2.0), line(3.0)]}}, title="Three?")
    assert [trace.y[0] for trace in figure.data] == pytest.approx([1.01, 2.01, 3.01])
    assert len({trace.line.color for trace in figure.data}) == 1
    assert [bool(trace.showlegend) for trace in figure.data] == [True, False, False]
    assert figure.data[0].name == "one"
    assert figure.data[0].line.width > figure.data[1].line.width
    assert said(figure).startswith("Three? 3 random directions for each network")
    assert "direction 2" in str(figure.data[1].to_plotly_json())


def test_what_is_not_finite_is_a_gap_and_counted():
    broken = line(1.0)
    loss = np.array(broken.loss)
    loss[1] = np.nan
    broken = Line(
        alphas=ALPHAS, loss=loss, accuracy=broken.accuracy, status=[1, 2, 1, 1, 1], directions=(), provenance={}
    )
    assert "1 point without a finite loss: gaps." in said(plotting.line_panels({"": {"one": broken}}))


def test_it_draws_with_matplotlib_too():
    figure = plotting.line_panels(
        {"raw": {"one": [line(1.0), line(2.0)]}, "own": {"one": line(1.0)}}, backend="matplotlib"
    )
    assert [len(axes.lines) >= count for axes, count in zip(figure.axes, (2, 1), strict=False)] == [True, True]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


@pytest.mark.parametrize("wrong", [{}, {"raw": {}}, {"raw": {"one": []}}, {"raw": {"one": 3.0}}])
def test_what_is_no_line_is_refused(wrong):
    with pytest.raises(DataError):
        plotting.line_panels(wrong)
