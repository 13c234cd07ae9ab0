"""AMP against Algorithm 1 and the authors' per-tensor form, written out independently in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError
from landscape.optim import AMP
from landscape.seeding import generator, seeded


def problem():
    with seeded(5, "problem"):
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    stream = generator(6, "data")
    return model, torch.randn(9, 4, generator=stream).double(), torch.randint(3, (9,), generator=stream)


def gradient_at(model, inputs, targets, point):
    leaves = [p.clone().requires_grad_(True) for p in point]
    names = [name for name, _ in model.named_parameters()]
    outputs = torch.func.functional_call(model, dict(zip(names, leaves, strict=True)), (inputs,))
    return torch.autograd.grad(F.cross_entropy(outputs, targets), leaves)


def reference_run(model, inputs, targets, *, epsilon, inner_lr, inner_iter, ball, lr, steps):
    w = [p.detach().clone() for p in model.parameters()]
    for _ in range(steps):
        d = [torch.zeros_like(p) for p in w]
        for _ in range(inner_iter):
            g = gradient_at(model, inputs, targets, [p + q for p, q in zip(w, d, strict=True)])
            d = [q + inner_lr * h for q, h in zip(d, g, strict=True)]
            whole = sum((q**2).sum() for q in d) ** 0.5
            for k in range(len(d)):
                length = whole if ball == "global" else d[k].norm()
                if length > epsilon:
                    d[k] = d[k] * epsilon / length
        g = gradient_at(model, inputs, targets, [p + q for p, q in zip(w, d, strict=True)])
        w = [p - lr * h for p, h in zip(w, g, strict=True)]
    return torch.cat([p.reshape(-1) for p in w])


@pytest.mark.parametrize("ball", ["tensor", "global"])
@pytest.mark.parametrize("inner_iter", [1, 2, 3])
@pytest.mark.parametrize(("epsilon", "inner_lr"), [(0.1, 1.0), (0.5, 0.7), (50.0, 1.0)])
def test_amp_equals_the_formula(ball, inner_iter, epsilon, inner_lr):
    model, inputs, targets = problem()
    options = {"epsilon": epsilon, "inner_lr": inner_lr, "inner_iter": inner_iter, "ball": ball, "lr": 0.1}
    expected = reference_run(model, inputs, targets, steps=6, **options)
    optimizer = AMP(model.parameters(), **options)
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = F.cross_entropy(outputs, targets)
        loss.backward()
        return outputs, loss

    for _ in range(6):
        outputs, loss = optimizer.step(closure)
        assert not outputs.requires_grad
        assert not loss.requires_grad
    assert calls == 6 * (inner_iter + 1)
    # the code divides by (norm + 1e-12), the formula by the norm: 1e-11 relative after six steps
    torch.testing.assert_close(
        torch.cat([p.detach().reshape(-1) for p in model.parameters()]), expected, rtol=1e-9, atol=1e-11
    )


def test_the_two_balls_differ_by_the_root_of_the_number_of_tensors():
    radii = {}
    for ball in ("tensor", "global"):
        model, inputs, targets = problem()
        optimizer = AMP(model.parameters(), lr=0.0, epsilon=1e-3, inner_lr=1e6, ball=ball)

        def closure(model=model, optimizer=optimizer, inputs=inputs, targets=targets):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            return model(inputs), loss

        optimizer.step(closure)
        radii[ball] = optimizer.stats["eps_norm"].item()
        assert radii[ball] == pytest.approx(optimizer.radius(), rel=1e-9)
    assert radii["tensor"] == pytest.approx(2.0 * radii["global"], rel=1e-9)  # four tensors


def test_more_inner_steps_really_iterate():
    ends = []
    for inner_iter in (1, 2):
        model, inputs, targets = problem()
        optimizer = AMP(model.parameters(), lr=0.1, epsilon=5.0, inner_iter=inner_iter)

        def closure(model=model, optimizer=optimizer, inputs=inputs, targets=targets):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            return loss

        optimizer.step(closure)
        ends.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    assert not torch.allclose(ends[0], ends[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -1.0}, "epsilon is out of range"),
        ({"epsilon": 0.5, "inner_lr": -1.0}, "inner_lr is out of range"),
        ({"epsilon": 0.5, "inner_iter": 0}, "inner_iter is out of range"),
        ({"epsilon": 0.5, "ball": "cube"}, "ball is out of range"),
        ({"epsilon": 0.5, "momentun": 0.9}, "Did you mean 'momentum'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        AMP(nn.Linear(1, 1).parameters(), lr=0.1, **options)
