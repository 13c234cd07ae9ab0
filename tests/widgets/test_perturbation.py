"""The explorer of perturbations: its numbers are evaluations, and it says what an expert asks for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import landscape as ll
from landscape.errors import ConfigError, DataError, MismatchError
from landscape.objective import Objective
from landscape.widgets import PerturbationExplorer
from landscape.widgets.moves import Mover
from landscape.widgets.panel import AT_START


@pytest.fixture
def objectives(tiny_problem):
    return {"SGD": Objective(tiny_problem.model, tiny_problem.data)}


def explorer_of(objectives, **options):
    return PerturbationExplorer(objectives, **{"slice_points": 3, "directions": 3, **options})


def marked(explorer):
    """Length and loss of the big point, and the accuracy in words."""
    points = [t for t in explorer.live_figure.data if t.type == "scatter" and (t.mode, t.name) == ("markers", "SGD")]
    return float(points[-1].x[0]), float(points[-1].y[0])


def test_sliders_move_the_point_to_the_loss_of_the_method_s_own_first_step(objectives, tiny_problem):
    explorer = explorer_of(objectives)
    explorer.widget()
    model = tiny_problem.model
    torch.nn.functional.cross_entropy(model(tiny_problem.inputs), tiny_problem.targets).backward()
    for method, name, value, optimizer in (
        ("amp", "epsilon", 0.02, ll.AMP(model.parameters(), lr=0.1, epsilon=0.02)),
        ("sam", "rho", 0.4, ll.SAM(model.parameters(), torch.optim.SGD, lr=0.1, rho=0.4)),
        ("asam", "rho_asam", 1.5, ll.SAM(model.parameters(), torch.optim.SGD, lr=0.1, rho=1.5, adaptive=True)),
    ):
        explorer.sliders["method"].value = method
        explorer.sliders[name].value = value
        with optimizer.perturbed():
            expected = objectives["SGD"].evaluate()
            length = float((objectives["SGD"].weights() - explorer.study.movers["SGD"].weights).norm())
        assert marked(explorer) == (pytest.approx(length, rel=1e-12), pytest.approx(expected.loss, rel=1e-12))
        assert f"→ {expected.loss:.4g}" in explorer.status.value
        assert f"Accuracy {expected.accuracy:.1%}" in explorer.status.value
    assert explorer.wait(30)


def test_only_the_sliders_of_the_method_are_shown(objectives):
    explorer = explorer_of(objectives)
    explorer.widget()

    def shown():
        return [name for name, one in explorer.sliders.items() if one.layout.display != "none"]

    assert shown() == ["minimum", "method", "epsilon", "inner_iter", "inner_lr"]
    explorer.sliders["method"].value = "lpfsgd"
    assert shown() == ["minimum", "method", "std", "draws"]
    assert explorer.wait(30)


def test_the_rest_is_filled_in_behind_the_slider(objectives):
    explorer = explorer_of(objectives)
    explorer.widget()
    assert explorer.wait(60)
    assert explorer.busy.value == "<small></small>"
    said = explorer.status.value
    for words in (
        "First-order theory says", "second-order theory", "random moves of the same length", "of 3 directions",
        "The slice holds", "the curvature along δ is", "the top Hessian eigenvalue is", "all 40 examples",
        "of 6 tensors reach the ball",
    ):  # fmt: skip
        assert words in said, words
    slices = next(trace for trace in explorer.live_figure.data if trace.type == "contour")
    assert np.isfinite(np.array(slices.z, float)).all()


def test_numbers_agree_with_theory_and_with_an_exact_hessian(objectives):
    explorer = explorer_of(objectives, rho=1e-3)
    values = {"method": "sam", "rho": 1e-3}
    view = explorer.result(**values)
    move, objective = explorer.move(**values), objectives["SGD"]
    gradient = objective.gradient()
    unit = gradient / gradient.norm()
    curvature = float(unit @ objective.hvp(unit))
    details = explorer.study.details("SGD", explorer.setting(**values))
    assert details.curvature == pytest.approx(curvature, rel=1e-9)
    assert view.slope == pytest.approx(float(gradient.norm()), rel=1e-9)
    second = view.base + 1e-3 * view.slope + 0.5e-6 * curvature
    assert move.loss == pytest.approx(second, abs=1e-8)  # the third order: 1e-9 times a third derivative of about 1
    dense = torch.stack([objective.hvp(column) for column in torch.eye(objective.size).double()])
    top = float(torch.linalg.eigvalsh(dense)[-1])
    assert explorer.study.facts["SGD"].eigenvalue == pytest.approx(top, rel=1e-3)
    assert details.inside == pytest.approx(1.0, abs=1e-9)


def test_the_worst_direction_is_worse_than_random_ones(objectives):
    explorer = explorer_of(objectives)
    explorer.result(method="sam", rho=0.3)
    details = explorer.study.details("SGD", explorer.setting(method="sam", rho=0.3))
    assert explorer.move(method="sam", rho=0.3).loss > details.random[0] + 2 * details.random[1]


def test_bars_are_shares_of_the_squared_length(objectives):
    explorer = explorer_of(objectives)
    move = explorer.move(method="sam", rho=0.3)
    assert move.shares.sum() == pytest.approx(1.0)
    layout, gradient = objectives["SGD"].layout, objectives["SGD"].gradient()
    np.testing.assert_allclose(move.shares, (layout.filter_norms(gradient) / gradient.norm()).numpy() ** 2, rtol=1e-9)
    view = explorer.quick(**explorer.values(method="sam", rho=0.3))
    assert list(view.shares) == sorted(view.shares, reverse=True)


def test_noise_is_a_mean_over_draws_with_its_error(objectives):
    explorer = explorer_of(objectives)
    values = {"method": "lpfsgd", "std": 0.05, "draws": 8}
    move = explorer.move(**values)
    raw = explorer.study.movers["SGD"].move(explorer.setting(**values))
    losses = [objectives["SGD"].evaluate(point).loss for point in raw.perturbed]
    assert move.loss == pytest.approx(np.mean(losses), rel=1e-12)
    assert move.stderr == pytest.approx(np.std(losses, ddof=1) / math.sqrt(8), rel=1e-9)
    assert math.isnan(explorer.move(**{**values, "draws": 1}).stderr)


def test_losses_may_be_read_on_other_data_and_other_losses(objectives, tiny_problem):
    other = Objective(tiny_problem.model, (tiny_problem.inputs[:10], tiny_problem.targets[:10]))
    explorer = explorer_of(objectives, evaluate_on={"SGD": other})
    assert explorer.move(epsilon=0.0).loss == other.evaluate().loss
    same = explorer_of(objectives)
    torch.testing.assert_close(explorer.study.movers["SGD"].gradient, same.study.movers["SGD"].gradient)

    def margin(outputs, targets):
        return torch.nn.functional.multi_margin_loss(outputs, targets)

    judges = {"SGD": Objective(tiny_problem.model, tiny_problem.data, margin)}
    assert explorer_of(objectives, evaluate_on=judges).loss_name.startswith("loss (margin)")


def test_the_subset_is_said(objectives):
    explorer = explorer_of(objectives, examples=16)
    assert "over 16 of 40 examples" in explorer.words(explorer.quick(**explorer.values()))


def test_exploring_leaves_the_model_as_it_was(objectives, tiny_problem, snapshot, assert_unchanged):
    before = snapshot(tiny_problem.model)
    explorer = explorer_of(objectives, methods=["sam", "lpfsgd"])
    explorer.result()
    explorer.figure_with_frames()
    assert_unchanged(before, tiny_problem.model)


def test_what_is_known_is_not_evaluated_again(objectives, monkeypatch):
    explorer = explorer_of(objectives, methods=["sam"])
    explorer.prepare(progress=False)
    monkeypatch.setattr(Objective, "evaluate", lambda *_: pytest.fail("evaluated again"))
    explorer.figure_with_frames()
    explorer.widget()
    explorer.sliders["rho"].value = 0.3
    assert explorer.wait(30) and "role='status'" in explorer.status.value


@pytest.mark.parametrize("at", [{"method": "sam", "rho": 0.2}, {"method": "amp", "epsilon": 0.3, "inner_iter": 2}])
def test_the_optimizer_takes_each_step_once(objectives, monkeypatch, at):
    taken, real = [], Mover.move

    def counted(self, setting):
        taken.append(setting)
        return real(self, setting)

    explorer = explorer_of(objectives, methods=["sam", "amp"])
    monkeypatch.setattr(Mover, "move", counted)
    explorer.result(**at)
    setting = explorer.setting(**at)
    assert set(explorer.study.stops(setting)) <= set(taken) and len(taken) == len(set(taken))
    taken.clear()
    for _ in explorer.study.fill("SGD", setting):
        pass
    assert taken == []


def test_a_static_page_has_a_slider_for_each_method(objectives):
    explorer = explorer_of(objectives, methods=["amp", "sam"])
    parts = explorer.static_parts()
    figures = [figure for figure, _ in parts]
    assert [words.removeprefix(AT_START).split()[0] for _, words in parts] == ["AMP", "SAM"]
    assert all(words.startswith(AT_START) for _, words in parts)  # they do not follow the slider
    assert [figure.layout.sliders[0].currentvalue.prefix[:1] for figure in figures] == ["ε", "ρ"]
    frames = {frame.name: frame for frame in figures[1].frames}
    assert {"0", "0.1", "1"} <= set(frames)
    losses = [t.y[0] for t in frames["0.3"].data if t.type == "scatter" and (t.mode, t.name) == ("markers", "SGD")]
    assert losses == [explorer.move(method="sam", rho=0.3).loss]
    assert explorer.figure_with_frames(over="rho").layout.sliders[0].active is not None


def test_labels_are_compared_at_the_same_perturbation(tiny_problem, objectives):
    other = torch.nn.Sequential(torch.nn.Linear(6, 3)).double()
    both = {**objectives, "mine": Objective(other, tiny_problem.data)}
    explorer = explorer_of(both)
    explorer.result(method="sam", rho=0.2)
    expected = explorer.move(minimum="mine", method="sam", rho=0.2).loss
    at = {"method": "sam", "rho": 0.2}
    assert f"mine {expected:.4g}" in explorer.words(explorer.result(**at), **at)


def test_words_are_of_where_the_controls_stand_whatever_the_picture_is_called(objectives):
    explorer = explorer_of(objectives, methods=["amp", "sam"])
    at = {"method": "sam", "rho": 0.2}
    view = explorer.result(**at)
    said = explorer.words(replace(view, title="A title of one's own"), **at)
    assert said.startswith("SAM with ρ = 0.2, at the weights found by SGD.") and said == explorer.words(view, **at)


def test_wrong_explorers_are_refused(objectives):
    with pytest.raises(DataError, match="nothing to explore"):
        PerturbationExplorer({})
    with pytest.raises(MismatchError, match="other labels"):
        PerturbationExplorer(objectives, evaluate_on={"SAM": objectives["SGD"]})
    with pytest.raises(ConfigError, match="method"):
        PerturbationExplorer(objectives, methods=["samm"])
    with pytest.raises(ConfigError, match="rho is out of range"):
        PerturbationExplorer(objectives, rho=-1.0)
