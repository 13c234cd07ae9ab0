"""Lines that end at a second model, and profiles on a logarithmic axis that has a place for 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape import plotting
from landscape.surface import default_radii, direction_between, evaluate_line, interpolation_line
from landscape.surface.results import Profile


@pytest.fixture
def between(objective):
    return interpolation_line(objective, objective.weights() + 0.5, points=5, progress=False)


def marks(figure) -> list[tuple[float, str]]:
    return [(shape.x0, note.text) for shape, note in zip(figure.layout.shapes, figure.layout.annotations, strict=True)]


def test_both_ends_of_a_line_between_models_are_marked(between, objective):
    figure = plotting.line(between)
    assert marks(figure) == [(0.0, "first model"), (1.0, "other model")]
    assert "between two models" in figure.layout.title.text
    assert figure.layout.xaxis.title.text == "α (0 = first model, 1 = other model)"
    named = plotting.line({"train": between, "test": between}, ends=("SGD", "SAM"), accuracy=True)
    assert marks(named) == [(0.0, "SGD"), (1.0, "SAM")] * 2
    assert "own minimum" not in named.layout.title.text
    beyond = evaluate_line(objective, direction_between(objective, objective.weights() + 1), extent=0.5, points=3)
    assert marks(plotting.line(beyond)) == [(0.0, "first model")]  # the other one is not on this line


def test_both_ends_are_named_in_matplotlib(between):
    axes = plotting.line(between, backend="matplotlib", ends=("SGD", "SAM")).axes[0]
    assert {"SGD", "SAM"} <= {text.get_text() for text in axes.texts}


def test_other_directions_have_no_model_at_their_end(results):
    figure = plotting.line(results.lines)
    assert {text for _, text in marks(figure)} == {"trained weights"}
    assert "through the trained weights" in figure.layout.title.text


def test_lines_in_different_units_say_so(results):
    lines = results.lines
    lines["SGD"] = replace(lines["SGD"], directions=({"norm": "unit"},))
    figure = plotting.line(lines)
    assert "own unit" in figure.layout.xaxis.title.text
    assert "SGD: 1 = unit L2 norm in weight space" in figure.layout.meta["description"]


def profile(radii) -> Profile:
    radii = np.asarray(radii, float)
    loss = 0.05 + radii
    return Profile(
        kinds=("random",), radii=radii, loss={"random": loss}, stderr={"random": 0.1 * radii}, base_loss=0.05,
        provenance={},
    )  # fmt: skip


@pytest.mark.parametrize("radii", [default_radii(), default_radii()[1:]])
def test_logarithmic_radii_have_a_log_axis_with_a_place_for_zero(radii):
    figure = plotting.profile(profile(radii))
    axis = figure.layout.xaxis
    assert axis.type == "log" and "log scale" in axis.title.text
    (curve,) = [trace for trace in figure.data if trace.mode == "lines+markers"]
    np.testing.assert_allclose(curve.x[1:], default_radii()[1:])
    assert 0 < curve.x[0] < 0.01 and curve.y[0] == 0.05
    assert dict(zip(axis.ticktext, axis.tickvals, strict=True))["0"] == curve.x[0]
    assert 10 ** axis.range[0] < curve.x[0] and 10 ** axis.range[1] > 10
    assert "‖δ‖₂ = 0<br>loss 0.05" in curve.text[0]
    (broken,) = [note for note in figure.layout.annotations if "//" in note.text]
    assert curve.x[0] < 10**broken.x < 0.01
    assert "beside the logarithmic axis" in figure.layout.meta["description"]


def test_the_log_axis_of_matplotlib_has_the_place_for_zero_too():
    axes = plotting.profile(profile(default_radii()), backend="matplotlib").axes[0]
    assert axes.get_xscale() == "log"
    ticks = dict(zip([text.get_text() for text in axes.get_xticklabels()], axes.get_xticks(), strict=True))
    assert ticks["0"] == pytest.approx(axes.lines[0].get_xdata()[0]) and 0 < ticks["0"] < 0.01
    assert "//" in {text.get_text() for text in axes.texts}


def test_even_radii_have_a_linear_axis_unless_asked_for():
    even = profile(np.linspace(0, 5, 6))
    assert plotting.profile(even).layout.xaxis.type != "log"
    assert plotting.profile(even, log_radius=True).layout.xaxis.type == "log"
    assert plotting.profile(profile(default_radii()), log_radius=False).layout.xaxis.type != "log"
    assert plotting.profile({"SGD": even, "SAM": profile(default_radii())}).layout.xaxis.type != "log"
