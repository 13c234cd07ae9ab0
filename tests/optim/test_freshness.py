"""Which gradients SAM takes for its first pass: those of a backward pass of now, and no leftovers however touched."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError, OptimizerError
from landscape.optim import AMP, LPFSGD, SAM
from tests.optim.methods import closure_of, flat, problem


def touch(what: str, model, optimizer, closure) -> None:
    """Something that happens between two steps and is no backward pass."""
    if what == "perturbed":
        with optimizer.perturbed():
            pass
    elif what == "load_state_dict":
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    elif what == "add_param_group":
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    elif what == "unfreeze":
        model[0].weight.requires_grad_(False)
        model[0].weight.requires_grad_(True)
    elif what == "clip":
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    elif what == "zero in place":
        for p in model.parameters():
            p.grad.zero_()
    elif what == "model.zero_grad in place":
        model.zero_grad(set_to_none=False)
    elif what == "a closure that failed":
        bomb = [0]

        def failing():
            closure()
            bomb[0] += 1
            if bomb[0] == 2:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            optimizer.step(failing)


@pytest.mark.parametrize(
    "what",
    [
        "perturbed",
        "load_state_dict",
        "add_param_group",
        "unfreeze",
        "clip",
        "zero in place",
        "model.zero_grad in place",
        "a closure that failed",
    ],
)
def test_what_is_no_backward_pass_is_no_first_pass(what):
    ends = []
    for touched in (False, True):
        model, inputs, targets = problem(norm=False)
        optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.5, lr=0.1)
        closure = closure_of(model, optimizer, inputs, targets)
        for _ in range(4):
            before = closure.calls[0]
            optimizer.step(closure)
            assert closure.calls[0] == before + 2
            if touched:
                touch(what, model, optimizer, closure)
        ends.append(flat(model))
    assert torch.equal(*ends)


@pytest.mark.parametrize("clear", ["own", "own in place", "model's", "model's in place"])
def test_a_backward_pass_is_a_first_pass_however_the_gradients_were_cleared(clear):
    model, inputs, targets = problem(norm=False)
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.5, lr=0.1)
    closure = closure_of(model, optimizer, inputs, targets)
    for _ in range(3):
        (optimizer if clear.startswith("own") else model).zero_grad(set_to_none="in place" not in clear)
        F.cross_entropy(model(inputs), targets).backward()
        before = closure.calls[0]
        optimizer.step(closure)
        assert closure.calls[0] == before + 1


def test_gradients_from_before_the_optimizer_are_no_first_pass():
    model, inputs, targets = problem(norm=False)
    F.cross_entropy(model(inputs), targets).backward()
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.5, lr=0.1)
    closure = closure_of(model, optimizer, inputs, targets)
    optimizer.step(closure)
    assert closure.calls == [2]


def test_a_checkpoint_between_the_two_steps_is_refused_and_loading_one_puts_the_weights_back():
    model, inputs, targets = problem(norm=False)
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.5, lr=0.1)
    saved = copy.deepcopy(optimizer.state_dict())
    F.cross_entropy(model(inputs), targets).backward()
    before = flat(model)
    optimizer.first_step()
    with pytest.raises(OptimizerError, match="would hold perturbed weights"):
        optimizer.state_dict()
    optimizer.load_state_dict(saved)
    assert torch.equal(flat(model), before)


@pytest.mark.parametrize("group", [{"rho": -1.0}, {"rho": float("nan")}, {"adaptive": "yes"}])
def test_a_group_with_bad_options_is_not_added(group):
    optimizer = SAM(nn.Linear(2, 1).parameters(), torch.optim.SGD, lr=0.1)
    with pytest.raises(ConfigError, match="out of range"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], **group})
    assert len(optimizer.param_groups) == len(optimizer.base_optimizer.param_groups) == 1


def test_complex_weights_and_lbfgs_are_refused():
    optimizer = SAM(nn.Linear(2, 1).parameters(), torch.optim.SGD, lr=0.1)
    with pytest.raises(ConfigError, match="not floating point"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2, dtype=torch.complex64))]})
    with pytest.raises(ConfigError, match="LBFGS"):
        SAM(nn.Linear(2, 1).parameters(), torch.optim.LBFGS, lr=0.1)


def test_numbers_of_numpy_are_numbers():
    model = nn.Linear(2, 1)
    assert SAM(model.parameters(), torch.optim.SGD, rho=np.float32(0.5), lr=0.1).param_groups[0]["rho"] == 0.5
    assert AMP(model.parameters(), lr=0.1, epsilon=np.float64(0.5), inner_iter=np.int64(2)).inner_iter == 2
    assert LPFSGD(model.parameters(), lr=0.1, M=np.int32(3), seed=np.int64(1)).M == 3
    with pytest.raises(ConfigError, match="M is out of range"):
        LPFSGD(model.parameters(), lr=0.1, M=True)


def test_sparse_gradients_are_refused_by_noise_too():
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = LPFSGD(table.parameters(), lr=0.1, std=0.1)
    before = table.weight.detach().clone()

    def closure():
        optimizer.zero_grad()
        loss = table(torch.tensor([1])).sum()
        loss.backward()
        return loss

    with pytest.raises(OptimizerError, match="sparse"):
        optimizer.step(closure)
    assert torch.equal(table.weight.detach(), before)
