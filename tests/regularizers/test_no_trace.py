"""What regularizers leave behind: nothing, also where a forward fails; and what they do with odd batches."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.errors import ConfigError, DataError, MismatchError, ModelError
from landscape.optim.backup import frozen_statistics
from landscape.regularizers import (
    AdversarialInputs,
    AdversarialPenalty,
    GradientPenalty,
    InputUnits,
    LossGradient,
    Trades,
    VirtualAdversarial,
)
from landscape.regularizers.passes import Passes, _Draws
from landscape.seeding import RNGState
from tests.regularizers.nets import EVERYONE, PENALTIES, gradients, images, linear, made, noisy, smooth


class Failing(nn.Module):
    """Fails in a pass, after it has drawn numbers and moved statistics."""

    def __init__(self, model: nn.Module, number: int) -> None:
        super().__init__()
        self.model, self.left = model, number

    def forward(self, inputs: Tensor) -> Tensor:
        outputs, self.left = self.model(inputs), self.left - 1
        if self.left < 0:
            raise KeyboardInterrupt
        return outputs


def watched(model: nn.Module, inputs: Tensor):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()]
    grads = [p.grad.clone() for p in model.parameters()]
    return state, flags, grads, inputs.clone(), RNGState.capture()


def assert_unchanged(before, model: nn.Module, inputs: Tensor) -> None:
    state, flags, grads, clean, draws = before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert flags == [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()]
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
    assert torch.equal(inputs, clean)
    assert inputs.grad is None
    assert not inputs.requires_grad
    assert not draws.drew_since()


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", EVERYONE)
def test_the_model_comes_back_as_it_was(name, mode):
    model, (inputs, targets) = noisy().train(mode), images()
    model[0].bias.requires_grad_(False)
    model[0].bias.grad = torch.ones(4).double()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = watched(model, inputs)
    counted = Failing(model, 1000)
    made(name)(counted, inputs, targets)
    assert_unchanged(before, model, inputs)
    for number in {0, 999 - counted.left}:
        with pytest.raises(KeyboardInterrupt):
            made(name)(Failing(model, number), inputs, targets)
        assert_unchanged(before, model, inputs)


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", PENALTIES)
def test_graphs_that_are_kept_can_be_used(name, mode):
    """Statistics put back must not spoil the graph of the caller's outputs, nor that of the penalty."""
    model, (inputs, targets) = noisy().train(mode), images()
    moving = inputs.clone().requires_grad_()
    outputs = model(moving)
    loss = F.cross_entropy(outputs, targets) + PENALTIES[name]()(model, moving, targets, outputs=outputs)
    assert all(g.isfinite().all() for g in gradients(loss, model))


def test_frozen_statistics_around_a_graph():
    model, (inputs, _) = noisy(), images()
    before = copy.deepcopy(model.state_dict())
    with frozen_statistics(model):
        moving = inputs.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(moving).square().sum(), moving, create_graph=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    gradient.square().sum().backward()


@pytest.mark.parametrize("name", PENALTIES)
def test_outputs_that_were_handed_over_change_nothing(name):
    model, (inputs, targets) = smooth(), images()
    penalty = PENALTIES[name]()
    expected = penalty(model, inputs, targets, step=4)
    by_weights = gradients(expected, model)
    moving = inputs.clone().requires_grad_()
    for given, outputs in ((moving, model(moving)), (inputs, model(inputs)), (moving, model(moving.detach()))):
        found = penalty(model, given, targets, outputs=outputs, step=4)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(gradients(found, model), by_weights, rtol=1e-10, atol=1e-15)


