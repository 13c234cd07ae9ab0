"""The two-call style, and a look at the perturbed weights that leaves nothing behind."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import OptimizerError
from landscape.optim import LPFSGD, SAM, EntropySGD
from tests.optim.methods import METHODS, buffers, build, closure_of, flat, problem

EACH = pytest.mark.parametrize("method", METHODS)


def test_two_call_style_satisfies_schedulers():
    model, inputs, targets = problem()
    optimizer = build("sam", model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    F.cross_entropy(model(inputs), targets).backward()
    optimizer.first_step(zero_grad=True)
    F.cross_entropy(model(inputs), targets).backward()
    optimizer.second_step(zero_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()


def test_first_step_without_zero_grad_leaves_the_gradients():
    """The next backward pass then adds to them, as it does in the widespread implementation."""
    model, inputs, targets = problem(norm=False)
    optimizer = build("sam", model.parameters())
    F.cross_entropy(model(inputs), targets).backward()
    before = [p.grad.clone() for p in model.parameters()]
    optimizer.first_step()
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))
    optimizer.zero_grad()
    F.cross_entropy(model(inputs), targets).backward()
    optimizer.second_step()


def test_stale_gradients_are_no_first_pass():
    model, inputs, targets = problem(norm=False)
    optimizer = build("sam", model.parameters())
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    with pytest.raises(OptimizerError, match="those of the last step"):
        optimizer.first_step()


def test_a_failing_perturbation_leaves_the_weights():
    table = nn.Embedding(5, 2, sparse=True)
    dense = nn.Linear(2, 2)
    optimizer = SAM([{"params": dense.parameters()}, {"params": table.parameters()}], torch.optim.SGD, lr=0.1)
    before = flat(dense)
    dense(table(torch.tensor([1]))).sum().backward()
    with pytest.raises(OptimizerError, match="sparse"):
        optimizer.first_step()
    assert torch.equal(flat(dense), before)
    with pytest.raises(OptimizerError, match="without first_step"):
        optimizer.second_step()


def test_perturbed_walks_through_all_passes_with_a_closure():
    model, inputs, targets = problem()
    optimizer = build("amp", model.parameters(), model=model, inner_iter=3, lr=0.0)
    where = []
    counted = closure_of(model, optimizer, inputs, targets)

    def closure():
        where.append(flat(model))
        return counted()

    optimizer.step(closure)
    before, gradients, statistics = flat(model), [p.grad for p in model.parameters()], buffers(model)
    with optimizer.perturbed(counted):
        assert torch.equal(flat(model), where[-1])
    assert torch.equal(flat(model), before)
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers(model), statistics, strict=True))
    with pytest.raises(OptimizerError, match="perturbs 3 times"), optimizer.perturbed():
        pass
    assert torch.equal(flat(model), before)


@pytest.mark.parametrize("method", ["fsam", "vasso"])
def test_looking_at_the_perturbation_changes_no_memory(method):
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model)
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    before = copy.deepcopy(optimizer.state_dict()["method"])
    F.cross_entropy(model(inputs), targets).backward()
    with optimizer.perturbed():
        pass
    after = optimizer.state_dict()["method"]
    assert all(torch.equal(after[k]["mean"], before[k]["mean"]) for k in before)


def test_looking_at_noise_shows_the_next_steps_own():
    weight = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = LPFSGD([weight], lr=0.0, std=0.1)
    seen = []

    def closure():
        optimizer.zero_grad()
        seen.append(weight.tolist())
        weight.sum().backward()
        return torch.zeros(())

    with optimizer.perturbed():
        shown = weight.tolist()
    optimizer.step(closure)
    assert seen == [shown]


def test_methods_with_more_passes_refuse_two_calls():
    model, inputs, targets = problem(norm=False)
    optimizer = EntropySGD(model.parameters(), lr=0.1, L=3)
    F.cross_entropy(model(inputs), targets).backward()
    before = flat(model)
    with pytest.raises(OptimizerError, match="Use step"):
        optimizer.first_step()
    assert torch.equal(flat(model), before)


def test_two_calls_take_the_draw_of_a_method_that_draws_once():
    model, inputs, targets = problem(norm=False)
    optimizer = build("lpf", model.parameters(), M=1)
    before = flat(model)
    optimizer.first_step()
    moved = flat(model) - before
    assert moved.norm() > 0
    optimizer.zero_grad()
    F.cross_entropy(model(inputs), targets).backward()
    gradient = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    optimizer.second_step()
    torch.testing.assert_close(flat(model), before - 0.1 * gradient)  # momentum's first step is the gradient


@EACH
def test_the_perturbed_view_comes_back_exactly(method):
    model, inputs, targets = problem()
    single = {"amp": {"inner_iter": 1}, "entropy": {"L": 2}}.get(method, {})
    optimizer = build(method, model.parameters(), model=model, **single)
    F.cross_entropy(model(inputs), targets).backward()
    before, gradients = flat(model), [p.grad.clone() for p in model.parameters()]
    with pytest.raises(ZeroDivisionError), optimizer.perturbed():
        assert not torch.equal(flat(model), before)
        raise ZeroDivisionError
    assert torch.equal(flat(model), before)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


@pytest.mark.parametrize("fresh", [False, True])
def test_a_look_makes_no_old_gradient_new_and_no_new_one_old(fresh):
    model, inputs, targets = problem()
    optimizer = build("sam", model.parameters(), model=model)
    closure = closure_of(model, optimizer, inputs, targets)
    optimizer.step(closure)  # leaves gradients behind
    if fresh:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
    with optimizer.perturbed(closure_of(model, optimizer, inputs, targets)):
        pass
    before = closure.calls[0]
    optimizer.step(closure)
    assert closure.calls[0] - before == (1 if fresh else 2)


@pytest.mark.parametrize(("method", "options"), [("nso", {}), ("nso", {"pairs": 3}), ("lpf", {"M": 4})])
def test_methods_that_look_several_times_need_a_closure(method, options):
    model, inputs, targets = problem(norm=False)
    optimizer = build(method, model.parameters(), **options)
    F.cross_entropy(model(inputs), targets).backward()
    before = flat(model)
    with pytest.raises(OptimizerError, match=r"times a step.*step\(closure\)"):
        optimizer.first_step(zero_grad=True)
    assert torch.equal(flat(model), before)
    with optimizer.perturbed():
        assert not torch.equal(flat(model), before)


@EACH
def test_a_weight_that_is_frozen_meanwhile_stays(method):
    model, inputs, targets = problem(norm=False)
    optimizer = build(method, model.parameters(), model=model)
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()

    def closure():  # relies on the step to clear the gradients
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    assert torch.equal(model[0].weight, before)
