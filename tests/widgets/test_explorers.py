"""The explorers: true losses at truly moved weights, and finished results."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.errors import ConfigError, DataError, MismatchError
from landscape.objective import Objective
from landscape.widgets import PerturbationExplorer, RunComparison, SpectrumExplorer, SurfaceExplorer

RADII = (0.1, 0.5, 2.0)


@pytest.fixture
def objectives(tiny_problem):
    return {"SGD": Objective(tiny_problem.model, tiny_problem.data)}


def test_the_shown_loss_is_that_of_the_moved_weights(objectives):
    objective = objectives["SGD"]
    explorer = PerturbationExplorer(objectives, radii=RADII)
    explorer.widget()
    explorer.sliders["radius"].value = 0.5
    gradient, weights = objective.gradient(), objective.weights()
    expected = objective.evaluate(weights + 0.5 * gradient / gradient.norm())
    point = next(trace for trace in explorer.live_figure.data if trace.mode == "markers")
    assert point.x[0] == 0.5
    assert point.y[0] == pytest.approx(expected.loss, rel=1e-12)  # one rounding of the direction
    assert (
        f"{expected.loss:.3g}" in explorer.status.value and f"accuracy {expected.accuracy:.1%}" in explorer.status.value
    )
    assert "‖δ‖₂ = 0.5" in explorer.status.value


def test_the_axis_names_the_loss_that_judges(objectives, tiny_problem):
    assert PerturbationExplorer(objectives, radii=RADII).view().loss_name == "loss (cross-entropy, nats)"

    def margin(outputs, targets):
        return torch.nn.functional.multi_margin_loss(outputs, targets)

    judges = {"SGD": Objective(tiny_problem.model, tiny_problem.data, margin)}
    figure = PerturbationExplorer(objectives, radii=RADII, evaluate_on=judges).figure()
    assert figure.layout.yaxis.title.text.startswith("loss (margin)")


def test_a_perturbation_of_amp_has_the_norm_epsilon_times_root_of_tensors(objectives):
    explorer = PerturbationExplorer(objectives, radii=RADII)
    objective = objectives["SGD"]
    direction = explorer.direction("SGD", "amp")
    gradient = objective.layout.named(objective.gradient())
    epsilon = 2.0 / explorer.tensors("SGD") ** 0.5
    for name, piece in objective.layout.named(2.0 * direction).items():
        torch.testing.assert_close(piece, epsilon * gradient[name] / gradient[name].norm())
    explorer.widget()
    explorer.sliders["kind"].value, explorer.sliders["radius"].value = "amp", 2.0
    assert f"ε = {epsilon:.3g}" in explorer.status.value


def test_radius_zero_is_the_trained_weights_bit_for_bit(objectives):
    explorer = PerturbationExplorer(objectives, radii=RADII)
    base = objectives["SGD"].evaluate()
    assert all(explorer.evaluate("SGD", kind, 0.0) == base for kind in explorer.kinds)


def test_exploring_leaves_the_model_as_it_was(objectives, tiny_problem, snapshot, assert_unchanged):
    before = snapshot(tiny_problem.model)
    explorer = PerturbationExplorer(objectives, radii=RADII)
    explorer.prepare(progress=False)
    explorer.figure_with_frames()
    assert_unchanged(before, tiny_problem.model)


def test_points_are_evaluated_once(objectives, monkeypatch):
    explorer = PerturbationExplorer(objectives, radii=RADII)
    explorer.prepare(progress=False)
    monkeypatch.setattr(Objective, "evaluate", lambda *_: pytest.fail("evaluated again"))
    explorer.figure_with_frames()
    explorer.figure(kind="random", radius=2.0)


def test_static_figure_slides_all_kinds_over_the_radius(objectives):
    figure = PerturbationExplorer(objectives, radii=RADII).figure_with_frames()
    assert [frame.name for frame in figure.frames] == ["0", "0.1", "0.5", "2"]
    assert len(list(figure.select_xaxes())) == 3
    points = [trace.x[0] for trace in figure.frames[-1].data]
    assert points == [2.0, 2.0, 2.0]


def test_the_loss_may_be_read_on_other_data(objectives, tiny_problem):
    other = Objective(tiny_problem.model, (tiny_problem.inputs[:10], tiny_problem.targets[:10]))
    explorer = PerturbationExplorer(objectives, radii=RADII, evaluate_on={"SGD": other})
    assert explorer.evaluate("SGD", "sam", 0.0) == other.evaluate()
    torch.testing.assert_close(
        explorer.direction("SGD", "sam"), PerturbationExplorer(objectives, radii=RADII).direction("SGD", "sam")
    )


def test_wrong_explorers_are_refused(objectives):
    with pytest.raises(DataError, match="nothing to explore"):
        PerturbationExplorer({})
    with pytest.raises(MismatchError, match="other labels"):
        PerturbationExplorer(objectives, evaluate_on={"SAM": objectives["SGD"]})
    with pytest.raises(ConfigError, match="kind"):
        PerturbationExplorer(objectives, kinds=["samm"]).figure()


def test_surface_explorer_cuts_where_it_says(results):
    explorer = SurfaceExplorer(results.surfaces)
    explorer.widget()
    beta = float(results.surfaces["SGD"].betas[1])
    explorer.sliders["beta"].value = beta
    explorer.sliders["minimum"].value = "SAM (rho 0.1)"
    explorer.sliders["log"].value = False
    curve = next(trace for trace in explorer.live_figure.data if trace.name == "SGD" and trace.type == "scatter")
    np.testing.assert_array_equal(curve.y, results.surfaces["SGD"].loss[:, 1])
    assert explorer.live_figure.layout.annotations[0].text == "SAM (rho 0.1)"
    assert f"SGD: loss from {results.surfaces['SGD'].loss[:, 1].min():.3g}" in explorer.status.value
    clip = explorer.controls["clip"].options[1][1]
    explorer.sliders["clip"].value = clip
    assert explorer.live_figure.layout.coloraxis.cmax == clip
    assert "role='alert'" not in explorer.status.value


def test_spectrum_explorer_shows_one_or_all(results):
    explorer = SpectrumExplorer(results.spectra)
    explorer.widget()
    explorer.sliders["shown"].value = "SGD"
    assert {trace.name for trace in explorer.live_figure.data if trace.mode == "lines"} == {"SGD"}
    for name, value in (("rug", True), ("log", False), ("floor", 1e-3)):
        explorer.sliders[name].value = value
        assert "role='status'" in explorer.status.value
    assert "Ritz values from 0 to 48.6, mean eigenvalue 24.2" in explorer.status.value
    assert len(explorer.figure_with_frames().data) >= 2


def test_run_comparison_draws_any_number_against_any_other(results):
    explorer = RunComparison(results.rows, x="trace", y="test_error")
    explorer.widget()
    points = {trace.name: (trace.x[0], trace.y[0]) for trace in explorer.live_figure.data}
    assert points["SGD"] == (1800.0, pytest.approx(11.7))
    explorer.sliders["x"].value = "seconds"
    assert {trace.x[0] for trace in explorer.live_figure.data} == {1.0, 2.0}
    assert "SGD: time 1.00 s, test error 11.70 ± 0.99 %." in explorer.status.value
    with pytest.raises(ConfigError, match="two numbers"):
        RunComparison({"a": {"test_error": 1.0}})
