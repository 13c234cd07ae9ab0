"""Bezier curves: on a valley whose best curve is known, on a net, saved whole, the same for one seed."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, MismatchError, NonFiniteError
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.surface import (
    Curve,
    barrier,
    bezier_curve,
    evaluate_curve,
    evaluate_surface,
    interpolation_line,
    recompute_batch_norm,
)


class Banana(nn.Module):
    """Two weights (x, y), which are the outputs for every example."""

    def __init__(self, x: float, y: float) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([x, y], dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.place.expand(len(inputs), 2)


def banana(x: float, y: float = 0.0) -> Objective:
    """L = (y - 1 + x**2)**2: a valley along the parabola y = 1 - x**2, and a hill of 1 on the straight line y = 0.

    The curve with the control point (0, 2) is the parabola itself: x = 2 t - 1, y = 4 t (1 - t) = 1 - x**2.
    """

    def loss(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return (outputs[:, 1] - 1 + outputs[:, 0] ** 2).square()

    return Objective(Banana(x, y), (torch.ones(20, 1), torch.zeros(20)), loss)


def net(seed: int, *, norm: bool = True) -> nn.Module:
    with seeded(seed, "tests", "bezier"):
        middle = [nn.BatchNorm1d(8)] if norm else []
        return nn.Sequential(nn.Linear(4, 8), *middle, nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)).double()


def examples(count: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(count, 4, generator=generator(0, "tests", "bezier"), dtype=torch.float64)
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long() + (inputs[:, 2] > 1).long()


def trained(objective: Objective, **options: object) -> Curve:
    return bezier_curve(objective, options.pop("other"), progress=False, **options)


def test_the_curve_goes_round_the_hill() -> None:
    """SGD finds the exact curve: 1e-3 of a hill of height 1."""
    start, end = banana(-1.0), banana(1.0)
    assert barrier(interpolation_line(start, end, points=11, progress=False)).height == 1.0
    curve = trained(start, other=end, epochs=150, lr=0.2, batch_size=10, points=21)
    np.testing.assert_allclose(curve.middle.numpy(), [0.0, 2.0], atol=1e-2)
    assert curve.max_loss < 1e-3 and barrier(curve).height < 1e-3
    assert curve.history[0] > 0.1 and curve.history[-1] < 1e-3 and len(curve.history) == 150
    assert curve.t[0] == 0 and curve.t[-1] == 1 and curve.t[10] == 0.5
    np.testing.assert_allclose(curve.point(0.5).numpy(), [0.0, 1.0], atol=5e-3)


def test_the_curve_on_its_plane() -> None:
    """The surface passes through the curve's own losses; 1e-12: roundings of points of order 1."""
    curve = replace(
        trained(banana(-1.0), other=banana(1.0), epochs=1), middle=torch.tensor([0.5, 1.5], dtype=torch.float64)
    )
    objective = banana(-1.0)
    curve = evaluate_curve(objective, curve, points=9, progress=False)
    plane = curve.plane
    assert set(plane.marks) == {"start", "end", "middle"} and plane.marks["end"] == pytest.approx((2.0, 0.0), abs=1e-15)
    assert plane.marks["middle"] == pytest.approx((1.5, 1.5))
    places, distance = plane.project([curve.point(t) for t in curve.t])
    np.testing.assert_allclose(curve.coordinates, places, atol=1e-14)
    np.testing.assert_allclose(distance, 0, atol=1e-14)
    for place, t, loss in zip(curve.coordinates, curve.t, curve.loss, strict=True):
        reach = tuple((x, x + 1.0) for x in place.tolist())
        surface = evaluate_surface(objective, plane, extent=reach, points=2, progress=False)
        assert surface.loss[0, 0] == pytest.approx(loss, abs=1e-12)
        x, y = curve.point(float(t)).tolist()
        assert loss == pytest.approx((y - 1 + x**2) ** 2, abs=1e-15)


