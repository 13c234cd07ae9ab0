"""Surfaces show the loss of the weights they say, whatever the order, the batches or the scale of the layers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from landscape.errors import ConfigError, MismatchError, NonDeterministicError
from landscape.objective import Objective
from landscape.surface import (
    Direction,
    Line,
    Surface,
    direction_between,
    evaluate_line,
    evaluate_surface,
    random_direction,
    random_plane,
)


def surface(objective: Objective, **options: object) -> Surface:
    settings = {"points": 5, "extent": 0.7, "progress": False} | options
    return evaluate_surface(objective, random_plane(objective, seed=1), **settings)


def same(a: Surface | Line, b: Surface | Line) -> bool:
    return all(
        getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("loss", "accuracy", "status", "alphas")
    )


@pytest.mark.parametrize("which", ["objective", "conv_objective"])
def test_the_center_is_the_model_bit_for_bit(which: str, request: pytest.FixtureRequest) -> None:
    objective = request.getfixturevalue(which)
    for points in (5, (3, 7)):
        found = surface(objective, points=points)
        assert found.center_loss == objective.evaluate().loss
        middle = tuple(n // 2 for n in found.loss.shape)
        assert found.accuracy[middle] == objective.evaluate().accuracy
    line = evaluate_line(objective, random_direction(objective), points=3, progress=False)
    assert line.center_loss == objective.evaluate().loss


def test_the_center_is_the_model_bit_for_bit_in_single_precision(tiny_problem) -> None:
    objective = Objective(
        tiny_problem.model.float(), (tiny_problem.inputs.float(), tiny_problem.targets), batch_size=16
    )
    assert surface(objective).center_loss == objective.evaluate().loss


def test_every_point_is_the_loss_of_the_displaced_model(conv_objective: Objective) -> None:
    """Against the model itself with displaced weights, all examples in one batch; 1e-12: other summation order."""
    objective, plane = conv_objective, random_plane(conv_objective, ignore=None, seed=1)
    inputs, targets = (torch.cat(part) for part in zip(*objective.batches(), strict=True))
    found = evaluate_surface(objective, plane, points=(3, 4), extent=0.4, progress=False)
    d1, d2 = (objective.layout.named(direction.vector) for direction in plane.directions)
    for i, alpha in enumerate(found.alphas):
        for j, beta in enumerate(found.betas):
            moved = copy.deepcopy(objective.model).eval()
            with torch.no_grad():
                for name, parameter in moved.named_parameters():
                    if name in d1:
                        parameter += alpha * d1[name] + beta * d2[name]
                outputs = moved(inputs)
            assert found.loss[i, j] == pytest.approx(float(F.cross_entropy(outputs, targets)), rel=1e-12)
            assert found.accuracy[i, j] == pytest.approx(float((outputs.argmax(1) == targets).double().mean()))
    assert found.complete and (found.status == 1).all()


def test_the_order_changes_nothing(objective: Objective) -> None:
    coarse, rows = surface(objective, points=(6, 5)), surface(objective, points=(6, 5), order="rows")
    assert same(coarse, rows)
    whole = surface(objective, points=5)
    part = evaluate_surface(
        objective, random_plane(objective, seed=1), points=3, extent=0.35, order="rows", progress=False
    )
    assert np.array_equal(whole.loss[1:4, 1:4], part.loss)  # the same points among other neighbors


def test_ragged_batches_are_weighted_by_examples(tiny_problem) -> None:
    """1e-12: the sums are taken in another order."""
    losses = [
        surface(Objective(tiny_problem.model, tiny_problem.data, batch_size=size)).loss for size in (40, 16, 7, 1)
    ]
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], rtol=1e-12)


def relu_net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 3)).double()


@given(scale=st.floats(1e-3, 1e3), ignore=st.sampled_from(["biasbn", None]), norm=st.sampled_from(["filter", "layer"]))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rescaling_relu_layers_leaves_the_slice_unchanged(tiny_problem, scale: float, ignore, norm: str) -> None:
    """One layer times c, weights and bias, the next one's weights over c: the same function, the same picture.

    1e-9: the products c * w and w / c round, and so do the losses of up to 1e2.
    """
    with torch.random.fork_rng():
        model = relu_net()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled[0].weight.mul_(scale)
        scaled[0].bias.mul_(scale)
        scaled[2].weight.div_(scale)
    pictures = []
    for each in (model, scaled):
        objective = Objective(each, tiny_problem.data)
        plane = random_plane(objective, seed=2, ignore=ignore, norm=norm)
        pictures.append(evaluate_surface(objective, plane, points=5, progress=False).loss)
    np.testing.assert_allclose(pictures[1], pictures[0], rtol=1e-9)


def test_without_normalization_rescaling_does_change_the_slice(tiny_problem) -> None:
    """So the property above is one of the norm, and the test can fail."""
    with torch.random.fork_rng():
        model = relu_net()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled[0].weight.mul_(10)
        scaled[0].bias.mul_(10)
        scaled[2].weight.div_(10)
    pictures = []
    for each in (model, scaled):
        objective = Objective(each, tiny_problem.data)
        pictures.append(
            evaluate_surface(objective, random_plane(objective, norm="none"), points=3, progress=False).loss
        )
    assert np.abs(pictures[1] / pictures[0] - 1).max() > 0.1


def test_a_line_from_one_model_to_another_ends_there(objective: Objective) -> None:
    """1e-12: b is reached as a + (b - a), with two roundings."""
    other = copy.deepcopy(objective.model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.3)
    line = evaluate_line(objective, direction_between(objective, other), extent=(0, 1), points=5, progress=False)
    assert line.loss[0] == line.center_loss == objective.evaluate().loss
    assert line.loss[-1] == pytest.approx(objective.evaluate(objective.layout.flatten(other)).loss, rel=1e-12)


def nan_beyond(limit: float, value: float):
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        mean = F.cross_entropy(outputs, targets)
        return torch.where(mean > limit, torch.full_like(mean, value), mean)

    return loss


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_losses_are_kept(tiny_problem, value: float) -> None:
    plain = Objective(tiny_problem.model, tiny_problem.data)
    limit = float(np.median(surface(plain).loss))
    found = surface(Objective(tiny_problem.model, tiny_problem.data, nan_beyond(limit, value)))
    bad = ~np.isfinite(found.loss)
    assert 0 < bad.sum() < bad.size and (bad == (surface(plain).loss > limit)).all()
    assert np.array_equal(found.loss[bad], np.full(bad.sum(), value), equal_nan=True)
    assert (found.status == np.where(bad, 2, 1)).all() and found.complete


def test_accuracy_has_no_meaning_for_regression(tiny_problem) -> None:
    targets = torch.zeros(40, 3, dtype=torch.float64)
    found = surface(Objective(tiny_problem.model, (tiny_problem.inputs, targets), F.mse_loss))
    assert np.isnan(found.accuracy).all() and (found.status == 1).all()


def test_updates_come_coarse_first_and_whole_at_last(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    import landscape.surface.collector as engine

    ticks = iter(range(10_000))
    monkeypatch.setattr(engine.time, "monotonic", lambda: 0.1 * next(ticks))  # a block every few points
    seen: list[Surface] = []
    found = surface(objective, points=9, on_update=seen.append, workers=1)  # more finish blocks out of turn
    assert seen[-1] is found and found.complete and len(seen) > 10
    counts = [int((each.status > 0).sum()) for each in seen]
    assert counts == sorted(counts) and counts[0] < 10
    for each in seen:
        done = each.status > 0
        assert np.array_equal(each.loss[done], found.loss[done]) and np.isnan(each.loss[~done]).all()
    early = next(each for each in seen if (each.status > 0).sum() >= 25)
    assert (early.status[::2, ::2] > 0).all()  # every second point of both axes before any other


def test_a_plane_from_another_model(objective: Objective, conv_objective: Objective) -> None:
    with pytest.raises(MismatchError, match="belongs to another model"):
        evaluate_surface(objective, random_plane(conv_objective), progress=False)
    stranger = Objective(nn.Linear(118, 1), (torch.zeros(1, 118), torch.zeros(1, 1)))
    assert stranger.size == objective.size
    with pytest.raises(MismatchError, match="belongs to another model"):
        evaluate_line(objective, random_direction(stranger), progress=False)
    short = Direction(vector=torch.ones(3), kind="mine", norm="none")
    with pytest.raises(MismatchError, match="119 weights"):
        evaluate_line(objective, short, progress=False)


def test_options_out_of_range(objective: Objective) -> None:
    with pytest.raises(ConfigError, match="extent is out of range"):
        surface(objective, extent=-1.0)
    with pytest.raises(ConfigError, match="number of points"):
        surface(objective, points=(5, 0))
    with pytest.raises(ConfigError, match="Did you mean 'plain'"):
        surface(objective, engine="plane")
    with pytest.raises(ConfigError, match="Unknown order"):
        surface(objective, order="spiral")
    for workers in (0, -1, 1.5, "many", True):
        with pytest.raises(ConfigError, match="number of workers"):
            surface(objective, workers=workers)
    with pytest.raises(MismatchError, match="random_plane"):
        evaluate_surface(objective, random_direction(objective), progress=False)
    with pytest.raises(MismatchError, match="random_direction"):
        evaluate_line(objective, random_plane(objective), progress=False)


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.inner(x))  # on in evaluation mode too


def test_a_loss_that_is_no_function_of_the_weights(tiny_problem) -> None:
    with pytest.raises(NonDeterministicError, match="Dropout"):
        surface(Objective(Noisy(), tiny_problem.data))


def test_provenance_says_what_it_is(objective: Objective) -> None:
    found = surface(objective)
    assert found.provenance["layout"] == objective.layout.fingerprint
    assert found.provenance["engine"] == "plain" and found.provenance["points_resumed"] == 0
    assert found.provenance["weights_sha256"] == found.directions[0]["weights_sha256"]
    assert [each["norm"] for each in found.directions] == ["filter", "filter"]


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(objective: Objective, tiny_problem) -> None:
    """1e-10 in float64: other kernels, other summation order."""
    there = Objective(tiny_problem.model, tiny_problem.data, device="cuda", batch_size=16)
    found = surface(there)
    np.testing.assert_allclose(found.loss, surface(objective).loss, rtol=1e-10)
    assert found.center_loss == there.evaluate().loss
