"""Maps side by side: whose axes are whose, flat planes, and grids without an area."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from landscape import plotting
from landscape.plotting.geometry import FLATTEST
from landscape.surface.results import Surface
from landscape.widgets import SurfaceExplorer

FILTER, UNIT = {"norm": "filter"}, {"norm": "unit"}


def surface(alphas, betas, directions=(FILTER, FILTER)) -> Surface:
    a, b = np.meshgrid(alphas, betas, indexing="ij")
    loss = 0.05 + a**2 + 2 * b**2
    ones = np.ones(loss.shape)
    axes = {"alphas": np.array(alphas, float), "betas": np.array(betas, float)}
    return Surface(**axes, loss=loss, accuracy=ones, status=ones, directions=directions, provenance={})


WIDE, SQUARE, SMALL = np.linspace(-10, 10, 9), np.linspace(-1, 1, 9), np.linspace(-0.1, 0.1, 5)
OTHER_UNITS = {"SGD": surface(SQUARE, SQUARE), "eigen": surface(SMALL, SMALL, (UNIT, UNIT))}
OTHER_EXTENTS = {"SGD": surface(SQUARE, SQUARE), "SAM": surface(WIDE, WIDE)}


def caption(figure) -> str:
    return figure.layout.meta["description"]


def drawn(figure, count):
    """Widths and heights of the first axes, in inches."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in figure.axes[:count]]
    return [(box.width / figure.dpi, box.height / figure.dpi) for box in boxes]


@pytest.mark.parametrize(
    ("surfaces", "why"), [(OTHER_UNITS, "since their units differ"), (OTHER_EXTENTS, "since their extents differ")]
)
def test_panels_that_would_shrink_have_axes_of_their_own(surfaces, why):
    figure = plotting.contour(surfaces)
    ranges = [tuple(axis.range) for axis in figure.select_xaxes()]
    assert ranges == [(one.alphas.min(), one.alphas.max()) for one in surfaces.values()]
    assert why in caption(figure) and "share the axes" not in caption(figure)
    assert all(axis.title.text for axis in [*figure.select_xaxes(), *figure.select_yaxes()])
    picture = plotting.contour(surfaces, backend="matplotlib")
    assert [axes.get_xlim() for axes in picture.axes[:2]] == ranges
    for scene, one in zip(plotting.surface3d(surfaces).select_scenes(), surfaces.values(), strict=True):
        assert tuple(scene.xaxis.range) == (one.alphas.min(), one.alphas.max())


@pytest.mark.parametrize("draw", [plotting.contour, plotting.surface3d])
def test_each_panel_names_its_own_units_where_they_differ(draw):
    heads = [each.text.replace("<br>", " ") for each in draw(OTHER_UNITS).layout.annotations]
    assert heads == [
        "SGD filter-normalized: 1 = each filter's own norm",
        "eigen 1 = unit L2 norm in weight space",
    ]
    assert "filter" not in caption(draw(OTHER_UNITS))
    titles = [axes.get_title() for axes in draw(OTHER_UNITS, backend="matplotlib").axes[:2]]
    assert "each filter's own norm" in " ".join(titles[0].split()) and "unit L2 norm" in " ".join(titles[1].split())


def test_directions_that_are_their_own_unit_must_be_of_one_length_to_share_axes():
    between = [({"norm": "none", "kind": "between", "length": length},) * 2 for length in (2.0, 2.0, 9.0)]
    same = {"SGD": surface(SQUARE, SQUARE, between[0]), "SAM": surface(SQUARE, SQUARE, between[1])}
    assert "share the axes" in caption(plotting.contour(same))
    other = {"SGD": surface(SQUARE, SQUARE, between[0]), "SAM": surface(SQUARE, SQUARE, between[2])}
    assert "since their units differ" in caption(plotting.contour(other))


def test_one_axis_of_another_unit_is_said():
    figure = plotting.surface3d(surface(SQUARE, SQUARE, (FILTER, UNIT)))
    assert "α: filter-normalized: 1 = each filter's own norm; β: 1 = unit L2 norm in weight space." in caption(figure)


def test_only_heights_are_called_heights():
    for one in (OTHER_EXTENTS, OTHER_EXTENTS["SGD"]):
        assert "Colors are log10 of the loss." in caption(plotting.contour(one))
        assert "heights" not in caption(plotting.contour(one))
        assert "Colors and heights are log10 of the loss." in caption(plotting.surface3d(one))


@pytest.mark.parametrize(("across", "up", "longer"), [(WIDE, SQUARE, "β"), (SQUARE, WIDE, "α")])
def test_a_flat_plane_is_stretched_and_says_so(across, up, longer):
    figure = plotting.contour({"SGD": surface(across, up), "SAM": surface(across, up)})
    assert f"{longer} is drawn 4 times as large as" in caption(figure)
    assert {axis.scaleratio for axis in figure.select_yaxes()} == {4.0 if longer == "β" else 0.25}
    picture = plotting.contour({"SGD": surface(across, up), "SAM": surface(across, up)}, backend="matplotlib")
    for width, height in drawn(picture, 2):
        assert min(width, height) > 1.0 and min(width / height, height / width) == pytest.approx(FLATTEST, rel=0.02)
    square = plotting.contour(surface(SQUARE, SQUARE))
    assert "times as large" not in caption(square) and next(square.select_yaxes()).scaleratio == 1.0


