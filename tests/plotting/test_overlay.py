"""What lies over a surface: the places that its plane names, and the paths that belong to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from landscape import plotting
from landscape.errors import ConfigError, DataError, MismatchError
from landscape.surface import (
    Direction,
    Plane,
    Surface,
    bezier_curve,
    evaluate_surface,
    plane_through,
    random_plane,
    trajectory_plane,
)

TRAINED = "trained weights (α = β = 0)"


@pytest.fixture
def weights(objective) -> list[torch.Tensor]:
    """Five points of a training that never happened."""
    stream, last = torch.Generator().manual_seed(3), objective.weights()
    return [last + (4 - k) * torch.randn(objective.size, generator=stream, dtype=last.dtype) / 20 for k in range(5)]


def surface(objective, plane, extent=1.0, points=5) -> Surface:
    return evaluate_surface(objective, plane, extent=extent, points=points, progress=False)


def names(figure) -> list[str]:
    return [trace.name for trace in figure.data if "markers" in (getattr(trace, "mode", "") or "") and trace.showlegend]


def caption(figure) -> str:
    return figure.layout.title.text.replace("<br>", " ")


@pytest.mark.parametrize("draw", [plotting.contour, plotting.surface3d])
def test_only_trained_weights_are_called_so(objective, weights, draw) -> None:
    assert TRAINED in names(draw(surface(objective, random_plane(objective))))
    assert "around the trained weights" in caption(draw(surface(objective, random_plane(objective))))
    mean = trajectory_plane(weights, center="mean", progress=False)
    drawn = draw(surface(objective, mean.plane, mean.extent(), 7))
    assert [name for name in names(drawn) if "lowest" not in name] == ["start (step 0)", "end (step 4)"]
    assert "Loss on a plane through weight space" in caption(drawn)
    elsewhere = replace(random_plane(objective), origin=weights[0])
    assert "the plane's origin (α = β = 0)" in names(draw(surface(objective, elsewhere)))


@pytest.mark.parametrize("draw", [plotting.contour, plotting.surface3d])
def test_models_are_marked_where_they_lie_with_a_look_of_their_own(objective, weights, draw) -> None:
    plane = plane_through(*weights[:3], names=("SGD", "SAM", "AMP"))
    found = surface(objective, plane, plane.extent(), 7)
    marks = {trace.name: trace for trace in draw(found).data if trace.name in plane.marks}
    assert {name: (trace.x[0], trace.y[0]) for name, trace in marks.items()} == plane.marks
    assert len({trace.marker.symbol for trace in marks.values()}) == 3
    drawn = draw(found, backend="matplotlib")
    assert {text.get_text() for text in drawn.legends[0].get_texts()} >= set(plane.marks)


def test_a_place_beyond_the_grid_is_not_drawn(objective, weights) -> None:
    plane = plane_through(*weights[:3], names=("SGD", "SAM", "AMP"))
    assert set(names(plotting.contour(surface(objective, plane, 0.5)))) & set(plane.marks) == {"SGD"}


@pytest.mark.parametrize("backwards", [False, True])
def test_a_pin_between_grid_points_stands_on_the_cell(backwards) -> None:
    axis = np.linspace(-1, 1, 4)  # an even number: no point at the center
    a, b = np.meshgrid(axis, axis, indexing="ij")
    loss = 2 + 3 * a - b + a * b  # bilinear, so the cell's mean by nearness is exact
    order = slice(None, None, -1 if backwards else 1)
    status = np.ones(loss.shape)
    marks = {"plane": {"origin_sha256": None, "marks": {"here": [0.25, -0.75], "edge": [1.0, 0.5]}}}
    view = Surface(
        alphas=axis[order], betas=axis, loss=loss[order], accuracy=loss, status=status,
        directions=({}, {}), provenance=marks,
    )  # fmt: skip
    pins = {trace.name: trace for trace in plotting.surface3d(view, log=False).data}
    assert pins["here"].z[0] == pytest.approx(2 + 0.75 + 0.75 - 0.1875, abs=1e-12)
    assert pins["edge"].z[0] == pytest.approx(2 + 3 - 0.5 + 0.5, abs=1e-12)


def test_the_path_of_a_training_lies_over_its_plane(objective, weights) -> None:
    found = trajectory_plane(weights, steps=[0, 10, 20, 30, 40], progress=False)
    assert list(found.plane.marks.values()) == [tuple(found.coordinates[k]) for k in (0, -1)]
    drawn = plotting.contour(surface(objective, found.plane, found.extent()), path=found)
    (line,) = [trace for trace in drawn.data if trace.name == "checkpoints, seen on the plane" and trace.showlegend]
    assert np.array_equal(np.stack([line.x, line.y], 1), found.coordinates)
    assert line.text[1] == f"checkpoint of step 10<br>{found.distance[1]:.3g} beside the plane"
    assert "5 checkpoints" in caption(drawn) and f"{found.explained_by_plane:.1%}" in caption(drawn)
    assert f"up to {found.relative_distance.max():.0%} of its way" in caption(drawn)
    picture = plotting.contour(surface(objective, found.plane, found.extent()), path=found, backend="matplotlib")
    lines = [line.get_xydata() for line in picture.axes[0].lines if len(line.get_xydata()) == 5]
    assert len(lines) == 2 and np.allclose(lines[1], found.coordinates)


def test_a_saved_path_fits_its_saved_surface(objective, weights, tmp_path) -> None:
    found = trajectory_plane(weights, progress=False)
    surface(objective, found.plane, found.extent()).save(tmp_path / "s.npz", keep_directions=False)
    found.save(tmp_path / "t.npz", keep_directions=False)
    again = type(found).load(tmp_path / "t.npz")
    assert again.plane is None
    drawn = plotting.contour(Surface.load(tmp_path / "s.npz"), path=again)
    assert "checkpoints, seen on the plane" in names(drawn)


def test_a_curve_lies_over_its_plane(objective, weights) -> None:
    curve = bezier_curve(objective, weights[0], epochs=20, lr=0.5, points=7, progress=False)
    plane = curve.plane
    drawn = plotting.contour({"curve": surface(objective, plane, plane.extent())}, path={"curve": curve})
    (line,) = [trace for trace in drawn.data if trace.name == "Bezier curve" and trace.showlegend]
    assert np.array_equal(np.stack([line.x, line.y], 1), curve.coordinates) and line.text[0].startswith("t = 0: loss")
    assert {"start", "middle", "end"} <= set(names(drawn))


def test_a_path_of_another_plane_is_refused(objective, weights) -> None:
    last, mean = (trajectory_plane(weights, center=center, progress=False) for center in ("last", "mean"))
    with pytest.raises(MismatchError, match="different planes"):
        plotting.contour(surface(objective, last.plane, last.extent()), path=mean)
    moved = replace(last.plane, origin=weights[1])
    with pytest.raises(MismatchError, match="different planes"):
        plotting.contour(surface(objective, moved, last.extent()), path=last)
    with pytest.raises(ConfigError, match="no surface"):
        plotting.contour({"A": surface(objective, last.plane)}, path={"B": last})
    with pytest.raises(ConfigError, match="no surface"):
        plotting.contour({"A": surface(objective, last.plane)}, path=last)
    with pytest.raises(DataError, match="cannot be a Direction"):
        plotting.contour(surface(objective, last.plane), path=Direction(vector=weights[0], kind="mine", norm="none"))
    assert isinstance(last.plane, Plane)