def test_the_first_step_by_hand() -> None:
    """One step of SGD with momentum and weight decay: the gradient at w(t) times 2 t (1 - t)."""
    start, end = banana(-1.0), banana(1.0, 0.5)
    curve = trained(start, other=end, epochs=1, lr=0.5, weight_decay=0.1, batch_size=20, seed=3)
    t = float(torch.rand(1, dtype=torch.float64, generator=generator(3, "bezier", "t")))
    middle = np.array([0.0, 0.25])
    x, y = (1 - t) ** 2 * np.array([-1.0, 0.0]) + 2 * t * (1 - t) * middle + t**2 * np.array([1.0, 0.5])
    slope = 2 * (y - 1 + x**2) * np.array([2 * x, 1.0]) + 0.1 * np.array([x, y])
    wanted = middle - 0.01 * 0.5 * 2 * t * (1 - t) * slope  # the only epoch is the last: 1 % of the learning rate
    np.testing.assert_allclose(curve.middle.numpy(), wanted, rtol=1e-12)
    assert curve.history[0] == pytest.approx((y - 1 + x**2) ** 2, rel=1e-12)


def test_normalization_uses_each_batch_in_training() -> None:
    """The loss of the only step is that of the whole data's own statistics at w(t), without dropout."""
    data, models = examples(), [net(seed) for seed in (0, 1)]
    curve = trained(Objective(models[0], data), other=models[1], epochs=1, batch_size=90, points=3)
    t = float(torch.rand(1, dtype=torch.float64, generator=generator(0, "bezier", "t")))
    point = copy.deepcopy(models[0]).eval()
    point[1].train()
    with torch.no_grad():
        for mine, end in zip(point.parameters(), models[1].parameters(), strict=True):
            middle = (mine + end) / 2
            mine.copy_((1 - t) ** 2 * mine + 2 * t * (1 - t) * middle + t**2 * end)
        loss = torch.nn.functional.cross_entropy(point(data[0]), data[1])
    assert curve.history[0] == pytest.approx(float(loss), rel=1e-12)  # the order of the examples is another
    assert torch.equal(curve.point(0.0), Objective(models[0], data).weights())
    assert torch.equal(curve.point(1.0), Objective(models[1], data).weights())


def test_the_learning_rate_falls() -> None:
    from landscape.surface.bezier import _Options

    options = _Options(epochs=100, lr=1.0, momentum=0.9, weight_decay=0.0, batch_size=1, seed=0)
    rates = [options.lr_at(epoch) for epoch in (1, 50, 70, 90, 100)]
    assert rates == pytest.approx([1.0, 1.0, 0.505, 0.01, 0.01])


def test_a_net_with_normalization_and_dropout(snapshot, assert_unchanged) -> None:
    data, a, b = examples(), net(0).train(), net(1)
    objective = Objective(a, data, batch_size=40)
    before = [snapshot(model) for model in (a, b)]
    curve = trained(objective, other=b, epochs=60, lr=0.3, batch_size=32, points=11)
    for model, state in zip((a, b), before, strict=True):
        assert_unchanged(state, model)
    straight = interpolation_line(objective, b, points=11, progress=False)
    assert curve.max_loss <= straight.loss.max()
    assert curve.loss[1:-1].mean() < straight.loss[1:-1].mean() - 0.05
    for index, model in ((0, a), (-1, b)):
        assert curve.loss[index] == recompute_batch_norm(Objective(model, data, batch_size=40)).evaluate().loss
    assert curve.history[-1] < curve.history[0]
    same = trained(objective, other=b, epochs=60, lr=0.3, batch_size=32, points=11)
    other = trained(objective, other=b, epochs=60, lr=0.3, batch_size=32, points=11, seed=1)
    assert torch.equal(same.middle, curve.middle) and same.loss.tobytes() == curve.loss.tobytes()
    assert not torch.equal(other.middle, curve.middle)
    options = curve.provenance["training"]["options"]
    assert (options["epochs"], options["lr"], options["batch_size"]) == (60, 0.3, 32)


