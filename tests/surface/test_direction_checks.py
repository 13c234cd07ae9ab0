"""Directions and planes that cannot be, of models of few or odd weights; and how they print."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, MismatchError
from landscape.objective import Objective
from landscape.surface import (
    Direction,
    Plane,
    direction_between,
    evaluate_line,
    evaluate_surface,
    plane_through,
    random_direction,
    random_plane,
)
from landscape.surface.directions import NORMS


class Scaled(nn.Module):
    """A linear layer times one trainable number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.linear = nn.Parameter(torch.tensor(-2.0)), nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in self.linear.parameters():
                parameter.copy_(torch.arange(1.0, parameter.numel() + 1).view(parameter.shape))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.scale * self.linear(inputs)


def objective_of(model: nn.Module) -> Objective:
    return Objective(model.double(), (torch.eye(3).double(), torch.tensor([0, 1, 1])))


def frozen_but(*kinds: str) -> Objective:
    """Only parameters with these names move."""
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in kinds)
    return objective_of(model)


# ------------------------------------------------------------------------------------------------- single numbers


@pytest.mark.parametrize("norm", NORMS)
def test_a_single_number_has_a_direction(norm):
    objective = objective_of(Scaled())
    moved = random_direction(objective, norm=norm, ignore=None, seed=2)
    pieces = objective.layout.named(moved.vector)
    assert pieces["scale"].shape == () and float(pieces["scale"]) != 0
    if norm in ("filter", "layer"):  # one filter, one layer: of the weight's own size
        assert abs(float(pieces["scale"])) == pytest.approx(2.0, rel=1e-12)
    held = objective.layout.named(random_direction(objective, norm=norm, seed=2).vector)
    assert float(held["scale"]) == 0 and not held["linear.bias"].any()  # as biases are
    assert torch.equal(held["linear.weight"], pieces["linear.weight"])


def test_a_surface_of_a_model_with_a_single_number():
    objective = objective_of(Scaled())
    plane = random_plane(objective, ignore=None, seed=1)
    found = evaluate_surface(objective, plane, points=3, progress=False)
    there = objective.weights() + plane.direction1.vector - plane.direction2.vector
    assert found.loss[2, 0] == pytest.approx(objective.evaluate(there).loss, rel=1e-12)


# ------------------------------------------------------------------------------------------- nothing that moves


@pytest.mark.parametrize("names", [("0.bias",), ("1.weight", "1.bias"), ("0.bias", "1.weight", "1.bias", "2.bias")])
def test_where_only_biases_move_the_advice_is_to_move_them(names):
    objective = frozen_but(*names)
    for draw in (random_direction, random_plane):
        with pytest.raises(
            ConfigError, match=r"No weight is left to move.*Got: only \d\.\w+.*Pass ignore=None"
        ) as caught:
            draw(objective)
        assert ("and others" in str(caught.value)) == (len(names) > 3)
        draw(objective, ignore=None)  # the advice works


def test_weights_that_are_zero_have_no_scale():
    model = nn.Linear(3, 2)
    nn.init.zeros_(model.weight)
    objective = objective_of(model)
    with pytest.raises(MismatchError, match=r"span no plane.*lengths 0 and 0.*norm='none'"):
        random_plane(objective)
    assert random_plane(objective, norm="none").direction1.length > 0  # the advice works


def test_other_planes_that_are_none_get_advice_of_their_own(objective):
    random, still = random_direction(objective), direction_between(objective, objective)
    with pytest.raises(MismatchError, match="two different points"):
        Plane(direction_between(objective, objective.model), still)
    with pytest.raises(MismatchError, match="another seed"):
        Plane(random, random)
    wild = Direction(vector=torch.full((objective.size,), torch.inf), kind="mine", norm="none")
    with pytest.raises(MismatchError, match="that are finite"):
        Plane(random, wild)


# --------------------------------------------------------------------------------------------------- wrong kinds

VECTORS = {
    "from_numpy": np.ones(4),
    r"vector\.real, vector\.imag": torch.ones(4, dtype=torch.complex128),
    r"vector\.float\(\)": torch.ones(4, dtype=torch.long),
    r"\.flatten\(\)": torch.ones(2, 2),
    r"torch\.randn\(objective\.size\)": [1.0] * 4,
}


@pytest.mark.parametrize("advice", VECTORS)
def test_vectors_that_are_none(advice):
    with pytest.raises(MismatchError, match=rf"no vector of weights.*Expected: .*Got: .*{advice}"):
        Direction(vector=VECTORS[advice], kind="mine", norm="none")  # type: ignore[arg-type]


def test_a_complex_direction_never_loses_its_imaginary_part(objective):
    with pytest.raises(MismatchError, match="complex"):
        direction_between(objective, torch.ones(objective.size, dtype=torch.complex128))
    with pytest.raises(MismatchError, match="complex"):
        objective.evaluate(torch.ones(objective.size, dtype=torch.complex128))


@pytest.mark.parametrize(
    "known",
    [
        {"kind": 5}, {"norm": None}, {"ignore": 1}, {"layout": b"a"}, {"weights": 1.0}, {"seed": "1"}, {"seed": 1.5},
        {"details": 5}, {"details": {"of": torch.ones(2)}}, {"details": {"of": {1, 2}}}, {"details": None},
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_told_before_anything_is_computed(known):
    (name,) = known
    with pytest.raises(ConfigError, match=rf"A direction's {name} cannot be written down.*Expected: .*Got: .*JSON"):
        Direction(**({"vector": torch.ones(4), "kind": "mine", "norm": "none"} | known))


def test_origins_and_marks_of_other_kinds(objective):
    first, second = random_plane(objective).directions
    for origin in (np.ones(objective.size), torch.ones(3), torch.ones(objective.size, dtype=torch.long), 5, objective):
        with pytest.raises(MismatchError, match=r"origin is no point.*Expected: .*Got: .*What to do: "):
            Plane(first, second, origin=origin)  # type: ignore[arg-type]
    for marks in ({"a": 1.0}, {"a": (1.0,)}, {"a": (1.0, "b")}, {1: (0.0, 0.0)}, {"a": (0.0, float("nan"))}, ["a"], 5):
        with pytest.raises(ConfigError, match=r"no places by name.*Expected: .*Got: .*What to do: "):
            Plane(first, second, marks=marks)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ how they print


def test_directions_and_planes_print_as_one_short_line(objective):
    direction = random_direction(objective, seed=3)
    assert repr(direction) == "Direction(random, P = 119, norm filter, ignore biasbn, seed 3, float64, cpu)"
    a, b, c = torch.zeros(8), torch.ones(8), torch.arange(8.0)
    between = direction_between(a, b)
    assert repr(between) == "Direction(between, P = 8, norm none, float32, cpu)"
    plane = plane_through(a, b, c, names=("SGD", "SAM", "AMP"))
    assert repr(plane) == f"Plane({between!r}, {plane.direction2!r}, cosine 0.837, an origin, marks SGD, SAM, AMP)"
    drawn = random_plane(objective, seed=3)
    assert repr(drawn).endswith(f"cosine {drawn.cosine:.3g})") and "tensor(" not in repr(drawn)
    line = evaluate_line(objective, direction, points=3, progress=False)
    assert repr(line.direction) == repr(direction)
