"""No analysis changes the model, the global generators or the thread count, whatever happens inside."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.curvature import GGN, Hessian, InterruptedWarning, curvature_map, eigen_plane
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.sharpness import MEASURES, balance, measure
from landscape.surface import (
    Plane,
    bezier_curve,
    direction_between,
    evaluate_line,
    evaluate_surface,
    gradient_direction,
    interpolation_line,
    perturbation_direction,
    perturbation_profile,
    plane_through,
    random_direction,
    random_plane,
    recompute_batch_norm,
    trajectory_plane,
)
from tests.sharpness.problems import few


class Bomb(nn.CrossEntropyLoss):
    """Cross-entropy that draws from the global generator and raises at call ``stop_at``."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.stop_at, self.error = 0, 0, RuntimeError

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        torch.rand(3)
        if self.calls == self.stop_at:
            raise self.error("stop")
        return super().forward(input, target)


@pytest.fixture
def bomb() -> Bomb:
    return Bomb()


@pytest.fixture
def objective(bomb: Bomb) -> Objective:
    """A net in the middle of training: mixed modes, gradients, a frozen layer, running statistics, dropout."""
    with seeded(0, "tests", "contract"):
        model = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 3)
        ).double()
        inputs = torch.randn(12, 1, 6, 6, generator=generator(0, "tests", "contract"), dtype=torch.float64)
        targets = torch.arange(12) % 3
        model[0].bias.requires_grad_(False)
        F.cross_entropy(model(inputs), targets).backward()
    model.train()
    model[1].eval()
    return Objective(model, (inputs, targets), bomb, batch_size=5)


def other_net(objective: Objective) -> nn.Module:
    """Another net of the same layers, with other running statistics."""
    twin = copy.deepcopy(objective.model)
    with torch.no_grad():
        for name, tensor in twin.state_dict().items():
            if tensor.is_floating_point() and name not in ("0.bias",):  # which is frozen
                tensor.mul_(1.5)
    return twin


def measured(objective: Objective, name: str, *, as_published: bool) -> object:
    """One measure, from few samples: what is tested is what is left behind."""
    return measure(
        objective,
        name,
        initial_weights=objective.weights() / 2,
        parameters={name: few(name, as_published=as_published)},
        as_published=as_published,
        progress=False,
    )


ANALYSES: dict[str, Callable[[Objective], object]] = {
    "evaluate": lambda o: o.evaluate(),
    "gradient": lambda o: o.gradient(),
    "hvp": lambda o: o.hvp(torch.ones(o.size).double()),
    "random_direction": random_direction,
    "random_plane": random_plane,
    "direction_between": lambda o: direction_between(o, o.model),
    "evaluate_line": lambda o: evaluate_line(o, random_direction(o), points=3, progress=False),
    "evaluate_surface": lambda o: evaluate_surface(o, random_plane(o), points=3, progress=False),
    "evaluate_surface with updates": lambda o: evaluate_surface(
        o, random_plane(o), points=3, progress=False, on_update=lambda surface: torch.rand(1)
    ),
    "evaluate_surface elsewhere": lambda o: evaluate_surface(
        o, Plane(*random_plane(o).directions, origin=o.weights() + 1), points=2, batch_norm="recompute", progress=False
    ),
    "recompute_batch_norm": lambda o: recompute_batch_norm(o).evaluate(),
    "gradient_direction": gradient_direction,
    "plane_through": lambda o: plane_through(o, o.weights() + 1, o.weights() * 2, orthonormal=True),
    "trajectory_plane": lambda o: trajectory_plane([o, o.weights() + 1, o.weights() * 2, o.model], progress=False),
    "interpolation_line": lambda o: interpolation_line(o, o.weights() + 1, points=3, progress=False),
    "interpolation_line of buffers": lambda o: interpolation_line(
        o, other_net(o), points=3, batch_norm="interpolate", progress=False
    ),
    "bezier_curve": lambda o: bezier_curve(o, o.weights() + 1, epochs=2, batch_size=6, points=3, progress=False),
    "perturbation_direction": lambda o: perturbation_direction(o, "amp"),
    "perturbation_profile": lambda o: perturbation_profile(o, radii=[0, 1], draws=2, progress=False),
    "Hessian": Hessian,
    "Hessian @": lambda o: Hessian(o) @ torch.ones(o.size).double(),
    "Hessian @, nothing kept": lambda o: Hessian(o, memory=0) @ torch.ones(o.size).double(),
    "top": lambda o: Hessian(o).top(2),
    "trace": lambda o: Hessian(o).trace(probes=3, progress=False),
    "trace by hutch++": lambda o: Hessian(o, memory=0).trace(probes=3, method="hutch++", progress=False),
    "top from start vectors": lambda o: Hessian(o).top(2, tol=0.1, start=torch.eye(o.size, 2).double()),
    "trace by xtrace": lambda o: Hessian(o, memory=0).trace(probes=6, method="xtrace", progress=False),
    "diagonal": lambda o: Hessian(o, memory=0).diagonal(probes=3, progress=False),
    "frobenius_norm": lambda o: Hessian(o, memory=0).frobenius_norm(probes=3, progress=False),
    "layerwise": lambda o: Hessian(o).layerwise("trace", probes=2, progress=False),
    "within a limit": lambda o: Hessian(o, memory_limit=10_000_000) @ torch.ones(o.size).double(),
    "GGN": lambda o: GGN(o, memory=0) @ torch.ones(o.size).double(),
    "density": lambda o: Hessian(o).density(probes=2, steps=3, progress=False),
    "eigen_plane": lambda o: eigen_plane(Hessian(o)),
    "curvature_map": lambda o: curvature_map(o, random_plane(o), points=1, tol=0.3, progress=False),
    "balance": lambda o: balance(o.model),
    "a balanced model": lambda o: measure(
        Objective(balance(o.model), o.select(torch.arange(12))), "lpf", progress=False
    ),
}
ANALYSES |= {name: partial(measured, name=name, as_published=False) for name in MEASURES}
ANALYSES |= {
    f"{name} as published": partial(measured, name=name, as_published=True)
    for name, entry in MEASURES.items()
    if entry.published is not None
}


