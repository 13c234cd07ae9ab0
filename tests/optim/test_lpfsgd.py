"""LPF-SGD's noise by its moments, its schedule by the formula, its averages by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from landscape.errors import ConfigError
from landscape.optim import LPFSGD
from landscape.seeding import seeded


def test_noise_per_filter_has_the_stated_moments():
    with seeded(1, "model"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 5)).double()
    clean = [p.detach().clone() for p in model.parameters()]
    optimizer = LPFSGD(model.parameters(), lr=0.0, std=0.1)
    draws = [[] for _ in clean]

    def closure():
        optimizer.zero_grad()
        for k, p in enumerate(model.parameters()):
            draws[k].append(p.detach() - clean[k])
        loss = sum((p**2).sum() for p in model.parameters())
        loss.backward()
        return loss

    count = 4000
    for _ in range(count):
        optimizer.step(closure)
    for p, before, seen in zip(model.parameters(), clean, draws, strict=True):
        assert torch.equal(p.detach(), before)
        noise = torch.stack(seen)
        rows = noise.flatten(2) if before.ndim > 1 else noise.unsqueeze(1)
        norms = before.flatten(1).norm(dim=1) if before.ndim > 1 else before.norm().view(1)
        n = count * rows.shape[2]
        # the standard deviation of a Gaussian sample of n: sigma / sqrt(2 n); of its mean: sigma / sqrt(n)
        for row in range(rows.shape[1]):
            sigma = 0.1 * norms[row].item()
            values = rows[:, row].reshape(-1)
            assert abs(values.std().item() - sigma) < 4.5 * sigma / math.sqrt(2 * n)
            assert abs(values.mean().item()) < 4.5 * sigma / math.sqrt(n)


def test_noise_grows_by_a_cosine_to_inc():
    weight = nn.Parameter(torch.ones(2))
    optimizer = LPFSGD([weight], lr=0.0, std=1e-3, inc=15, total_steps=10)

    def closure():
        optimizer.zero_grad()
        loss = weight.sum()
        loss.backward()
        return loss

    for t in range(12):
        expected = 1 + 14 * (1 - math.cos(math.pi * min(t / 10, 1))) / 2
        assert optimizer.noise_scale() == pytest.approx(expected, rel=1e-12)
        optimizer.step(closure)


def test_micro_batches_are_averaged_by_their_weights():
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = LPFSGD([weight], lr=1.0, std=0.3)
    seen = []

    def make(factor):
        def closure():
            optimizer.zero_grad()
            seen.append((factor, weight.item()))
            loss = factor * (weight**2).sum() / 2
            loss.backward()
            return loss

        return closure

    optimizer.step([make(1.0), make(10.0)], weights=[3.0, 1.0])
    expected = 2.0 - sum(share * factor * w for share, (factor, w) in zip((0.75, 0.25), seen, strict=True))
    assert weight.item() == pytest.approx(expected, rel=1e-12)
    assert len({w for _, w in seen} | {2.0}) == 3  # two draws, both away from the clean weight


def test_several_draws_of_one_closure_are_averaged():
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = LPFSGD([weight], lr=1.0, std=0.3, M=4)
    seen = []

    def closure():
        optimizer.zero_grad()
        seen.append(weight.item())
        loss = (weight**2).sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(set(seen)) == 4
    assert weight.item() == pytest.approx(2.0 - sum(seen) / 4, rel=1e-12)


def test_frozen_weights_are_not_perturbed():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    optimizer = LPFSGD(model.parameters(), lr=0.1, std=1.0)

    def closure():
        optimizer.zero_grad()
        assert torch.equal(model[0].weight, before)
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.equal(model[0].weight, before)


def test_bad_options_are_refused():
    with pytest.raises(ConfigError, match="std is out of range"):
        LPFSGD(nn.Linear(1, 1).parameters(), lr=0.1, std=-1.0)
    with pytest.raises(ConfigError, match="M is out of range"):
        LPFSGD(nn.Linear(1, 1).parameters(), lr=0.1, M=0)
    with pytest.raises(ConfigError, match="inc needs total_steps"):
        LPFSGD(nn.Linear(1, 1).parameters(), lr=0.1, inc=15)
