"""SAM against the published formula, written out independently in float64, and its three calling styles."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError, OptimizerError
from landscape.optim import SAM
from landscape.seeding import generator, seeded


def problem(dtype: torch.dtype = torch.float64) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    with seeded(3, "problem"):
        model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype)
    stream = generator(4, "data")
    return model, torch.randn(11, 5, generator=stream).to(dtype), torch.randint(3, (11,), generator=stream)


def closure_of(model, optimizer, inputs, targets):
    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    return closure


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def reference_run(model, inputs, targets, *, rho, form, lr, momentum, decay, steps):
    """SAM by the formula, on plain tensors: nothing of the package is used."""
    w = [p.detach().clone() for p in model.parameters()]
    velocity = [torch.zeros_like(p) for p in w]

    def gradient(point):
        leaves = [p.clone().requires_grad_(True) for p in point]
        names = [name for name, _ in model.named_parameters()]
        outputs = torch.func.functional_call(model, dict(zip(names, leaves, strict=True)), (inputs,))
        return torch.autograd.grad(F.cross_entropy(outputs, targets), leaves)

    for step in range(steps):
        g = gradient(w)
        if form is False:
            t = [torch.ones_like(p) for p in w]
        elif form is True:
            t = [p.abs() for p in w]
        else:
            t = [p.abs() + 0.01 if p.ndim >= 2 else torch.ones_like(p) for p in w]
        norm = sum(((a * b) ** 2).sum() for a, b in zip(t, g, strict=True)) ** 0.5
        away = [p + rho * a**2 * b / (norm + 1e-12) for p, a, b in zip(w, t, g, strict=True)]
        g = gradient(away)
        for k in range(len(w)):
            d = g[k] + decay * w[k]
            velocity[k] = d if step == 0 else momentum * velocity[k] + d
            w[k] = w[k] - lr * velocity[k]
    return torch.cat([p.reshape(-1) for p in w])


@pytest.mark.parametrize("form", [False, True, "official"])
def test_sam_equals_the_formula(form):
    model, inputs, targets = problem()
    expected = reference_run(model, inputs, targets, rho=0.3, form=form, lr=0.1, momentum=0.9, decay=1e-2, steps=10)
    optimizer = SAM(
        model.parameters(), torch.optim.SGD, rho=0.3, adaptive=form, lr=0.1, momentum=0.9, weight_decay=1e-2
    )
    for _ in range(10):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    # ten steps of float64 arithmetic in another order of operations
    torch.testing.assert_close(weights(model), expected, rtol=1e-11, atol=1e-13)


def train_in_style(style: str) -> torch.Tensor:
    model, inputs, targets = problem(torch.float32)
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.1, momentum=0.9)
    closure = closure_of(model, optimizer, inputs, targets)
    for _ in range(20):
        if style == "two calls":
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.first_step(zero_grad=True)
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.second_step(zero_grad=True)
        elif style == "backward first":
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step(closure)
            optimizer.zero_grad()
        else:
            optimizer.step(closure)
    return weights(model)


def test_three_calling_styles_are_bit_equal():
    first = train_in_style("closure")
    assert torch.equal(first, train_in_style("two calls"))
    assert torch.equal(first, train_in_style("backward first"))


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_left_behind_are_not_taken_for_fresh_ones(set_to_none):
    model, inputs, targets = problem()
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.1)
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert calls == 6
    optimizer.zero_grad(set_to_none=set_to_none)
    optimizer.step(closure)
    assert calls == 8


def test_per_group_radius_and_a_group_that_stays():
    a, b = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))
    optimizer = SAM([{"params": [a], "rho": 0.0}, {"params": [b]}], torch.optim.SGD, rho=1.0, lr=0.1)
    seen = []

    def closure():
        optimizer.zero_grad()
        seen.append((a.item(), b.item()))
        loss = (a**2 + b**2).sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert seen[1][0] == 1.0
    assert seen[1][1] == pytest.approx(1.0 + 0.5**0.5)  # the norm is over both groups: b's share is 1/sqrt(2)


def test_zero_radius_is_the_base_optimizer_in_one_call():
    model, inputs, targets = problem()
    plain, _, _ = problem()
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.0, lr=0.1, momentum=0.9)
    base = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    calls = 0
    inner = closure_of(model, optimizer, inputs, targets)

    def counted():
        nonlocal calls
        calls += 1
        return inner()

    for _ in range(4):
        optimizer.step(counted)
        base.step(closure_of(plain, base, inputs, targets))
    assert calls == 4
    assert torch.equal(weights(model), weights(plain))


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf")])
def test_a_bad_radius_is_refused(rho):
    with pytest.raises(ConfigError, match=r"rho is out of range.*rho >= 0"):
        SAM(nn.Linear(1, 1).parameters(), torch.optim.SGD, rho=rho, lr=0.1)


def test_wrong_use_says_what_to_do():
    model = nn.Linear(2, 1)
    with pytest.raises(ConfigError, match="Did you mean 'momentum'"):
        SAM(model.parameters(), torch.optim.SGD, lr=0.1, momentun=0.9)
    with pytest.raises(ConfigError, match="'rho'"):
        SAM(model.parameters(), torch.optim.Adadelta, rho=0.05)
    with pytest.raises(ConfigError, match="no parameters"):
        SAM([], torch.optim.SGD, lr=0.1)
    optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1)
    with pytest.raises(OptimizerError, match="needs a closure"):
        optimizer.step()
    with pytest.raises(OptimizerError, match="no gradients"):
        optimizer.first_step()
    with pytest.raises(OptimizerError, match="without first_step"):
        optimizer.second_step()
    with pytest.raises(OptimizerError, match="left no gradient"):
        optimizer.step(lambda: torch.zeros(()))
    model(torch.ones(1, 2)).sum().backward()
    optimizer.first_step()
    with pytest.raises(OptimizerError, match="twice"):
        optimizer.first_step()


def test_statistics_are_the_norms():
    model, inputs, targets = problem()
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.1)
    F.cross_entropy(model(inputs), targets).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in model.parameters()]).norm()
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    assert optimizer.stats["grad_norm"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert optimizer.stats["eps_norm"].item() == pytest.approx(0.3, rel=1e-10)
    assert optimizer.stats["loss_perturbed"] > 0
