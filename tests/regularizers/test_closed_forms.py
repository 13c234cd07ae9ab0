"""Penalties and moves of linear models, whose values are known, and gradients by the weights."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.regularizers import (
    AdversarialInputs,
    AdversarialPenalty,
    GradientPenalty,
    InputUnits,
    LossGradient,
    Trades,
    VirtualAdversarial,
)
from landscape.regularizers.passes import Passes
from tests.regularizers.nets import PENALTIES, gradients, images, linear, smooth

EXACT = {"rtol": 1e-8, "atol": 1e-12}
UNITS = {"pixels": InputUnits(), "normalized": InputUnits(mean=(0.4, 0.5), std=(0.25, 0.5))}


def by_pixels(model: nn.Sequential, units: InputUnits) -> Tensor:
    """The weights of a linear model as a function of pixels, (K, C, H, W)."""
    weight = model[1].weight.reshape(-1, 2, 4, 4)
    return weight / torch.tensor(units.std, dtype=torch.float64).reshape(1, -1, 1, 1)


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("count", [1, 6, 100])  # all classes in one pass, or in several
def test_the_adversarial_penalty_of_a_linear_model(units, count):
    """epsilon^2 sum_k ||w_k||^2, with its gradient 2 epsilon^2 w."""
    model, (inputs, targets) = linear(), images(count)
    found = AdversarialPenalty(epsilon=0.7, weight=3.0, units=units)(model, inputs, targets)
    expected = 3.0 * 0.7**2 * by_pixels(model, units).square().sum()
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(gradients(found, model), gradients(expected, model), **EXACT)


@pytest.mark.parametrize("steps", [1, 2])
def test_short_steps_do_not_reach_the_border(steps):
    model, (inputs, targets) = linear(), images()
    found = AdversarialPenalty(epsilon=1.0, steps=steps, step_size=0.25)(model, inputs, targets)
    torch.testing.assert_close(found, (0.25 * steps) ** 2 * model[1].weight.square().sum(), **EXACT)


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_the_gradient_penalty_of_a_linear_model(units):
    model, (inputs, targets) = linear(), images()
    found = GradientPenalty(weight=0.3, units=units)(model, inputs, targets)
    expected = 0.3 * by_pixels(model, units).square().sum()
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(gradients(found, model), gradients(expected, model), **EXACT)


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_the_loss_gradient_of_a_linear_model(norm, units):
    """W^T (p - e_y), with the derivative of p."""
    model, (inputs, targets) = linear(), images()
    found = LossGradient(norm=norm, weight=0.3, units=units)(model, inputs, targets)
    wrong = model(inputs).softmax(1) - F.one_hot(targets, 3)
    gradient = torch.einsum("nk,kchw->nchw", wrong, by_pixels(model, units)).flatten(1)
    expected = 0.3 * (gradient.square() if norm == "l2" else gradient.abs()).sum(1).mean()
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(gradients(found, model), gradients(expected, model), **EXACT)


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_one_step_on_a_linear_model(units):
    """epsilon along W^T (p - e_y), or along its sign, in pixels."""
    model, (inputs, targets) = linear(), images()
    std = torch.tensor(units.std, dtype=torch.float64).reshape(1, -1, 1, 1)
    wrong = model(inputs).softmax(1) - F.one_hot(targets, 3)
    gradient = torch.einsum("nk,kchw->nchw", wrong, by_pixels(model, units)).detach()
    along = F.normalize(gradient.flatten(1), dim=1).reshape(inputs.shape)
    options = {"steps": 1, "step_size": 9.0, "random_start": False, "units": units}
    l2 = AdversarialInputs(epsilon=0.5, **options)(model, inputs, targets)
    torch.testing.assert_close((l2 - inputs) * std, 0.5 * along, **EXACT)
    linf = AdversarialInputs(norm="linf", epsilon=0.1, **options)(model, inputs, targets)
    torch.testing.assert_close((linf - inputs) * std, 0.1 * gradient.sign(), **EXACT)


def test_published_lengths_and_starts():
    assert (Trades().epsilon, Trades().steps, Trades().step_size, Trades().weight) == (0.031, 10, 0.007, 6.0)
    assert Trades(norm="l2", epsilon=0.5).step_size == 0.1
    l2, linf = AdversarialInputs(epsilon=2.0), AdversarialInputs(norm="linf", epsilon=2.0)
    assert (l2.step_size, l2.random_start, l2.steps) == (0.6, False, 5)
    assert (linf.step_size, linf.random_start, linf.steps) == (0.01, True, 5)
    assert AdversarialPenalty(epsilon=2.0, steps=4).step_size == 0.75


def test_another_loss_is_climbed():
    model, (inputs, targets) = linear(2), images()
    move = AdversarialInputs(epsilon=1.0, loss=lambda outputs, targets: outputs[:, 0])
    found = (move(model, inputs, targets) - inputs).flatten(1)
    torch.testing.assert_close(found, F.normalize(model[1].weight[:1], dim=1).expand(6, -1), **EXACT)


def test_moved_inputs_keep_within_ball_and_limits():
    model, (inputs, targets) = smooth(), images(20)
    units = InputUnits(mean=(0.4, 0.5), std=(0.25, 0.5), limits=(0.0, 1.0))
    mean, std = (torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1) for values in (units.mean, units.std))
    for norm, order in (("l2", 2), ("linf", torch.inf)):
        move = AdversarialInputs(norm=norm, epsilon=0.3, units=units, step_size=0.2, random_start=True)
        pixels = move(model, (inputs - mean) / std, targets) * std + mean
        assert pixels.min() >= -1e-15
        assert pixels.max() <= 1 + 1e-15
        sizes = torch.linalg.vector_norm((pixels - inputs).flatten(1), order, dim=1)
        assert sizes.max() <= 0.3 + 1e-12
        free = AdversarialInputs(norm=norm, epsilon=2.0, steps=20)(model, inputs, targets)
        assert free.min() < 0  # as published: no limits


def test_the_adversarial_penalty_of_a_network_is_a_lower_bound_that_steps_raise():
    """It is at least what random changes reach, and at most what the gradient's bound on the segment allows."""
    model, (inputs, targets) = smooth(), images(4)
    few, many = (AdversarialPenalty(epsilon=0.8, steps=n)(model, inputs, targets).item() for n in (1, 20))
    stream = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, 4, *inputs.shape[1:], generator=stream).double()
    noise = 0.8 * F.normalize(noise.flatten(2), dim=2).reshape(noise.shape)
    with torch.no_grad():
        change = model((inputs + noise).flatten(0, 1)).unflatten(0, (2000, 4)) - model(inputs)
    assert change.square().flatten(0, 1).max(0).values.sum() < few <= many * 1.01


