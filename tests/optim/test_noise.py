"""SmoothOut's and NSO's noise by its moments, and that each draw has a name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from landscape.errors import ConfigError
from landscape.optim import LPFSGD, NSO, EntropySGD, SmoothOut
from landscape.seeding import seeded

COUNT = 2000


def draws(make, **options):
    """Noise of a (3, 50) matrix and a (50,) vector over many steps: [(COUNT, 3, 50), (COUNT, 50)], and the weights."""
    with seeded(1, "weights"):
        weights = [nn.Parameter(torch.randn(3, 50).double()), nn.Parameter(torch.randn(50).double())]
    clean = [w.detach().clone() for w in weights]
    optimizer = make(weights, lr=0.0, **options)
    seen = [[], []]

    def closure():
        optimizer.zero_grad()
        for kept, weight, before in zip(seen, weights, clean, strict=True):
            kept.append(weight.detach() - before)
        sum(w.sum() for w in weights).backward()
        return torch.zeros(())

    for _ in range(COUNT):
        optimizer.step(closure)
    assert all(torch.equal(w.detach(), before) for w, before in zip(weights, clean, strict=True))
    return [torch.stack(kept) for kept in seen], clean


def check_uniform(values: torch.Tensor, half: torch.Tensor) -> None:
    """Values (COUNT, ...) uniform in [-half, half]: their range, mean and variance."""
    assert (values.abs() <= half * (1 + 1e-9)).all()
    n = len(values)
    assert ((values.mean(0)).abs() < 5 * half / math.sqrt(3 * n)).all()
    # Var(u^2) = 4/45 half^4 for a uniform u
    assert ((values.square().mean(0) - half**2 / 3).abs() < 5 * half**2 * math.sqrt(4 / 45 / n)).all()


@pytest.mark.parametrize("adapt", ["none", "weight", "tensor"])
def test_smoothouts_noise_is_uniform_of_the_stated_width(adapt):
    (matrix, vector), clean = draws(SmoothOut, a=0.1, adapt=adapt)
    for noise, weight in ((matrix, clean[0]), (vector, clean[1])):
        half = {"none": torch.ones_like(weight), "weight": weight.abs(), "tensor": weight.norm().expand_as(weight)}
        check_uniform(noise, 0.1 * half[adapt])


def test_smoothouts_filter_noise_has_exactly_the_filters_norm():
    (matrix, vector), clean = draws(SmoothOut, a=0.1, adapt="filter")
    torch.testing.assert_close(matrix.norm(dim=2), (0.1 * clean[0].norm(dim=1)).expand(COUNT, 3))
    torch.testing.assert_close(vector.norm(dim=1), (0.1 * clean[1].norm()).expand(COUNT))
    assert (matrix.mean(0).abs() < 5 * matrix.std() / math.sqrt(COUNT)).all()


@pytest.mark.parametrize("scale", ["absolute", "filter"])
def test_nsos_noise_comes_in_opposite_pairs_of_the_stated_size(scale):
    (matrix, vector), clean = draws(NSO, std=0.2, scale=scale)
    assert len(matrix) == 2 * COUNT
    for noise, weight in ((matrix, clean[0]), (vector, clean[1])):
        torch.testing.assert_close(noise[0::2], -noise[1::2], rtol=0, atol=1e-14)  # w + u - w rounds
        norms = weight.norm(dim=-1, keepdim=True) if scale == "filter" else torch.ones(1, dtype=torch.float64)
        values = noise[0::2] / (0.2 * norms)
        n = values.numel()
        assert abs(values.std().item() - 1) < 5 / math.sqrt(2 * n)
        assert abs(values.mean().item()) < 5 / math.sqrt(n)


def test_nsos_gradient_is_exact_on_a_cubic_up_to_the_even_terms():
    """L = w^3 / 6: the mean of (w+u)^2/2 and (w-u)^2/2 is w^2/2 + u^2/2, the odd term is gone."""
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = NSO([weight], lr=1.0, std=0.3, pairs=2)
    moves = []

    def closure():
        optimizer.zero_grad()
        moves.append(weight.item() - 2.0)
        loss = (weight**3).sum() / 6
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = 2.0 - (2.0 + sum(move**2 for move in moves) / len(moves) / 2)
    assert weight.item() == pytest.approx(expected, rel=1e-12)
    assert moves[0] == pytest.approx(-moves[1], rel=1e-12) and moves[0] != pytest.approx(moves[2])


def test_nso_gives_each_micro_batch_whole_pairs():
    weight = nn.Parameter(torch.tensor([0.0], dtype=torch.float64))
    optimizer = NSO([weight], lr=1.0, std=1.0)
    calls = []

    def make(target):
        def closure():
            optimizer.zero_grad()
            calls.append(target)
            loss = ((weight - target) ** 2).sum() / 2
            loss.backward()
            return loss

        return closure

    optimizer.step([make(1.0), make(4.0)], weights=[2.0, 1.0])
    assert calls == [1.0, 1.0, 4.0, 4.0]
    assert weight.item() == pytest.approx(2.0, rel=1e-12)  # (2 * 1 + 1 * 4) / 3, the noise cancels on a quadratic


@pytest.mark.parametrize("make", [LPFSGD, NSO, SmoothOut])
def test_the_noise_of_one_weight_says_nothing_about_that_of_another(make):
    (matrix, vector), _ = draws(make)
    for row in matrix.unbind(1):
        products = (row / row.std()) * (vector / vector.std())
        assert products.mean().abs() < 5 / math.sqrt(products.numel())  # independent and of variance 1: at 5 sigma
        assert products.mean(0).abs().max() < 5 / math.sqrt(COUNT)


@pytest.mark.parametrize("make", [LPFSGD, NSO, SmoothOut, EntropySGD])
def test_the_noise_does_not_depend_on_how_weights_lie_in_memory(make):
    def end(layout):
        with seeded(1, "weights"):
            model = nn.Conv2d(3, 4, 3).double().to(memory_format=layout)
        optimizer = make(model.parameters(), lr=0.1)

        def closure():
            optimizer.zero_grad()
            loss = sum((w**2).sum() for w in model.parameters())
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
        return [w.detach() for w in model.parameters()]

    for first, last in zip(end(torch.contiguous_format), end(torch.channels_last), strict=True):
        torch.testing.assert_close(first, last, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("make", [LPFSGD, NSO, SmoothOut])
def test_a_draw_is_named_by_seed_and_step(make):
    def positions(seed, steps_before):
        weight = nn.Parameter(torch.ones(3, dtype=torch.float64))
        optimizer = make([weight], lr=0.0, seed=seed)
        optimizer.param_groups[0]["perturbation_step"] = steps_before
        seen = []

        def closure():
            optimizer.zero_grad()
            seen.append(tuple(weight.tolist()))
            weight.sum().backward()
            return torch.zeros(())

        for _ in range(3):
            optimizer.step(closure)
        return seen

    first = positions(0, 0)
    assert len(set(first)) == len(first)
    assert positions(0, 0) == first
    assert positions(0, 1)[: len(first) // 3] == first[len(first) // 3 : 2 * len(first) // 3]
    assert not set(positions(1, 0)) & set(first)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (SmoothOut, {"a": -1.0}, "a is out of range"),
        (SmoothOut, {"adapt": "row"}, "adapt is out of range"),
        (NSO, {"std": float("nan")}, "std is out of range"),
        (NSO, {"std": 1e39}, "std is out of range.*at most 1e\\+30"),
        (NSO, {"pairs": 0}, "pairs is out of range"),
        (NSO, {"scale": "row"}, "scale is out of range"),
        (LPFSGD, {"seed": 0.5}, "A seed is no integer"),
    ],
)
def test_bad_options_are_refused(make, options, message):
    with pytest.raises(ConfigError, match=message):
        make(nn.Linear(1, 1).parameters(), lr=0.1, **options)
