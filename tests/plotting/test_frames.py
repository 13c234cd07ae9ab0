"""Figures behind plotly's own slider."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest

from landscape.errors import ConfigError, DataError, MismatchError
from landscape.plotting import PerturbationView, perturbation, perturbation_frames, slider_figure, surface_slice


def _view(index: int = 1) -> PerturbationView:
    radii = np.array([0.0, 0.5, 1.0])
    loss = {"sam": {"SGD": np.array([0.1, 0.4, 2.0]), "SAM": np.array([0.2, 0.3, np.nan])}}
    accuracy = {"sam": {"SGD": np.array([0.9, 0.8, 0.5]), "SAM": np.full(3, np.nan)}}
    return PerturbationView(radii=radii, loss=loss, accuracy=accuracy, index=index)


def test_frames_hold_only_what_differs_and_the_slider_names_its_stops():
    figures = {str(k): go.Figure([go.Scatter(x=[0, 1], y=[0, 1]), go.Scatter(x=[k], y=[k])]) for k in range(3)}
    figure = slider_figure(figures, name="k", start="1")
    assert [frame.name for frame in figure.frames] == ["0", "1", "2"]
    assert all(tuple(frame.traces) == (1,) and len(frame.data) == 1 for frame in figure.frames)
    assert [frame.data[0].x for frame in figure.frames] == [(0,), (1,), (2,)]
    slider = figure.layout.sliders[0]
    assert slider.active == 1 and [step.label for step in slider.steps] == ["0", "1", "2"]
    assert all(list(step.args[0]) == [step.label] and step.method == "animate" for step in slider.steps)
    assert figure.data[1].x == (1,)


def test_a_slider_needs_figures_with_the_same_traces():
    with pytest.raises(MismatchError, match="differ in their traces"):
        slider_figure({"a": go.Figure([go.Scatter()]), "b": go.Figure([go.Bar()])}, name="k")
    with pytest.raises(DataError, match="nothing to slide"):
        slider_figure({}, name="k")
    with pytest.raises(DataError, match="no such stop"):
        slider_figure({"a": go.Figure()}, name="k", start="b")


def test_perturbed_points_stand_on_their_curves():
    figure = perturbation(_view())
    points = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    assert points["SGD"].x[0] == 0.5 and points["SGD"].y[0] == 0.4
    assert "loss 0.1 → 0.4 (×4), accuracy 80.0%" in points["SGD"].text[0]


def test_every_frame_says_its_own_numbers_and_keeps_the_axes():
    figure = perturbation_frames(_view())
    assert len(figure.frames) == 3
    assert "SGD 0.1 (×1)" in figure.frames[0].layout.title.text
    assert "SGD 2 (×20)" in figure.frames[2].layout.title.text
    assert figure.layout.yaxis.range is not None and figure.layout.xaxis.range is not None
    assert figure.layout.sliders[0].active == 1


def test_a_nan_loss_is_said_in_words():
    assert _view(2).words("sam", "SAM") == "SAM: loss nan"


def test_a_slice_shows_the_row_nearest_to_beta(results):
    surface = results.surfaces["SGD"]
    figure = surface_slice(results.surfaces, label="SGD", beta=0.3)
    row = int(np.argmin(np.abs(surface.betas - 0.3)))
    curve = next(trace for trace in figure.data if trace.name == "SGD" and trace.type == "scatter")
    np.testing.assert_allclose(10 ** np.asarray(curve.y), surface.loss[:, row], rtol=1e-12)  # log10 and back
    with pytest.raises(ConfigError, match="Unknown surface"):
        surface_slice(results.surfaces, label="Adam")