class Quadratic(nn.Module):
    """``f_k(x) = a_k ||x||^2``: the longest gradient is that of the longest example."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum(1, keepdim=True) * self.scale


def test_the_example_that_counts_is_the_worst_one():
    points, targets = torch.tensor([[0.5, 0.0], [0.0, -2.0], [1.0, 1.0]]).double(), torch.zeros(3, dtype=torch.long)
    found = GradientPenalty(weight=1.0)(Quadratic(), points, targets)
    assert found.item() == pytest.approx((2 * 2.0) ** 2 * (1 + 4), rel=1e-12)
    rise = (2.0 + 0.5) ** 2 - 4.0  # of class 0, outward from (0, -2); class 1 rises inward
    fall = 4.0 - (2.0 - 0.5) ** 2
    found = AdversarialPenalty(epsilon=0.5)(Quadratic(), points, targets)
    assert found.item() == pytest.approx(rise**2 + 4 * fall**2, rel=1e-12)


def test_the_worst_example_is_that_in_pixels():
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().sum(1, keepdim=True) / 2  # with the gradient x

    points, targets = torch.tensor([[2.0, 0.0], [0.0, 1.9]]).double(), torch.zeros(2, dtype=torch.long)
    found = GradientPenalty(weight=1.0, units=InputUnits(std=(2.0, 1.0)))(Half(), points, targets)
    assert found.item() == pytest.approx(1.9**2, rel=1e-7)


def two_classes(model: nn.Sequential, inputs: Tensor, change: Tensor, *, fixed: bool) -> Tensor:
    """The mean of KL(p || q) at a change, from its definition; whether p is held fixed."""
    p, q = model(inputs).softmax(1), model(inputs + change).softmax(1)
    p = p.detach() if fixed else p
    return (p * (p.log() - q.log())).sum(1).mean()


def test_vat_of_a_linear_model_with_two_classes():
    """r is along w_1 - w_0, in the direction that the noise began with; p is held fixed."""
    model, (inputs, targets) = linear(2), images(1)
    found = VirtualAdversarial(epsilon=0.7, weight=3.0)(model, inputs, targets, step=0)
    along = F.normalize(model[1].weight[1] - model[1].weight[0], dim=0).detach().reshape(1, 2, 4, 4)
    ways = [3.0 * two_classes(model, inputs, sign * 0.7 * along, fixed=True) for sign in (1, -1)]
    expected = min(ways, key=lambda value: abs(value.item() - found.item()))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)  # xi / 2 times a third derivative: 1e-8 or less
    torch.testing.assert_close(gradients(found, model), gradients(expected, model), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_vat_to_second_order(units):
    """``epsilon^2 / 2`` times the largest eigenvalue of ``W^T (diag(p) - p p^T) W``, in pixels."""
    model, (inputs, targets) = linear(), images()
    found = VirtualAdversarial(epsilon=1e-4, steps=300, units=units)(model, inputs, targets)
    weight, p = by_pixels(model, units).flatten(1), model(inputs).softmax(1)
    curvature = weight.T @ (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]) @ weight
    largest = torch.linalg.eigvalsh(curvature)[:, -1]
    # the third order: epsilon ||w||, 1e-4; rounding of a divergence of 1e-9 among numbers of size 1: 1e-7
    assert found.item() == pytest.approx(0.5e-8 * largest.mean().item(), rel=1e-4)


def test_vat_keeps_a_direction_without_a_gradient():
    model = lambda x: torch.cat([(x.abs() - 1).relu(), torch.zeros_like(x)], dim=1)  # noqa: E731
    inputs, targets = torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, dtype=torch.long)
    found = VirtualAdversarial(epsilon=2.0)(model, inputs, targets)  # from (0, 0) to (1, 0)
    assert found.item() == pytest.approx(math.log(math.cosh(0.5)), rel=1e-12)


def test_vat_looks_beyond_the_limits_but_does_not_go_there():
    """Both pixels are 0; the divergence rises along (1, -1), of which only the part above 0 is allowed."""
    model = nn.Linear(2, 2, bias=False).double()
    model.weight.data.copy_(torch.tensor([[3.0, -3.0], [0.0, 0.0]]))
    inputs, targets = torch.zeros(20, 2, dtype=torch.float64), torch.zeros(20, dtype=torch.long)
    found = VirtualAdversarial(epsilon=0.5, units=InputUnits(limits=(0.0, 1.0)))(model, inputs, targets)
    assert found.item() == pytest.approx(math.log(math.cosh(3.0 * 0.5 / 2**0.5 / 2)), rel=1e-7)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.031), ("l2", 0.5)])
def test_trades_of_a_linear_model_with_two_classes(norm, epsilon):
    """The exact adversarial point is along w_1 - w_0, or its sign; p is not held fixed."""
    model, (inputs, targets) = linear(2), images(1)
    options = {"step_size": epsilon, "steps": 30} if norm == "l2" else {}  # each halves what is left of the noise
    found = Trades(norm=norm, epsilon=epsilon, **options)(model, inputs, targets)
    gap = (model[1].weight[1] - model[1].weight[0]).detach()
    along = (gap.sign() if norm == "linf" else F.normalize(gap, dim=0)).reshape(1, 2, 4, 4)
    ways = [6.0 * two_classes(model, inputs, sign * epsilon * along, fixed=False) for sign in (1, -1)]
    expected = min(ways, key=lambda value: abs(value.item() - found.item()))
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(gradients(found, model), gradients(expected, model), **EXACT)


def test_trades_of_normalized_inputs_are_those_of_pixels():
    model, (inputs, targets) = smooth(), images()
    mean, std = (torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1) for values in ((0.4, 0.5), (0.25, 0.5)))
    inside = lambda pixels: model((pixels - mean) / std)  # noqa: E731
    for limits in (None, (0.0, 1.0)):
        outside = InputUnits(mean=(0.4, 0.5), std=(0.25, 0.5), limits=limits)
        for norm in ("linf", "l2"):
            expected = Trades(norm=norm, epsilon=0.2, units=InputUnits(limits=limits))(inside, inputs, targets)
            found = Trades(norm=norm, epsilon=0.2, units=outside)(model, (inputs - mean) / std, targets)
            torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("name", ["adversarial", "gradient", "grad-l2", "grad-l1"])
def test_gradients_by_the_weights_are_those_of_the_value(name, monkeypatch):
    """Central differences in float64. The adversarial examples are held fixed: the penalty is a function of weights."""
    model, (inputs, targets) = smooth(), images()
    penalty = PENALTIES[name]()
    if name == "adversarial":
        fixed = penalty._farthest(Passes(model, inputs.device), inputs, None)
        monkeypatch.setattr(penalty, "_farthest", lambda *_: fixed)
    found = gradients(penalty(model, inputs, targets, step=0), model)
    for parameter, gradient in zip(model.parameters(), found, strict=True):
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).double()
        step, values = 1e-5, []
        for sign in (1, -2, 1):
            parameter.data.add_(sign * step * direction)
            values.append(penalty(model, inputs, targets, step=0).item())
        slope = (values[0] - values[1]) / (2 * step)  # error: step^2, and 1e-16 / step
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-6, abs=1e-9)
