"""Straight lines between models: barriers with a closed form, both ends the models themselves, running statistics."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, MismatchError
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.surface import (
    Line,
    barrier,
    evaluate_line,
    interpolation_line,
    linear_barrier,
    random_direction,
    recompute_batch_norm,
)


def well(weight: float, tilt: float = 0.0, scale: float = 1.0) -> Objective:
    """L(w) = scale * (w**2 - 1)**2 + tilt * w, of a model with one weight."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, weight)

    def loss(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return (scale * (outputs**2 - 1) ** 2 + tilt * outputs).mean()

    return Objective(model, (torch.ones(4, 1), torch.zeros(4, 1)), loss)


def line_of(loss: list[float], alphas: list[float], status: list[int] | None = None) -> Line:
    values = {"loss": loss, "accuracy": np.array(loss) / 8, "status": status or [1] * len(loss)}
    return Line(alphas=alphas, **values, directions=(), provenance={})


def norm_net(seed: int) -> nn.Module:
    with seeded(seed, "tests", "norm net"):
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()
        for _ in range(3):
            model(torch.randn(32, 4).double() * (1 + seed))
    return model.eval()


def examples(count: int = 60, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(count, 4, generator=generator(seed, "tests", "connectivity"), dtype=torch.float64)
    return inputs + 1, torch.arange(count) % 3


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_the_barrier_of_a_double_well(tilt: float) -> None:
    """The straight line takes the tilt away: the height is that of the well, 1 in the middle; 1e-14: roundings."""
    line = interpolation_line(well(-1.0, tilt), well(1.0, tilt), progress=False)
    found = barrier(line)
    assert len(line.alphas) == 31 and found.height == pytest.approx(1.0, abs=1e-14) and found.at == 0.5
    w = np.linspace(-1, 1, 31)
    assert found.instability == pytest.approx(np.max((w**2 - 1) ** 2 + tilt * w), rel=1e-13)  # the ends' mean is 0
    assert found.quantity == "loss"


def test_no_barrier_in_one_valley() -> None:
    """A convex loss: the line is never above its chord, so the height is that of the ends, 0."""
    line = interpolation_line(well(1.0), well(1.5), points=11, progress=False)
    found = barrier(line)
    assert found.height == 0.0 and found.at in (0.0, 1.0)
    assert found.instability == pytest.approx(line.loss[-1] / 2)


def test_a_barrier_by_hand() -> None:
    longer = line_of([9, 1, 3, 5, 2, 9], [-0.5, 0, 0.25, 0.5, 1, 1.5])  # what lies beyond the models does not count
    found = barrier(longer)
    assert (found.height, found.at, found.instability) == (3.5, 0.5, 3.5)
    skewed = barrier(line_of([0, 6, 8], [0, 0.5, 1]))
    assert (skewed.height, skewed.at, skewed.instability) == (2.0, 0.5, 4.0)
    error = barrier(line_of([8, 2, 6], [0, 0.5, 1]), quantity="error")  # errors 0, 0.75, 0.25
    assert (error.height, error.at, error.instability, error.quantity) == (0.625, 0.5, 0.625, "error")


def test_infinite_losses_stay() -> None:
    assert barrier(line_of([0, np.inf, 0], [0, 0.5, 1])).height == np.inf
    assert np.isnan(barrier(line_of([0, np.nan, 0], [0, 0.5, 1])).height)
    assert np.isnan(barrier(line_of([np.inf, 1, 0], [0, 0.5, 1])).height)


def test_paths_that_lead_nowhere(objective: Objective) -> None:
    for alphas in ([0, 0.5, 0.9], [0.1, 0.5, 1]):
        with pytest.raises(MismatchError, match="from one model to the other"):
            barrier(line_of([0, 1, 2], alphas))
    with pytest.raises(MismatchError, match="missing"):
        barrier(line_of([0, np.nan, 2], [0, 0.5, 1], status=[1, 0, 1]))
    barrier(line_of([np.nan, 0, 1, 2], [-1, 0, 0.5, 1], status=[0, 1, 1, 1]))  # missing outside is nothing
    with pytest.raises(MismatchError, match="from one model to the other"):
        barrier(evaluate_line(objective, random_direction(objective), extent=0.5, points=3, progress=False))
    with pytest.raises(ConfigError, match="Did you mean 'error'"):
        barrier(line_of([0, 1, 2], [0, 0.5, 1]), quantity="errors")


def test_training_and_test_data() -> None:
    train, test = well(-1.0), well(-1.0, scale=0.5)
    found = linear_barrier({"train": train, "test": test}, well(1.0).model, points=5, progress=False)
    assert {label: each.height for label, each in found.items()} == {"train": 1.0, "test": 0.5}
    with pytest.raises(MismatchError, match="'test' is at other weights"):
        linear_barrier({"train": train, "test": well(0.5)}, well(1.0), progress=False)
    with pytest.raises(ConfigError, match="no objective"):
        linear_barrier({}, well(1.0))


@pytest.mark.parametrize("policy", ["recompute", "interpolate"])
def test_both_ends_are_the_models(policy: str, snapshot, assert_unchanged) -> None:
    """1e-12: the second end is reached by adding a difference."""
    data, a, b = examples(), norm_net(0), norm_net(1)
    ends = [Objective(model, data, batch_size=25) for model in (a, b)]
    before = [snapshot(model) for model in (a, b)]
    line = interpolation_line(ends[0], ends[1], points=5, batch_norm=policy, progress=False)
    wanted = [recompute_batch_norm(each) if policy == "recompute" else each for each in ends]
    for index, objective in zip((0, -1), wanted, strict=True):
        value = objective.evaluate()
        assert line.loss[index] == pytest.approx(value.loss, rel=1e-12)
        assert line.accuracy[index] == value.accuracy
    for model, state in zip((a, b), before, strict=True):
        assert_unchanged(state, model)
    assert line.provenance["batch_norm"] == policy and line.complete
    assert line.direction.kind == "between" and barrier(line).height >= 0


def test_interpolated_statistics_are_half_of_each() -> None:
    data, a, b = examples(), norm_net(0), norm_net(1)
    line = interpolation_line(Objective(a, data), b, points=3, batch_norm="interpolate", progress=False)
    middle = copy.deepcopy(a)
    averaged = {
        name: (value + b.state_dict()[name]) / 2 if value.is_floating_point() else value
        for name, value in a.state_dict().items()
    }
    middle.load_state_dict(averaged)
    assert line.loss[1] == pytest.approx(Objective(middle, data).evaluate().loss, rel=1e-12)
    recomputed = interpolation_line(Objective(a, data), b, points=3, progress=False)
    assert abs(recomputed.loss[1] - line.loss[1]) > 1e-3


def test_test_data_has_the_statistics_of_training() -> None:
    a, b = norm_net(0), norm_net(1)
    train, test = Objective(a, examples()), Objective(a, examples(20, seed=1))
    found = linear_barrier({"train": train, "test": test}, b, points=3, progress=False)
    line = interpolation_line(test, b, points=3, statistics_from=train, progress=False)
    assert found["test"] == barrier(line)
    assert line.loss[0] == recompute_batch_norm(test, statistics_from=train).evaluate().loss
    assert found["test"] != barrier(interpolation_line(test, b, points=3, progress=False))


def test_models_without_statistics_have_one_line(objective: Objective) -> None:
    other = copy.deepcopy(objective.model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(-1)
    one, two = (
        interpolation_line(objective, other, points=3, batch_norm=policy, progress=False)
        for policy in ("recompute", "interpolate")
    )
    assert one.loss.tobytes() == two.loss.tobytes()


def test_strangers() -> None:
    a, b = norm_net(0), norm_net(1)
    objective = Objective(a, examples())
    with pytest.raises(MismatchError, match="one architecture"):
        interpolation_line(objective, nn.Linear(4, 3).double())
    with pytest.raises(MismatchError, match="no running statistics to interpolate"):
        interpolation_line(objective, objective.weights() + 1, batch_norm="interpolate")
    with pytest.raises(ConfigError, match="Did you mean 'recompute'"):
        interpolation_line(objective, b, batch_norm="recomputed")
    frozen = [copy.deepcopy(model) for model in (a, b)]
    for model in frozen:
        model[0].requires_grad_(False)
    with pytest.raises(MismatchError, match=r"differ in 0\.weight"):
        interpolation_line(Objective(frozen[0], examples()), frozen[1])


@pytest.mark.gpu
def test_devices_agree() -> None:
    """1e-9: float64 on both, sums in another order."""
    for policy in ("recompute", "interpolate"):
        here, there = (
            interpolation_line(
                Objective(norm_net(0), examples(), device=device), norm_net(1), points=3, batch_norm=policy,
                progress=False,
            )
            for device in ("cpu", "cuda")
        )  # fmt: skip
        np.testing.assert_allclose(here.loss, there.loss, rtol=1e-9)
