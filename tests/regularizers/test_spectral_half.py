"""Spectral norms of weights in half precision: computed in single, of the rounded weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from landscape.regularizers import SpectralPenalty, SpectralProjection, spectral_norms
from landscape.seeding import generator, seeded

LABELS = torch.zeros(2, dtype=torch.long)
HALF = [torch.float16, torch.bfloat16]


def network(dtype: torch.dtype) -> nn.Sequential:
    with seeded(0, "tests", "half"):
        layers = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 3, stride=2), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(2 * 11 * 11, 3)).to(dtype)


def inputs(dtype: torch.dtype) -> torch.Tensor:
    return torch.rand(2, 2, 5, 5, generator=generator(0, "tests", "inputs")).to(dtype)


@pytest.mark.parametrize("operator", ["reshaped", "circular", "convolution"])
@pytest.mark.parametrize("dtype", HALF)
def test_norms_are_those_of_the_rounded_weights(dtype, operator):
    """In single precision: seven digits, of which sums over a layer lose one or two."""
    model = network(dtype)
    found = spectral_norms(model, operator=operator, inputs=inputs(dtype))
    exact = spectral_norms(copy.deepcopy(model).double(), operator=operator, inputs=inputs(dtype).double())
    assert all(norm.dtype == torch.float32 for norm in found.values())
    assert {name: norm.item() for name, norm in found.items()} == pytest.approx(
        {name: norm.item() for name, norm in exact.items()}, rel=1e-4
    )


@pytest.mark.parametrize("operator", ["reshaped", "convolution"])
@pytest.mark.parametrize("method", ["svd", "power"])
@pytest.mark.parametrize("dtype", HALF)
def test_the_penalty_and_its_gradient_are_those_of_the_rounded_weights(dtype, method, operator):
    model = network(dtype)
    precise = copy.deepcopy(model).double()
    for each in (model, precise):
        penalty = SpectralPenalty(weight=0.1, method=method, operator=operator, iterations=50)
        value = penalty(each, inputs(each[0].weight.dtype), LABELS)
        value.backward()
        if each is model:
            found = value
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(value.item(), rel=1e-4)
    for mine, theirs in zip(model.parameters(), precise.parameters(), strict=True):
        if theirs.grad is not None:  # the gradient is rounded as the weight is: 8 or 11 bits
            assert mine.grad.dtype == dtype
            torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("operator", ["reshaped", "convolution"])
@pytest.mark.parametrize("dtype", HALF)
def test_the_projection_keeps_rounded_weights_within_the_bound(dtype, operator):
    model = network(dtype)
    SpectralProjection(tau=0.2, operator=operator, input_shape=(2, 5, 5)).apply(model, epoch=1e9)
    kind = "circular" if operator == "convolution" else operator
    norms = spectral_norms(model, operator=kind, inputs=inputs(dtype))
    assert all(parameter.dtype == dtype for parameter in model.parameters())
    assert max(norm.item() for norm in norms.values()) <= 0.2 * (1 + 2**-8)  # a rounding of bfloat16
    within = copy.deepcopy(model)
    SpectralProjection(tau=100.0, operator=operator, input_shape=(2, 5, 5)).apply(within, epoch=0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), within.parameters(), strict=True))


def test_norms_are_not_rounded_under_autocast():
    model = network(torch.float32)
    exact = spectral_norms(model, operator="convolution", inputs=inputs(torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = spectral_norms(model, operator="convolution", inputs=inputs(torch.float32))
    assert all(torch.equal(found[name], norm) for name, norm in exact.items())
