"""GSAM, GNP, F-SAM, VaSSO, LookSAM and Entropy-SGD against their published formulas, written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError, OptimizerError
from landscape.optim import GNP, GSAM, NSO, SAM, EntropyAdam, EntropySGD, FriendlySAM, LookSAM, SmoothOut, VaSSO
from landscape.seeding import generator, seeded
from tests.optim.methods import closure_of, flat

RHO, LR, STEPS = 0.3, 0.1, 7


def problem():
    with seeded(3, "problem"):
        model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    stream = generator(4, "data")
    return model, torch.randn(11, 5, generator=stream).double(), torch.randint(3, (11,), generator=stream)


def gradient_at(point: torch.Tensor) -> torch.Tensor:
    """The gradient of the problem's loss at any flat weights, by autograd on plain tensors."""
    model, inputs, targets = problem()
    leaf = point.clone().requires_grad_(True)
    named, start = {}, 0
    for name, parameter in model.named_parameters():
        named[name] = leaf[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
    loss = F.cross_entropy(torch.func.functional_call(model, named, (inputs,)), targets)
    return torch.autograd.grad(loss, leaf)[0]


def unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / (vector.norm() + 1e-12)


def gsam(t, w, g, memory):
    h = gradient_at(w + RHO * unit(g))
    return h - 0.4 * (g - (g @ h) / (h @ h) * h)


def gnp(t, w, g, memory):
    return 0.2 * g + 0.8 * gradient_at(w + RHO * unit(g))


def fsam(t, w, g, memory):
    if t == 0:
        memory["m"], d = g, g
    else:
        d = g - 0.7 * memory["m"]
        memory["m"] = 0.6 * memory["m"] + 0.4 * g
    return gradient_at(w + RHO * unit(d))


def vasso(t, w, g, memory):
    memory["d"] = g if t == 0 else 0.6 * memory["d"] + 0.4 * g
    return gradient_at(w + RHO * unit(memory["d"]))


def looksam(t, w, g, memory):
    if t % 3 == 0:
        h = gradient_at(w + RHO * unit(g))
        memory["v"] = h - (g @ h) / (g @ g) * g
        return h
    return g + 0.7 * g.norm() / memory["v"].norm() * memory["v"]


FORMULAS = {
    "gsam": (gsam, lambda p, **o: GSAM(p, torch.optim.SGD, rho=RHO, alpha=0.4, **o)),
    "gnp": (gnp, lambda p, **o: GNP(p, torch.optim.SGD, rho=RHO, alpha=0.8, **o)),
    "fsam": (fsam, lambda p, **o: FriendlySAM(p, torch.optim.SGD, rho=RHO, sigma=0.7, lmbda=0.6, **o)),
    "vasso": (vasso, lambda p, **o: VaSSO(p, torch.optim.SGD, rho=RHO, theta=0.4, **o)),
    "looksam": (looksam, lambda p, **o: LookSAM(p, torch.optim.SGD, rho=RHO, k=3, alpha=0.7, **o)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_method_equals_its_formula(name):
    formula, make = FORMULAS[name]
    model, inputs, targets = problem()
    w, velocity, memory = flat(model), None, {}
    optimizer = make(model.parameters(), lr=LR, momentum=0.9, weight_decay=1e-2)
    for t in range(STEPS):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
        d = formula(t, w, gradient_at(w), memory) + 1e-2 * w
        velocity = d if velocity is None else 0.9 * velocity + d
        w = w - LR * velocity
        # float64 in another order of operations, over at most seven steps
        torch.testing.assert_close(flat(model), w, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_calling_styles_agree(name):
    ends = []
    for style in ("closure", "two calls", "backward first"):
        model, inputs, targets = problem()
        model = model.float()
        inputs = inputs.float()
        optimizer = FORMULAS[name][1](model.parameters(), lr=LR, momentum=0.9)
        closure = closure_of(model, optimizer, inputs, targets)
        for _ in range(STEPS):
            if style == "closure":
                optimizer.step(closure)
                continue
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            if style == "backward first":
                optimizer.step(closure)
            else:
                optimizer.first_step(zero_grad=True)
                F.cross_entropy(model(inputs), targets).backward()
                optimizer.second_step()
        ends.append(flat(model))
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


@pytest.mark.parametrize(
    ("special", "options"),
    [
        (GSAM, {"alpha": 0.0}),
        (GNP, {"alpha": 1.0}),
        (FriendlySAM, {"sigma": 0.0}),
        (VaSSO, {"theta": 1.0}),
        (LookSAM, {"k": 1}),
    ],
)
def test_each_relative_has_sam_as_a_special_case(special, options):
    ends = []
    for make, own in ((SAM, {}), (special, options)):
        model, inputs, targets = problem()
        optimizer = make(model.parameters(), torch.optim.SGD, rho=RHO, lr=LR, momentum=0.9, **own)
        for _ in range(5):
            optimizer.step(closure_of(model, optimizer, inputs, targets))
        ends.append(flat(model))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-13, atol=1e-15)  # (1 + 0) * h - 0 * g may round once


def entropy_reference(steps, *, L, gamma0, gamma1, gamma_max, inner_lr, momentum, decay, alpha, lr):
    """Chaudhari et al., Algorithm 1, without noise, on flat float64 weights."""
    w = flat(problem()[0])
    scopes = []
    for t in range(steps):
        gamma = min(gamma0 * (1 + gamma1) ** t, gamma_max)
        scopes.append(gamma)
        x, mu, v = w.clone(), w.clone(), torch.zeros_like(w)
        for _ in range(L):
            g = gradient_at(x) + decay * x
            v = momentum * v + g
            g = g + momentum * v if momentum else g
            x = x - inner_lr * (g - gamma * (w - x))
            mu = alpha * mu + (1 - alpha) * x
        w = w - lr * gamma * (w - mu)
    return w, scopes


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("L", [1, 2, 5])
def test_entropy_sgd_equals_its_formula(L, momentum):
    settings = {"L": L, "gamma0": 0.5, "gamma1": 0.3, "gamma_max": 1.0, "inner_lr": 0.2, "alpha": 0.75, "lr": 0.8}
    expected, scopes = entropy_reference(5, momentum=momentum, decay=1e-3, **settings)
    model, inputs, targets = problem()
    optimizer = EntropySGD(model.parameters(), inner_momentum=momentum, inner_decay=1e-3, noise=0.0, **settings)
    for gamma in scopes:
        assert optimizer.scope() == pytest.approx(gamma, rel=1e-12)
        closure = closure_of(model, optimizer, inputs, targets)
        optimizer.step(closure)
        assert closure.calls == [L]
    assert scopes[-1] == 1.0  # the cap was reached
    torch.testing.assert_close(flat(model), expected, rtol=1e-10, atol=1e-12)


def test_entropy_sgds_noise_has_the_stated_size():
    weight = nn.Parameter(torch.zeros(4000, dtype=torch.float64))
    noise, inner_lr = 0.3, 0.1
    optimizer = EntropySGD([weight], lr=0.0, L=2, noise=noise, inner_lr=inner_lr, inner_decay=0.0)
    seen = []

    def closure():
        optimizer.zero_grad()
        seen.append(weight.detach().clone())
        (0.0 * weight).sum().backward()
        return torch.zeros(())

    optimizer.step(closure)
    sigma = inner_lr * noise / math.sqrt(inner_lr / 2)
    assert abs(seen[1].std().item() - sigma) < 4.5 * sigma / math.sqrt(2 * 4000)  # of a Gaussian sample of 4000
    assert abs(seen[1].mean().item()) < 4.5 * sigma / math.sqrt(4000)


def test_entropy_adams_scope_grows():
    model, inputs, targets = problem()
    optimizer = EntropyAdam(model.parameters(), lr=1e-2, L=2, gamma1=0.5, gamma_max=math.inf)
    scopes = []
    for _ in range(3):
        scopes.append(optimizer.scope())
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    assert scopes == pytest.approx([0.5, 0.75, 1.125], rel=1e-12)
    assert isinstance(optimizer.base_optimizer, torch.optim.Adam)


def test_looksam_remembers_one_direction_only():
    model, inputs, targets = problem()
    optimizer = LookSAM(model.parameters(), torch.optim.SGD, lr=LR)
    closure = closure_of(model, optimizer, inputs, targets)
    with pytest.raises(OptimizerError, match="takes one closure"):
        optimizer.step([closure, closure])


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (GSAM, {"alpha": -1.0}, "alpha is out of range"),
        (GSAM, {"alpha": 1e300}, "alpha is out of range"),
        (GNP, {"alpha": 1.5}, "alpha is out of range"),
        (FriendlySAM, {"lmbda": 1.0}, "lmbda is out of range"),
        (FriendlySAM, {"sigma": -1.0}, "sigma is out of range"),
        (VaSSO, {"theta": 0.0}, "theta is out of range"),
        (LookSAM, {"k": 0}, "k is out of range"),
        (LookSAM, {"rho": -1.0}, "rho is out of range"),
        (SAM, {"norm_over": "some"}, "norm_over is out of range"),
        (SAM, {"sync": "never"}, "sync is out of range"),
        (SAM, {"schedule": 3}, "schedule is no function"),
        (SAM, {"buffers": "none"}, "buffers is out of range"),
    ],
)
def test_bad_options_are_refused(make, options, message):
    with pytest.raises(ConfigError, match=message):
        make(nn.Linear(1, 1).parameters(), torch.optim.SGD, lr=0.1, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"L": 0}, "L is out of range"),
        ({"gamma0": 3.0}, "gamma_max is out of range"),
        ({"alpha": 1.0}, "alpha is out of range"),
        ({"noise": -1.0}, "noise is out of range"),
        ({"sync": "replica"}, "averaged gradients"),
    ],
)
def test_bad_options_of_entropy_sgd_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        EntropySGD(nn.Linear(1, 1).parameters(), lr=0.1, **options)