def test_test_data_along_the_curve() -> None:
    objective = Objective(net(0), examples())
    curve = trained(objective, other=net(1), epochs=2, points=3)
    test = Objective(net(0), tuple(part[:30] for part in examples(120)))
    found = evaluate_curve(test, curve, points=5, statistics_from=objective, progress=False)
    fitting = recompute_batch_norm(test, statistics_from=objective)
    for t, loss, accuracy in zip(found.t, found.loss, found.accuracy, strict=True):
        value = fitting.evaluate(curve.point(float(t)))
        assert (loss, accuracy) == (value.loss, value.accuracy)
    assert found.provenance["examples"] == 30 and found.provenance["training"] == curve.provenance["training"]
    assert torch.equal(found.middle, curve.middle) and found.history.tobytes() == curve.history.tobytes()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_curves_are_saved_whole(tmp_path: Path, dtype: torch.dtype) -> None:
    model = net(0, norm=False).to(dtype)
    objective = Objective(model, examples(), lambda outputs, _: outputs.square().mean(1))
    curve = trained(objective, other=net(1, norm=False).to(dtype), epochs=1, points=3)
    curve.save(tmp_path / "c.npz")
    loaded = Curve.load(tmp_path / "c.npz")
    for name in ("t", "loss", "accuracy", "history"):
        assert getattr(loaded, name).tobytes() == getattr(curve, name).tobytes()
    for name in ("start", "middle", "end"):
        assert getattr(loaded, name).dtype == dtype and torch.equal(getattr(loaded, name), getattr(curve, name))
    assert loaded.provenance == curve.provenance
    assert repr(loaded).startswith("Curve(3 points, t 0 to 1, loss ")


def test_what_cannot_be_connected() -> None:
    objective = Objective(net(0), examples())
    with pytest.raises(MismatchError, match="one architecture"):
        trained(objective, other=net(1, norm=False))
    for options, field in (
        ({"epochs": 0}, "epochs"), ({"lr": 0.0}, "lr"), ({"momentum": 1.0}, "momentum"), ({"batch_size": 0}, "batch"),
        ({"weight_decay": -1.0}, "weight_decay"), ({"points": 1}, "One point"), ({"batch_size": 1}, "batch norm"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=field):
            trained(objective, other=net(1), **options)
    with pytest.raises(NonFiniteError, match=r"in epoch \d\. .* Lower lr, for example to 1e\+04"):
        trained(banana(-1.0), other=banana(1.0), lr=1e5)
    steep = Objective(
        Banana(-1.0, 0.0), (torch.ones(4, 1), torch.zeros(4)), lambda o, _: 1e10 * (o**4).sum(1) + o[:, 1]
    )
    with pytest.raises(NonFiniteError, match="in epoch 1"):  # the loss was finite, the step after it is not
        trained(steep, other=banana(1.0, 1.0), epochs=1, lr=1e305)
    curve = trained(banana(-1.0), other=banana(1.0), epochs=1)
    with pytest.raises(MismatchError):
        evaluate_curve(objective, curve, progress=False)
    with pytest.raises(MismatchError, match="does not fit"):
        replace(curve, loss=curve.loss[1:])
    frozen = [copy.deepcopy(net(seed)) for seed in (0, 1)]
    for model in frozen:
        model[0].requires_grad_(False)
    with pytest.raises(MismatchError, match=r"differ in 0\.weight"):
        trained(Objective(frozen[0], examples()), other=frozen[1])


@pytest.mark.gpu
def test_devices_find_the_same_curve() -> None:
    """1e-6: float64 on both; 20 steps let differences of 1e-16 grow."""
    here, there = (
        trained(Objective(net(0), examples(), device=device), other=net(1), epochs=10, points=3)
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(here.middle, there.middle.cpu(), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(here.loss, there.loss, rtol=1e-6)
