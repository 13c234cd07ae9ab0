"""What every method owes its user: exact restore, whole checkpoints, one set of groups, clear refusals."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError, OptimizerError
from landscape.optim import SAM, build_optimizer
from tests.optim.methods import METHODS, build, closure_of, flat, problem

EACH = pytest.mark.parametrize("method", METHODS)


@EACH
def test_learning_rate_zero_leaves_every_bit(method):
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = flat(model)
    pointers = [p.data_ptr() for p in model.parameters()]
    for _ in range(5):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    assert torch.equal(flat(model), before)
    assert [p.data_ptr() for p in model.parameters()] == pointers


@EACH
@pytest.mark.parametrize("spoiled", [1, 2])
def test_nan_in_a_pass_does_not_reach_the_restored_weights(method, spoiled):
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before, calls = flat(model), [0]

    def closure():
        calls[0] += 1
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets) * (float("nan") if calls[0] == spoiled else 1.0)
        loss.backward()
        return loss

    with torch.no_grad():  # what step() does before the base optimizer sees the NaN
        optimizer._gradient(closure, fresh=False)
    assert torch.equal(flat(model), before)
    if calls[0] < spoiled:
        pytest.skip("one pass a look")


@EACH
@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_copies_go_on_bit_for_bit(method, how):
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model)
    for _ in range(6):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    expected = flat(model)

    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model)
    for _ in range(3):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    if how == "deepcopy":
        other, fresh = copy.deepcopy((model, optimizer))
    else:
        other, fresh = pickle.loads(pickle.dumps((model, optimizer)))
    for _ in range(3):
        fresh.step(closure_of(other, fresh, inputs, targets))
    assert torch.equal(flat(other), expected)


def test_checkpoints_are_exchanged_between_methods():
    model, inputs, targets = problem()
    plain = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    plain.step(closure_of(model, plain, inputs, targets))
    sam = build("sam", model.parameters())
    sam.load_state_dict(plain.state_dict())
    assert sam.param_groups[0]["rho"] == 0.2
    assert "momentum_buffer" in sam.state[next(model.parameters())]
    amp = build("amp", model.parameters())
    amp.load_state_dict(sam.state_dict())
    assert amp.param_groups[0]["epsilon"] == 0.3
    plain.load_state_dict(amp.state_dict())
    amp.step(closure_of(model, amp, inputs, targets))


def test_checkpoints_of_other_implementations_lose_their_leftovers():
    model, inputs, targets = problem()
    optimizer = build("sam", model.parameters())
    state = optimizer.state_dict()
    state["state"] = {k: {"old_p": torch.zeros_like(p)} for k, p in enumerate(model.parameters())}
    optimizer.load_state_dict(state)
    assert all("old_p" not in entry for entry in optimizer.state.values())
    optimizer.step(closure_of(model, optimizer, inputs, targets))


@EACH
def test_schedulers_see_one_optimizer(method):
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
        for _ in range(5):
            optimizer.step(closure_of(model, optimizer, inputs, targets))
            scheduler.step()
    optimizer.load_state_dict(optimizer.state_dict())
    scheduler.step()
    assert optimizer.base_optimizer.param_groups[0]["lr"] == scheduler.get_last_lr()[0]


@EACH
def test_a_parameter_with_a_gradient_in_one_pass_only_is_restored(method):
    used, sometimes = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    holder = nn.ParameterList([used, sometimes])
    optimizer = build(method, holder.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    calls = [0]

    def closure():
        calls[0] += 1
        optimizer.zero_grad()
        loss = (used**2).sum() + ((sometimes**2).sum() if calls[0] % 2 else 0.0)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert torch.equal(sometimes.detach(), torch.ones(3))
    assert torch.equal(used.detach(), torch.ones(3))


def test_groups_can_be_added_later():
    model, inputs, targets = problem()
    optimizer = SAM(model[0].parameters(), torch.optim.SGD, rho=0.2, lr=0.1, momentum=0.9)
    optimizer.add_param_group({"params": list(model[3].parameters()), "rho": 0.05})
    assert len(optimizer.base_optimizer.param_groups) == 2
    assert [group["rho"] for group in optimizer.param_groups] == [0.2, 0.05]
    before = model[3].weight.detach().clone()
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    assert not torch.equal(model[3].weight, before)


def test_a_built_base_optimizer_is_taken():
    model, inputs, targets = problem()
    base = torch.optim.Adam(model.parameters(), lr=1e-2)
    optimizer = SAM(None, base, rho=0.1)
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    assert optimizer.state is base.state
    with pytest.raises(ConfigError, match="already built"):
        SAM(None, base, rho=0.1, lr=0.1)


def test_sparse_gradients_are_refused_and_nothing_is_lost():
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = SAM(table.parameters(), torch.optim.SGD, rho=0.1, lr=0.1)
    before = table.weight.detach().clone()

    def closure():
        optimizer.zero_grad()
        loss = table(torch.tensor([1])).sum()
        loss.backward()
        return loss

    with pytest.raises(OptimizerError, match="sparse"):
        optimizer.step(closure)
    assert torch.equal(table.weight.detach(), before)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "sam", "asam", "amp", "lpfsgd"])
def test_every_named_optimizer_lowers_the_loss(name):
    model, inputs, targets = problem()
    optimizer = build_optimizer(name, model, lr=0.05)
    closure = closure_of(model, optimizer, inputs, targets)
    first = float(closure().detach())
    for _ in range(30):
        optimizer.step(closure)
    assert float(closure().detach()) < 0.75 * first


def test_named_optimizers_refuse_what_they_do_not_read():
    model = nn.Linear(1, 1)
    with pytest.raises(ConfigError, match="Did you mean 'sam'"):
        build_optimizer("samm", model, lr=0.1)
    with pytest.raises(ConfigError, match="does not read 'rho'"):
        build_optimizer("sgd", model, lr=0.1, rho=0.05)
    with pytest.raises(ConfigError, match="needs a learning rate"):
        build_optimizer("sgd", model)


@pytest.mark.parametrize("name", ["lpfsgd", "nso", "smoothout", "entropysgd"])
def test_a_named_optimizer_draws_by_the_seed_it_is_given(name):
    def after(seed):
        model, inputs, targets = problem()
        optimizer = build_optimizer(name, model, lr=0.05, seed=seed)
        optimizer.step(closure_of(model, optimizer, inputs, targets))
        return flat(model)

    assert torch.equal(after(1), after(1)) and not torch.equal(after(1), after(2))


def test_a_named_optimizer_knows_how_many_steps_there_are():
    def after(total):
        model, inputs, targets = problem()
        optimizer = build_optimizer("lpfsgd", model, lr=0.05, std=0.1, inc=5, total_steps=total)
        for _ in range(3):
            optimizer.step(closure_of(model, optimizer, inputs, targets))
        return flat(model)

    assert not torch.equal(after(4), after(400))  # the noise grows over them


@pytest.mark.parametrize("weights", [(2.0, -1.0), (0.0, 0.0), (float("inf"), 1.0), (float("nan"), 1.0), (1.0,)])
def test_weights_of_micro_batches_that_mean_nothing_are_refused(weights):
    model, inputs, targets = problem()
    optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1)
    before = flat(model)
    with pytest.raises(OptimizerError, match="Weights"):
        optimizer.step([closure_of(model, optimizer, inputs, targets)] * 2, weights=weights)
    assert torch.equal(flat(model), before)


def test_the_backup_follows_weights_that_change_their_precision():
    model, inputs, targets = problem()
    optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1, track_cosine=True)
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    other = copy.deepcopy(model).double()
    fresh = SAM(other.parameters(), torch.optim.SGD, lr=0.1, track_cosine=True)
    model.double()  # the same parameters, with other values behind them
    optimizer.step(closure_of(model, optimizer, inputs.double(), targets))
    fresh.step(closure_of(other, fresh, inputs.double(), targets))
    assert torch.equal(optimizer.stats["cos"], fresh.stats["cos"])
    assert torch.equal(flat(model), flat(other))