def test_a_first_gradient_that_is_missing_counts_as_zero_not_as_the_last_steps():
    a, b = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))
    optimizer = GNP([a, b], torch.optim.SGD, rho=0.1, alpha=0.5, lr=0.0)
    calls = [0]

    def closure():
        optimizer.zero_grad()
        calls[0] += 1
        loss = (a**2).sum() + ((3.0 * b).sum() if calls[0] != 3 else 0.0)  # the third pass is the second step's first
        loss.backward()
        return loss

    for expected in (3.0, 1.5):
        optimizer.step(closure)
        assert b.grad.item() == expected


@pytest.mark.parametrize(
    ("make", "option", "nearest"),
    [
        (GSAM, {"norm_ovr": "all"}, "norm_over"),
        (LookSAM, {"adaptiv": True}, "adaptive"),
        (FriendlySAM, {"decay": 0.5}, ""),
        (NSO, {"sed": 1}, "seed"),
        (NSO, {"draws": 3}, ""),
        (SmoothOut, {"modle": None}, "model"),
    ],
)
def test_options_of_the_classes_below_are_known_and_their_inner_ones_are_not(make, option, nearest):
    weight = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ConfigError, match=f"Did you mean '{nearest}" if nearest else "Unknown option"):
        make([weight], base_optimizer=torch.optim.SGD, lr=0.1, **option)