def ended(run: Callable[[], Any], error: type[BaseException]) -> bool:
    """Whether it ended by the error, or by Ctrl-C with a result that says that it is a part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterruptedWarning)
        try:
            found = run()
        except error as caught:
            return "stop" in str(caught) or "Interrupted" in str(caught)
    if isinstance(found, dict):
        whole = len(found) == 3 and all(estimate.complete for estimate in found.values())  # one for each layer
    else:
        whole = found.complete
    return error is KeyboardInterrupt and not whole


@pytest.mark.parametrize("name", ANALYSES)
def test_analyses_leave_everything_as_it_was(
    objective: Objective, bomb: Bomb, snapshot, assert_unchanged, name: str
) -> None:
    before = snapshot(objective.model)
    ANALYSES[name](objective)
    assert_unchanged(before, objective.model)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ANALYSES)
def test_analyses_leave_everything_as_it_was_after_an_exception(
    objective: Objective, bomb: Bomb, snapshot, assert_unchanged, name: str, error: type[BaseException]
) -> None:
    bomb.calls = 0  # the objective itself was built already
    ANALYSES[name](objective)
    calls, bomb.error = bomb.calls, error
    for stop_at in sorted({1, 2, calls // 2, calls} - {0}):
        bomb.calls, bomb.stop_at = 0, stop_at
        before = snapshot(objective.model)
        if calls:
            assert ended(lambda: ANALYSES[name](objective), error)
        assert_unchanged(before, objective.model)
    bomb.stop_at = 0
    ANALYSES[name](objective)  # and the objective still works


def test_analyses_give_the_same_twice_and_after_a_failure(objective: Objective, bomb: Bomb) -> None:
    def run() -> list[bytes]:
        surface = evaluate_surface(objective, random_plane(objective), points=3, progress=False)
        return [surface.loss.tobytes(), Hessian(objective).top().values.tobytes()]

    first = run()
    bomb.calls, bomb.stop_at = 0, 17
    with pytest.raises(RuntimeError):
        run()
    bomb.stop_at = 0
    torch.rand(100)
    assert run() == first


def test_the_contract_test_can_fail(objective: Objective, snapshot, assert_unchanged) -> None:
    before = snapshot(objective.model)
    with torch.no_grad():
        objective.model[1].running_mean += 1e-9
    with pytest.raises(AssertionError, match="running_mean"):
        assert_unchanged(before, objective.model)
