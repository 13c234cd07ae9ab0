"""What every method owes its user: exact restore, whole checkpoints, clean statistics, fixed addresses."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError, OptimizerError
from landscape.optim import AMP, LPFSGD, SAM, build_optimizer
from landscape.seeding import generator, seeded

METHODS = {
    "sam": lambda net, **o: SAM(net.parameters(), torch.optim.SGD, rho=0.2, lr=0.1, momentum=0.9, **o),
    "asam": lambda net, **o: SAM(net.parameters(), torch.optim.SGD, rho=0.5, adaptive=True, lr=0.1, momentum=0.9, **o),
    "amp": lambda net, **o: AMP(net.parameters(), lr=0.1, epsilon=0.3, inner_iter=2, momentum=0.9, **o),
    "lpfsgd": lambda net, **o: LPFSGD(net.parameters(), lr=0.1, std=0.05, M=2, momentum=0.9, **o),
}
EACH = pytest.mark.parametrize("method", METHODS)


def problem():
    with seeded(7, "problem"):
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    stream = generator(8, "data")
    return model, torch.randn(12, 4, generator=stream), torch.randint(3, (12,), generator=stream)


def closure_of(model, optimizer, inputs, targets, bomb_at=None):
    calls = [0]

    def closure():
        calls[0] += 1
        if calls[0] == bomb_at:
            raise KeyboardInterrupt
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    return closure


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@EACH
def test_learning_rate_zero_leaves_every_bit(method):
    model, inputs, targets = problem()
    optimizer = METHODS[method](model, model=model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = flat(model)
    pointers = [p.data_ptr() for p in model.parameters()]
    for _ in range(5):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    assert torch.equal(flat(model), before)
    assert [p.data_ptr() for p in model.parameters()] == pointers


@EACH
@pytest.mark.parametrize("bomb_at", [1, 2])
def test_an_interrupted_closure_leaves_weights_and_statistics(method, bomb_at):
    model, inputs, targets = problem()
    optimizer = METHODS[method](model, model=model)
    before = flat(model)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure_of(model, optimizer, inputs, targets, bomb_at=bomb_at))
    assert torch.equal(flat(model), before)


@EACH
def test_nan_in_the_perturbed_pass_does_not_reach_the_restored_weights(method):
    model, inputs, targets = problem()
    optimizer = METHODS[method](model, model=model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before, calls = flat(model), [0]

    def closure():
        calls[0] += 1
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets) * (float("nan") if calls[0] == 2 else 1.0)
        loss.backward()
        return loss

    with torch.no_grad():  # what step() does before the base optimizer sees the NaN
        optimizer._gradient(closure, fresh=False)
    assert torch.equal(flat(model), before)


@EACH
def test_running_statistics_are_updated_once_a_step(method):
    model, inputs, targets = problem()
    reference, _, _ = problem()
    optimizer = METHODS[method](model, model=model)
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    assert model[1].num_batches_tracked.item() == 1
    if method != "lpfsgd":  # its first pass is at noisy weights
        reference(inputs)
        assert torch.equal(model[1].running_mean, reference[1].running_mean)
        assert torch.equal(model[1].running_var, reference[1].running_var)


@EACH
@pytest.mark.parametrize("how", ["state_dict", "pickle", "deepcopy"])
def test_resume_is_bit_identical(method, how):
    model, inputs, targets = problem()
    optimizer = METHODS[method](model, model=model)
    for _ in range(6):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    expected = flat(model)

    model, inputs, targets = problem()
    optimizer = METHODS[method](model, model=model)
    for _ in range(3):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    if how == "state_dict":
        other, _, _ = problem()
        other.load_state_dict(model.state_dict())
        fresh = METHODS[method](other, model=other)
        fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    elif how == "deepcopy":
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
    sam = METHODS["sam"](model)
    sam.load_state_dict(plain.state_dict())
    assert sam.param_groups[0]["rho"] == 0.2
    assert "momentum_buffer" in sam.state[next(model.parameters())]
    amp = METHODS["amp"](model)
    amp.load_state_dict(sam.state_dict())
    assert amp.param_groups[0]["epsilon"] == 0.3
    plain.load_state_dict(amp.state_dict())
    amp.step(closure_of(model, amp, inputs, targets))


def test_checkpoints_of_other_implementations_lose_their_leftovers():
    model, inputs, targets = problem()
    optimizer = METHODS["sam"](model)
    state = optimizer.state_dict()
    state["state"] = {k: {"old_p": torch.zeros_like(p)} for k, p in enumerate(model.parameters())}
    optimizer.load_state_dict(state)
    assert all("old_p" not in entry for entry in optimizer.state.values())
    optimizer.step(closure_of(model, optimizer, inputs, targets))


@EACH
def test_schedulers_see_one_optimizer(method):
    model, inputs, targets = problem()
    optimizer = METHODS[method](model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
        for _ in range(5):
            optimizer.step(closure_of(model, optimizer, inputs, targets))
            scheduler.step()
    optimizer.load_state_dict(optimizer.state_dict())
    scheduler.step()
    assert optimizer.base_optimizer.param_groups[0]["lr"] == scheduler.get_last_lr()[0]


def test_two_call_style_satisfies_schedulers():
    model, inputs, targets = problem()
    optimizer = METHODS["sam"](model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    F.cross_entropy(model(inputs), targets).backward()
    optimizer.first_step(zero_grad=True)
    F.cross_entropy(model(inputs), targets).backward()
    optimizer.second_step(zero_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()


@EACH
def test_a_parameter_with_a_gradient_in_one_pass_only_is_restored(method):
    used, sometimes = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    holder = nn.ParameterList([used, sometimes])
    optimizer = METHODS[method](holder)
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


@EACH
def test_the_perturbed_view_comes_back_exactly(method):
    model, inputs, targets = problem()
    optimizer = METHODS[method](model, model=model)
    F.cross_entropy(model(inputs), targets).backward()
    before, gradients = flat(model), [p.grad.clone() for p in model.parameters()]
    if method == "lpfsgd" or method == "amp":
        optimizer.inner_iter = 1
    with pytest.raises(ZeroDivisionError), optimizer.perturbed():
        assert not torch.equal(flat(model), before)
        raise ZeroDivisionError
    assert torch.equal(flat(model), before)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


def test_micro_batches_give_each_its_own_perturbation():
    model, inputs, targets = problem()
    whole, halves = copy.deepcopy(model), copy.deepcopy(model)
    for net in (model, whole, halves):
        net[1].eval()
    one = METHODS["sam"](whole)
    one.step(closure_of(whole, one, inputs, targets))
    same = METHODS["sam"](model)
    same.step([closure_of(model, same, inputs, targets)])
    assert torch.equal(flat(whole), flat(model))

    two = METHODS["sam"](halves)
    parts = [closure_of(halves, two, inputs[:6], targets[:6]), closure_of(halves, two, inputs[6:], targets[6:])]
    two.step(parts)
    reference = copy.deepcopy(problem()[0])
    reference[1].eval()
    gradients = []
    for x, y in ((inputs[:6], targets[:6]), (inputs[6:], targets[6:])):
        net = copy.deepcopy(reference)
        by_hand = SAM(net.parameters(), torch.optim.SGD, rho=0.2, lr=1.0)
        start = flat(net)
        by_hand.step(closure_of(net, by_hand, x, y))
        gradients.append(start - flat(net))
    expected = flat(reference) - 0.1 * (gradients[0] + gradients[1]) / 2
    torch.testing.assert_close(flat(halves), expected, rtol=1e-5, atol=1e-6)  # float32, other order of sums


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


@pytest.mark.gpu
@EACH
def test_a_step_does_not_wait_for_the_gpu(method):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    model, inputs, targets = problem()
    model, inputs, targets = model.cuda(), inputs.cuda(), targets.cuda()
    optimizer = METHODS[method](model, model=model)
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    finally:
        torch.cuda.set_sync_debug_mode("default")
