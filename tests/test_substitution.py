"""Tensors in the place of parameters: wherever these are, and only for the time of the call."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.sharpness import measure
from landscape.substitution import Substitution
from landscape.surface import evaluate_line, random_direction


class Twice(nn.Module):
    """Two layers that have two names each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)
        self.layers = nn.ModuleList([self.first, self.second])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[1](torch.tanh(self.layers[0](x)))


class Tied(nn.Module):
    """Two layers with one weight, of which the second one alone is called."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.second(x)))


def objective_of(kind: type[nn.Module]) -> Objective:
    with seeded(0, "tests", "substitution"):
        model = kind().double()
    stream = generator(0, "tests", "substitution")
    return Objective(model, (torch.randn(12, 4, generator=stream).double(), torch.arange(12) % 3), batch_size=5)


@pytest.mark.parametrize("kind", [Twice, Tied])
def test_every_place_is_taken_and_given_back(kind: type[nn.Module]) -> None:
    model = kind().double()
    before = dict(model.named_parameters(remove_duplicate=False))
    own = dict(model.named_parameters())
    zeros = {name: torch.zeros_like(parameter) for name, parameter in own.items()}
    assert Substitution(model, own)(zeros, torch.ones(2, 4).double()).abs().sum() == 0
    after = dict(model.named_parameters(remove_duplicate=False))
    assert list(after) == list(before) and all(after[name] is before[name] for name in before)


def test_they_are_back_after_an_error() -> None:
    model = Twice()
    own = dict(model.named_parameters())
    with pytest.raises(RuntimeError):
        Substitution(model, own)({name: p.detach() * 2 for name, p in own.items()}, torch.ones(2, 7))
    assert all(p is own[name] for name, p in model.named_parameters())


@pytest.mark.parametrize("kind", [Twice, Tied])
def test_a_loss_after_a_gradient_is_still_that_of_the_weights_asked_for(kind: type[nn.Module]) -> None:
    objective = objective_of(kind)
    here = objective.weights()
    points = [here, here + 0.5, here - 0.3]
    expected = [objective.evaluate(point).loss for point in points]
    for question in (objective.gradient, lambda: objective.hvp(here), lambda: objective.gradient(points[1])):
        question()
        assert [objective.evaluate(point).loss for point in points] == expected


def test_measures_of_a_layer_with_two_names() -> None:
    """One that takes a gradient before others that take losses."""
    names = ["sam_sharpness", "lpf", "local_entropy_gradient_norm"]
    whole = measure(objective_of(Twice), names, progress=False)
    alone = {name: measure(objective_of(Twice), name, progress=False)[name] for name in names}
    assert str(whole) == str(alone) and whole["lpf"].stderr > 0


def test_lines_of_a_layer_with_two_names() -> None:
    objective = objective_of(Twice)
    direction = random_direction(objective)
    plain, stacked = (
        evaluate_line(objective, direction, points=5, engine=engine, workers=1, progress=False).loss
        for engine in ("plain", "stacked")
    )
    assert stacked == pytest.approx(plain, rel=1e-9) and len(set(plain.tolist())) == 5