class Counted(nn.Module):
    """Counts examples."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.seen = model, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen += len(inputs)
        return self.model(inputs)


@pytest.mark.parametrize(
    ("name", "alone", "given"),
    [
        ("adversarial", 7 + 5 * 3 * 7 + 2 * 3, 5 * 3 * 7 + 2 * 3),  # one clean pass, 4 steps and the value, the chosen
        ("gradient", 7 + 3, 3),
        ("grad-l2", 7, 0),
        ("grad-l1", 7, 0),
        ("vat", 7 + 7 + 7, 7 + 7),  # the clean pass, one iteration, the value
        ("trades", 7 + 10 * 7 + 7, 10 * 7 + 7),
    ],
)
def test_examples_that_pass_through_the_model(name, alone, given):
    model, (inputs, targets) = Counted(smooth()), images(7)
    PENALTIES[name]()(model, inputs, targets)
    assert model.seen == alone
    moving = inputs.clone().requires_grad_()
    outputs, model.seen = model(moving), 0
    PENALTIES[name]()(model, moving, targets, outputs=outputs)
    assert model.seen == given


@pytest.mark.parametrize("kind", ["zero weights", "constant images", "one example", "one class", "points", "constant"])
@pytest.mark.parametrize("name", EVERYONE)
def test_odd_batches_are_finite(name, kind):
    model, (inputs, targets) = smooth(), images()
    if kind == "zero weights":
        for parameter in model.parameters():
            parameter.data.zero_()
    elif kind == "constant images":
        inputs.fill_(0.5)
    elif kind == "one example":
        inputs, targets = inputs[:1], targets[:1]
    elif kind == "one class":
        model, targets = linear(1), torch.zeros_like(targets)
    elif kind == "points":
        model, inputs = linear(), inputs.flatten(1)
    else:
        model[0].weight.data.zero_()  # whatever the inputs
    found = made(name)(model, inputs, targets)
    assert found.isfinite().all()
    if name in PENALTIES:
        assert found.shape == ()
        assert all(g.isfinite().all() for g in gradients(found, model))


@pytest.mark.parametrize("make", [AdversarialPenalty, AdversarialInputs, VirtualAdversarial, Trades])
def test_a_radius_of_zero_moves_nothing(make):
    """Also with dropout and batch statistics: both passes see the same masks, whatever outputs are handed over."""
    (inputs, targets), model = images(), noisy()
    found = make(epsilon=0.0)(model, inputs, targets)
    if found.ndim == 0:
        moving = inputs.clone().requires_grad_()
        again = make(epsilon=0.0)(model, moving, targets, outputs=model(moving))
        torch.testing.assert_close(again, found, rtol=0, atol=1e-15)
        assert all(g.isfinite().all() for g in gradients(again, model))
    torch.testing.assert_close(found, torch.zeros(()).double() if found.ndim == 0 else inputs, rtol=0, atol=1e-15)


def test_masks_are_the_same_before_and_after_a_move():
    (inputs, _), model = images(), noisy()
    passes, copies = Passes(model, inputs.device), torch.cat([inputs] * 3)
    before = model(inputs).detach()
    _, rise = AdversarialPenalty(epsilon=0.0)._climb(passes, copies, before, torch.zeros_like(copies), 0)
    assert not rise.any()


def test_nothing_depends_on_the_inputs():
    class Prior(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(3).double())

        def forward(self, inputs: Tensor) -> Tensor:
            return self.logits.expand(len(inputs), 3)

    inputs, targets = images()
    for name in PENALTIES:
        assert PENALTIES[name]()(Prior(), inputs, targets).item() == 0
    assert torch.equal(AdversarialInputs(epsilon=1.0)(Prior(), inputs, targets), inputs)


@pytest.mark.parametrize("name", EVERYONE)
def test_gradients_may_be_switched_off_outside(name):
    model, (inputs, targets) = smooth(), images()
    expected = made(name)(model, inputs, targets, step=3)
    with torch.no_grad():
        assert torch.equal(made(name)(model, inputs, targets, step=3), expected)
    with torch.inference_mode():
        assert torch.equal(made(name)(model, inputs.clone(), targets, step=3), expected)


def test_a_step_names_the_draws():
    model, (inputs, targets) = smooth(), images()
    move = AdversarialInputs(norm="linf", epsilon=0.1)
    first, again, second = (move(model, inputs, targets, step=step) for step in (5, 5, None))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(second, move(model, inputs, targets, step=6))
    other = AdversarialInputs(norm="linf", epsilon=0.1, seed=1)
    assert not torch.equal(first, other(model, inputs, targets, step=5))


@pytest.mark.parametrize("name", ["vat", "trades"])
def test_a_step_names_the_draws_of_penalties(name):
    model, (inputs, targets) = smooth(), images()
    penalty = PENALTIES[name](steps=1)
    first, again, second = (penalty(model, inputs, targets, step=step) for step in (5, 5, None))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(second, penalty(model, inputs, targets, step=6))


def test_functions_and_half_precision():
    weight = torch.randn(2, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    inputs, targets = images()
    model = lambda x: (x.flatten(1) @ weight.T).bfloat16()  # noqa: E731
    found = AdversarialPenalty(epsilon=1.0)(model, inputs.float(), targets % 2)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(weight.square().sum().item(), rel=0.1)  # eight bits


@pytest.mark.parametrize(
    ("make", "options", "pattern"),
    [
        (AdversarialPenalty, {"epsilon": -1.0}, "epsilon is out of range.*at least 0.*-1.0"),
        (AdversarialPenalty, {"epsilon": float("nan")}, "epsilon is out of range"),
        (AdversarialPenalty, {"steps": 0}, "steps is out of range.*whole number of at least 1"),
        (AdversarialPenalty, {"step_size": "long"}, "step_size is out of range"),
        (AdversarialPenalty, {"units": None}, "units has the wrong type.*InputUnits"),
        (GradientPenalty, {"weight": -0.1}, "weight is out of range"),
        (GradientPenalty, {"weight": True}, "weight is out of range"),
        (LossGradient, {"norm": "linf"}, "Unknown norm 'linf'.*l1, l2"),
        (VirtualAdversarial, {"epsilon": 1.0, "xi": 0.0}, "xi is out of range.*above 0"),
        (Trades, {"norm": "l1"}, "Unknown norm 'l1'.*l2, linf"),
        (AdversarialInputs, {"epsilon": 1.0, "norm": "l1"}, "Unknown norm 'l1'.*l2, linf"),
        (AdversarialInputs, {"epsilon": 1.0, "seed": 0.5}, "seed is out of range"),
    ],
)
def test_mistakes_are_told(make, options, pattern):
    with pytest.raises(ConfigError, match=pattern):
        make(**options)


@pytest.mark.parametrize("name", EVERYONE)
def test_batches_that_cannot_be_used(name):
    model, (inputs, targets) = linear(), images()
    with pytest.raises(DataError, match=r"cannot be moved.*B at least 1.*\(0, 2, 4, 4\)"):
        made(name)(model, inputs[:0], targets[:0])
    with pytest.raises(DataError, match=r"cannot be moved.*torch.uint8.*inputs.float"):
        made(name)(model, inputs.byte(), targets)
    with pytest.raises(ModelError, match=r"no logits.*\(6, number of classes\).*\(6,\)"):
        made(name)(lambda x: model(x)[:, 0], inputs, targets)


@pytest.mark.parametrize("make", [LossGradient, lambda: AdversarialInputs(epsilon=1.0)])
def test_targets_of_another_batch(make):
    with pytest.raises(MismatchError, match="do not go together"):
        make()(linear(), images()[0], torch.zeros(5, dtype=torch.long))


def test_units_are_made_once_and_go_with_every_precision():
    units = InputUnits(mean=(0.5,), std=(0.25,), limits=(0.0, 1.0))
    change = torch.full((1, 1, 2, 2), 0.25)
    with torch.inference_mode():
        units.by_pixels(change)
    moving = change.clone().requires_grad_()
    units.by_pixels(moving.square()).sum().backward()  # what was made there can be kept for derivatives here
    assert moving.grad is not None
    assert units.by_pixels(change.double()).dtype == torch.float64
    assert units.within(torch.ones(1, 1, 2, 2), change).tolist() == torch.full((1, 1, 2, 2), 0.25).tolist()
    assert units.within(torch.full((1, 1, 2, 2), 1.5), change).unique().item() == 0.125


def test_draws_begin_again():
    draws = _Draws(torch.device("cpu"))
    first = torch.rand(3)
    draws.put_back()
    assert torch.equal(first, torch.rand(3))
