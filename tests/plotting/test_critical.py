"""Critical points on contours: where they are, what is said of them, and what does not belong together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape import plotting
from landscape.errors import ConfigError, DataError, MismatchError
from landscape.surface import Surface, surface_topology


@pytest.fixture
def surface() -> Surface:
    """Two wells with a pass between them, a hill at the side, and a hole."""
    a, b = np.meshgrid(np.linspace(-1.5, 1.5, 31), np.linspace(-1, 1, 21), indexing="ij")
    loss = (a**2 - 1) ** 2 + 2 * b**2 + 0.1 * a + 2 * np.exp(-40 * ((a - 0.5) ** 2 + (b - 0.5) ** 2))
    loss[8, 4] = np.nan
    return Surface(
        alphas=a[:, 0], betas=b[0], loss=loss, accuracy=loss, status=np.where(np.isfinite(loss), 1, 2),
        directions=({}, {}), provenance={},
    )  # fmt: skip


def marks(figure) -> dict:
    return {trace.name: trace for trace in figure.data if trace.name in ("minimum", "saddle", "maximum")}


def test_marks_stand_where_the_critical_points_are_and_say_what_they_are(surface):
    topology = surface_topology(surface)
    found = marks(plotting.contour(surface, topology=topology))
    for kind, points in (("minimum", topology.minima), ("saddle", topology.saddles), ("maximum", topology.maxima)):
        trace = found[kind]
        places = {(surface.alphas[i], surface.betas[j]) for i, j in points.tolist()}
        assert set(zip(trace.x, trace.y, strict=True)) == places and len(trace.x) == len(points) > 0
        assert trace.showlegend
        assert trace.marker.line.color != trace.marker.color
    assert "%{text}" in found["saddle"].hovertemplate
    (first, second), (hill,) = found["minimum"].text, found["maximum"].text
    assert first == "minimum: loss -0.1<br>birth -0.1, never dies"
    assert second.startswith("minimum: loss 0.1<br>birth 0.1, death 1") and "persistence" in second
    assert hill.startswith("maximum: loss ") and "birth" in hill
    saddles = " ".join(found["saddle"].text)
    assert saddles.count("leads out of a basin") == saddles.count("ring around a hill") == 1
    assert saddles.count("ring around points without a loss") == 1
    edge = marks(plotting.contour(replace(surface, loss=-surface.loss), topology=_of(-surface.loss, surface)))
    assert any("at the edge of the grid" in text for text in edge["minimum"].text)


def _of(loss, surface):
    return surface_topology(replace(surface, loss=loss))


def test_a_simplified_topology_shows_less_and_the_caption_says_so(surface):
    topology = surface_topology(surface)
    figure = plotting.contour(surface, topology=topology.simplified(2))
    assert "Marked: minima, saddles and maxima with a persistence of 2 or more." in figure.layout.title.text.replace(
        "<br>", " "
    )
    assert len(marks(figure)["minimum"].x) == 1
    assert "Marked" not in plotting.contour(surface).layout.title.text and not marks(plotting.contour(surface))
    assert "maxima." in plotting.contour(surface, topology=topology).layout.title.text


def test_each_panel_has_its_own_marks_and_the_legend_each_kind_once(surface):
    topology = surface_topology(surface)
    figure = plotting.contour({"A": surface, "B": surface}, topology={"A": topology, "B": topology.simplified(2)})
    minima = [trace for trace in figure.data if trace.name == "minimum"]
    assert [(trace.xaxis, len(trace.x), trace.showlegend) for trace in minima] == [("x", 2, True), ("x2", 1, False)]
    only = plotting.contour({"A": surface, "B": surface}, topology={"B": topology})
    assert [(trace.xaxis, trace.showlegend) for trace in only.data if trace.name == "minimum"] == [("x2", True)]


def test_matplotlib_draws_them_too(surface, tmp_path):
    topology = surface_topology(surface)
    figure = plotting.contour({"A": surface, "B": surface}, topology={"B": topology}, backend="matplotlib")
    first, second = figure.axes[:2]
    assert not [line for line in first.lines if line.get_marker() == "v"]
    (minima,) = [line for line in second.lines if line.get_marker() == "v"]
    np.testing.assert_array_equal(minima.get_xdata(), surface.alphas[topology.minima[:, 0]])
    np.testing.assert_array_equal(minima.get_ydata(), surface.betas[topology.minima[:, 1]])
    named = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"minimum", "saddle", "maximum", "no value (gap)"} <= named
    figure.savefig(tmp_path / "figure.png")
    assert "Marked: minima" in " ".join(figure.texts[1].get_text().split())


def test_what_does_not_belong_together(surface):
    topology = surface_topology(surface)
    with pytest.raises(ConfigError, match="surface 'b'"):
        plotting.contour({"A": surface}, topology={"b": topology})
    other = replace(surface, betas=surface.betas * 2)
    with pytest.raises(MismatchError, match="not that of its surface"):
        plotting.contour(other, topology=topology)
    with pytest.raises(MismatchError, match="the surface's losses"):
        plotting.contour(replace(surface, loss=surface.loss + 1), topology=topology)
    with pytest.raises(DataError, match="expected|Expected"):
        plotting.contour(surface, topology=surface)
    with pytest.raises(DataError, match=r"contour\(\.\.\., topology"):
        plotting.contour(topology)