def test_long_headings_are_wrapped_and_no_panel_overlaps_another():
    label = "a label that says rho = 0.05, 200 epochs, and more than fits above one panel"
    many = {f"{name}, {label}": surface(WIDE, SQUARE) for name in ("SGD", "SAM", "AMP")}
    picture = plotting.contour(many, backend="matplotlib")
    renderer = FigureCanvasAgg(picture).get_renderer()
    picture.draw_without_rendering()
    boxes = [axes.get_tightbbox(renderer) for axes in picture.axes]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
    assert all("<br>" in each.text for each in plotting.contour(many).layout.annotations)


ROW, COLUMN, POINT = surface(SQUARE, [0.5]), surface([0.0], SQUARE), surface([0.0], [0.0])
THIN = {
    "row": (ROW, "a single row of points, at β = 0.5"),
    "column": (COLUMN, "a single column of points, at α = 0"),
    "point": (POINT, "a single point"),
}


@pytest.mark.parametrize("name", THIN)
def test_a_grid_without_an_area_is_drawn_and_said(name):
    one, said = THIN[name]
    figure = plotting.contour(one, log=False)
    assert f"This grid is {said}." in caption(figure)
    (cells,) = [trace for trace in figure.data if trace.type in ("heatmap", "contour")]
    assert cells.type == "heatmap"  # contours of a single row do not exist
    np.testing.assert_array_equal(cells.z, one.loss.T)
    for axis, (edges, points) in {"x": (cells.x, one.alphas), "y": (cells.y, one.betas)}.items():
        assert len(edges) == len(points) + 1 and edges[-1] > edges[0], axis
        np.testing.assert_allclose((np.asarray(edges)[1:] + np.asarray(edges)[:-1]) / 2, points, atol=1e-12)
    assert all(axis.range[1] > axis.range[0] for axis in [*figure.select_xaxes(), *figure.select_yaxes()])


@pytest.mark.parametrize("name", THIN)
def test_a_grid_without_an_area_is_a_curve_in_three_dimensions(name):
    one, said = THIN[name]
    figure = plotting.surface3d(one)
    (curve,) = [trace for trace in figure.data if trace.name == "loss"]
    assert curve.type == "scatter3d" and len(curve.x) == one.loss.size
    assert said in caption(figure)
    scene = next(figure.select_scenes())
    assert scene.xaxis.range[1] > scene.xaxis.range[0] and scene.yaxis.range[1] > scene.yaxis.range[0]


@pytest.mark.parametrize("name", THIN)
@pytest.mark.parametrize("draw", [plotting.contour, plotting.surface3d])
def test_a_grid_without_an_area_shows_in_matplotlib(name, draw):
    one, _ = THIN[name]
    figure = draw(one, backend="matplotlib")
    axes = figure.axes[0]
    shown = axes.collections[0].get_array() if draw is plotting.contour else axes.lines[0].get_data_3d()[2]
    assert np.size(shown) == one.loss.size
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # and without a warning


def test_the_loss_of_a_single_point_is_said():
    assert "The loss is 0.05." in caption(plotting.contour(POINT))
    assert "SGD: the loss is 0.05." in caption(plotting.contour({"SGD": POINT, "SAM": ROW}))


def test_a_point_without_a_loss_is_a_gap():
    one = replace(ROW, loss=np.where(ROW.alphas[:, None] > 0.9, np.nan, ROW.loss), status=np.full((9, 1), 1))
    (hatched,) = [trace for trace in plotting.contour(one).data if trace.name == "no value (gap)"]
    assert max(y for y in hatched.y if y is not None) < 0.7  # as high as the row is drawn, not as the panel


def test_a_slice_of_a_single_row_is_drawn():
    whole = surface(SQUARE, SQUARE)
    figure = SurfaceExplorer({"SGD": ROW, "SAM": whole}).figure(log=False)
    cuts = {trace.name: trace for trace in figure.data if trace.type == "scatter" and trace.xaxis == "x2"}
    np.testing.assert_array_equal(cuts["SGD"].y, ROW.loss[:, 0])
    np.testing.assert_array_equal(cuts["SAM"].y, whole.loss[:, list(SQUARE).index(0.5)])  # at the row's beta
    assert all(axis.range[1] > axis.range[0] for axis in [*figure.select_xaxes(), *figure.select_yaxes()])


def test_a_name_has_one_look_in_all_panels_and_no_other_has_it():
    marks = {"plane": {"origin_sha256": "abc", "marks": {"start": [0.5, 0.5], "end": [0.0, 0.0]}}}
    path = replace(surface(SQUARE, SQUARE), provenance=marks)
    for draw in (plotting.contour, plotting.surface3d):
        figure = draw({"SGD": surface(SQUARE, SQUARE), "path": path, "again": path})
        names = ("trained weights (α = β = 0)", "start", "end")
        looks = {name: {t.marker.symbol for t in figure.data if t.name == name} for name in names}
        assert all(len(symbols) == 1 for symbols in looks.values())
        assert len(set.union(*looks.values())) == 3


def test_a_plane_hardly_too_flat_is_drawn_to_scale():
    figure = plotting.contour(surface(SQUARE, 0.38 * SQUARE))
    assert next(figure.select_yaxes()).scaleratio == 1.0 and "times as large" not in caption(figure)
