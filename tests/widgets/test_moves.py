"""Perturbed weights are those of the methods' own optimizers, and what is cut through them is what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import landscape as ll
from landscape.errors import ConfigError
from landscape.objective import Objective
from landscape.widgets.methods import METHODS, Setting, chosen_methods
from landscape.widgets.moves import Mover, filter_names, part_of
from landscape.widgets.slices import Slice, noise_length, outline, slice_through

AMP = (("inner_iter", 1.0), ("inner_lr", 1.0))
NOISE = (("M", 3.0),)


def _gradients(model, objective):
    """The gradient of the whole objective, where a user's own loop would leave it."""
    model.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(objective._data.inputs), objective.targets)
    loss.backward()
    return loss


def _optimizer(name, model, **options):
    sgd = torch.optim.SGD
    return {
        "sam": lambda: ll.SAM(model.parameters(), sgd, lr=0.1, rho=0.3),
        "asam": lambda: ll.SAM(model.parameters(), sgd, lr=0.1, rho=0.8, adaptive=True),
        "amp": lambda: ll.AMP(model.parameters(), lr=0.1, epsilon=0.05, **options),
        "lpfsgd": lambda: ll.LPFSGD(model.parameters(), lr=0.1, std=0.05, seed=0),
    }[name]()


SETTINGS = {
    "sam": Setting("sam", 0.3),
    "asam": Setting("asam", 0.8),
    "amp": Setting("amp", 0.05, AMP),
    "lpfsgd": Setting("lpfsgd", 0.05, NOISE),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_perturbed_weights_are_those_of_first_step(name, tiny_problem):
    """By the calls that users make: backward, first_step(), and the loss where the model then is."""
    objective = Objective(tiny_problem.model, tiny_problem.data)
    found = Mover(objective).move(SETTINGS[name])
    model = tiny_problem.model
    optimizer = _optimizer(name, model)
    _gradients(model, objective)
    optimizer.first_step()
    there, loss = objective.weights(), objective.evaluate().loss
    optimizer.restore()
    torch.testing.assert_close(found.perturbed[0], there, rtol=0, atol=1e-14)
    assert objective.evaluate(found.perturbed[0]).loss == pytest.approx(loss, rel=1e-13)


@pytest.mark.parametrize("steps", [1, 3])
def test_inner_steps_of_amp_are_those_of_its_optimizer(steps, tiny_problem):
    objective = Objective(tiny_problem.model, tiny_problem.data)
    setting = Setting("amp", 0.05, (("inner_iter", float(steps)), ("inner_lr", 2.0)))
    found = Mover(objective).move(setting)
    model = tiny_problem.model
    optimizer = _optimizer("amp", model, inner_iter=steps, inner_lr=2.0)
    with optimizer.perturbed(lambda: _gradients(model, objective)):
        there = objective.weights()
    assert len(found.points) == steps
    torch.testing.assert_close(found.perturbed[0], there, rtol=0, atol=1e-13)


def test_draws_of_noise_differ_and_are_named_by_the_seed(tiny_problem):
    objective = Objective(tiny_problem.model, tiny_problem.data)
    first, again, other = (Mover(objective, seed=seed).move(SETTINGS["lpfsgd"]) for seed in (0, 0, 1))
    assert len(first.perturbed) == 3
    assert not torch.equal(first.points[0], first.points[1])
    assert torch.equal(first.points[2], again.points[2])
    assert not torch.equal(first.points[0], other.points[0])


@pytest.mark.parametrize("name", SETTINGS)
def test_of_size_zero_nothing_moves(name, tiny_problem):
    mover = Mover(Objective(tiny_problem.model, tiny_problem.data))
    found = mover.move(SETTINGS[name].at(0.0))
    assert found.points == ()
    assert torch.equal(found.perturbed[0], mover.weights)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_model_and_the_generators_stay_as_they_were(name, tiny_problem, snapshot, assert_unchanged):
    tiny_problem.model.train()
    before = snapshot(tiny_problem.model)
    mover = Mover(part_of(Objective(tiny_problem.model, tiny_problem.data), 20))
    mover.evaluate(mover.move(SETTINGS[name]).perturbed[0])
    assert_unchanged(before, tiny_problem.model)


def test_a_part_has_some_of_the_examples_and_a_copy_of_the_model(tiny_problem):
    objective = Objective(tiny_problem.model, tiny_problem.data)
    part = part_of(objective, 12, seed=3)
    assert part.examples == 12 and part.loss_fn is objective.loss_fn
    assert part_of(objective, None).examples == part_of(objective, 400).examples == 40
    drawn = {tuple(row) for row in part._data.inputs.tolist()}
    assert drawn <= {tuple(row) for row in tiny_problem.inputs.tolist()} and len(drawn) == 12
    before = part.evaluate()
    with torch.no_grad():
        tiny_problem.model[0].weight.add_(1.0)
    assert part.evaluate() == before


def test_a_part_moves_what_its_objective_moves(tiny_problem):
    tiny_problem.model[0].requires_grad_(False)
    objective = Objective(tiny_problem.model, tiny_problem.data)
    part = part_of(objective, 12)
    assert part.layout.fingerprint == objective.layout.fingerprint
    assert Mover(part).move(SETTINGS["sam"]).points[0].shape == (objective.size,)


def test_filters_have_names(tiny_model):
    objective_layout = ll.Objective(tiny_model, (torch.zeros(1, 6).double(), torch.zeros(1).long())).layout
    names = filter_names(objective_layout)
    assert len(names) == objective_layout.filters
    assert names[:2] == ["0.weight[0]", "0.weight[1]"] and names[8] == "0.bias"


# ----------------------------------------------------------------------------------------------------- the slice


@pytest.fixture
def mover(tiny_problem):
    return Mover(Objective(tiny_problem.model, tiny_problem.data))


def _plane(mover, name):
    setting = SETTINGS[name]
    return slice_through(mover, setting, mover.move(setting.at(1.0)), points=5)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_slice_has_axes_of_norm_one_at_right_angles(name, mover):
    plane = _plane(mover, name)
    axes = torch.stack([plane.first, plane.second])
    torch.testing.assert_close(axes @ axes.T, torch.eye(2).double(), rtol=0, atol=1e-9)
    assert 0.0 in plane.axis.tolist()
    while plane.todo:
        plane.step(mover)
    assert plane.loss[2, 2] == mover.evaluate().loss
    point = mover.weights + plane.axis[4] * plane.first + plane.axis[1] * plane.second
    assert plane.loss[4, 1] == mover.evaluate(point).loss


@pytest.mark.parametrize("name", ["sam", "amp", "asam"])
def test_a_perturbation_on_its_ball_falls_on_the_outline_or_within(name, mover):
    """SAM and ASAM lie in their plane and on their ball; AMP's clipped tensors do."""
    size = {"sam": 0.3, "amp": 1e-4, "asam": 0.8}[name]  # so small that all of AMP's tensors are clipped
    setting = SETTINGS[name].at(size)
    plane = _plane(mover, name)
    edge = outline(setting, plane, mover.objective.layout, mover.weights)
    found = plane.project(mover.move(setting).deltas)[-1]
    angle, length = math.atan2(found[1], found[0]) % (2 * math.pi), float(np.hypot(*found))
    radius = np.interp(angle, np.linspace(0, 2 * math.pi, len(edge)), np.hypot(*edge.T))
    assert length == pytest.approx(radius, rel=5e-3)  # the outline is a polygon of 144 sides


def test_the_outline_is_where_the_constraint_binds(mover):
    plane, layout = _plane(mover, "amp"), mover.objective.layout
    edge = outline(Setting("amp", 0.2, AMP), plane, layout, mover.weights)
    for a, b in edge[::12]:
        pieces = layout.named(a * plane.first + b * plane.second).values()
        assert max(float(piece.norm()) for piece in pieces) == pytest.approx(0.2, rel=1e-9)


def test_the_noise_is_about_as_long_as_its_circle(mover):
    many = mover.move(Setting("lpfsgd", 0.01, (("M", 200.0),)))
    lengths = [float(delta.square().sum()) for delta in many.deltas]
    expected = 0.01 * noise_length(mover.objective.layout, mover.weights)
    assert math.sqrt(np.mean(lengths)) == pytest.approx(expected, rel=0.05)


def test_a_gradient_of_zero_still_has_a_plane(tiny_problem):
    def flat(outputs, targets):
        return 0.0 * outputs.sum(1)

    mover = Mover(Objective(tiny_problem.model, tiny_problem.data, flat))
    plane = slice_through(mover, SETTINGS["sam"], mover.move(SETTINGS["sam"]), points=3)
    assert isinstance(plane, Slice) and float(plane.first.norm()) == pytest.approx(1.0)


# --------------------------------------------------------------------------------------------------- the methods


def test_methods_are_chosen_and_start_where_they_should():
    found = chosen_methods(["sam", "amp"], {"rho": 0.07, "epsilon": None})
    assert list(found) == ["sam", "amp"]
    assert found["sam"].knob.value == 0.07 and 0.07 in found["sam"].knob.stops
    assert found["amp"] is METHODS["amp"]
    with pytest.raises(ConfigError, match="Unknown method 'samm'"):
        chosen_methods(["samm"], {})
    with pytest.raises(ConfigError, match="No method"):
        chosen_methods([], {})
    with pytest.raises(ConfigError, match="rho is out of range"):
        chosen_methods(["sam"], {"rho": -1.0})


def test_a_setting_is_written_as_in_formulas():
    assert SETTINGS["amp"].words == "AMP with ε = 0.05, N = 1, ζ = 1"
    assert SETTINGS["lpfsgd"].options == {"std": 0.05, "M": 3.0}
