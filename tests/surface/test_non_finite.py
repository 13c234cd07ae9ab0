"""NaN and infinity come out of every engine as they come out of the plain one, wherever they arise."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from landscape.folding import FoldedModel, fused_available
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.surface.engines import StackedEngine, build_engine
from landscape.surface.single import Moves

ENGINES = ("folded", "folded_large", "stacked")
PLANTED = (float("nan"), float("inf"), -float("inf"))


class Block(nn.Module):
    """An addition behind a normalized convolution, as in residual networks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.second, self.norm2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm2(self.second(torch.relu(self.norm1(self.first(x))))) + x)


class Gate(nn.Module):
    """A sigmoid behind a rectifier: of minus infinity it makes a finite number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(torch.relu(self.conv(x)))


class Logarithm(nn.Module):
    """NaN where its scale is negative, minus infinity where it is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.conv = nn.Parameter(torch.ones(1)), nn.Conv2d(2, 6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x * self.scale.log()))


def stem(width: int = 6) -> list[nn.Module]:
    return [nn.Conv2d(2, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]


def head(width: int = 6) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)]


MODELS = {
    "residual": lambda: [*stem(), Block(6), *head()],
    "narrow": lambda: [*stem(1), nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 1), nn.ReLU(), *head(1)],
    "pooled": lambda: [*stem(), nn.MaxPool2d(2), Block(6), nn.MaxPool2d(2), *head()],
    "pooled otherwise": lambda: [*stem(), Block(6), nn.MaxPool2d(3, 2, 1), *head()],
    "gated": lambda: [*stem(), Gate(), Block(6), *head()],
    "two rectifiers": lambda: [*stem(), nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.ReLU6(), *head()],
    "logarithm": lambda: [Logarithm(), *head()],
}


def objective_of(kind: str, dtype: torch.dtype = torch.float32) -> Objective:
    stream = generator(0, "tests", "non-finite")
    inputs = torch.randn(6, 2, 8, 8, generator=stream)
    with seeded(0, "tests", kind):
        model = nn.Sequential(*MODELS[kind]())
        for _ in range(3):
            model(inputs)
    return Objective(model.eval().to(dtype), (inputs, torch.arange(6) % 3), batch_size=4)


def same(found: torch.Tensor, plain: torch.Tensor) -> bool:
    """1e-4: float32 sums in another order, where both are finite."""
    return bool(torch.isclose(found, plain, rtol=1e-4, atol=0.0, equal_nan=True).all())


@pytest.mark.parametrize("value", PLANTED)
@pytest.mark.parametrize("kind", MODELS)
def test_what_is_not_finite_comes_out_as_the_plain_engine_says(kind: str, value: float, monkeypatch) -> None:
    monkeypatch.setattr(StackedEngine, "block", 2)
    objective = objective_of(kind)
    weights, nothing = objective.weights(), torch.zeros(objective.size)
    engines = {name: build_engine(name, objective, [nothing]) for name in ("plain", *ENGINES)}
    for name, part in objective.layout.named(torch.arange(objective.size)).items():
        for place in part.flatten()[[0, -1]].tolist():
            point = weights.clone()
            point[place] = value
            seen = {}
            for engine, built in engines.items():
                vars(built)["_moves"] = Moves(objective, [nothing], point)
                seen[engine] = torch.stack([values[0] for values in built.evaluate([[0.0]])])
            for engine in ENGINES:
                assert same(seen[engine], seen["plain"]), (name, engine, seen)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_weight_that_crosses_zero_in_a_logarithm(engine: str) -> None:
    objective = objective_of("logarithm")
    away = objective.layout.flatten({n: torch.full(s, float(n == "0.scale")) for n, s in zip(
        objective.layout.names, objective.layout.shapes, strict=True)})  # fmt: skip
    points = [[-0.5], [-1.0], [-1.5], [0.5]]
    plain, _ = build_engine("plain", objective, [away]).evaluate(points)
    found, _ = build_engine(engine, objective, [away]).evaluate(points)
    assert plain.isfinite().tolist() == [True, False, False, True] and same(found, plain)


@pytest.mark.parametrize("engine", ENGINES)
def test_sums_that_overflow_inside(engine: str) -> None:
    """Weights of 1e12 are finite, and so is each of their products; four layers of them are not."""
    objective = objective_of("residual")
    away = torch.ones(objective.size)
    points = [[1e9], [1e12], [-1e12], [1e38]]
    plain, _ = build_engine("plain", objective, [away]).evaluate(points)
    found, _ = build_engine(engine, objective, [away]).evaluate(points)
    assert not plain.isfinite().all() and same(found, plain)


@pytest.mark.parametrize("value", PLANTED)
@pytest.mark.parametrize("kind", MODELS)
def test_a_folded_models_outputs_are_the_models_or_doubtful(kind: str, value: float) -> None:
    if not fused_available(torch.device("cpu"), torch.float32):
        pytest.skip("oneDNN's fused convolutions are not there")
    objective = objective_of(kind)
    inputs = torch.cat([x for x, _ in objective.batches()])
    model = copy.deepcopy(objective.model).requires_grad_(False)
    folded = FoldedModel(model, fused=True, patches=True)
    prepared = folded.prepare(inputs)
    for parameter in model.parameters():
        kept = parameter.data.clone()
        parameter.data.view(-1)[-1] = value
        folded.refresh()
        found, expected = folded(prepared), model(inputs)
        close = torch.isclose(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True).all()
        assert folded.doubtful or close
        parameter.data.copy_(kept)
    folded.refresh()
    assert torch.isfinite(folded(prepared)).all() and not folded.doubtful
