"""Spectral norms of convolutions in one to three dimensions and of transposed ones, against dense matrices."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from landscape.errors import ModelError
from landscape.regularizers import SpectralPenalty, SpectralProjection, spectral_norms
from landscape.seeding import generator, seeded

LABELS = torch.zeros(2, dtype=torch.long)
LAYERS: dict[str, tuple[type[nn.Module], dict[str, Any], tuple[int, ...]]] = {
    "3d": (nn.Conv3d, {"padding": 1, "stride": 2}, (3, 4, 3)),
    "3d grouped": (nn.Conv3d, {"padding": 1, "groups": 2}, (3, 2, 3)),
    "3d circular": (nn.Conv3d, {"padding": 1, "padding_mode": "circular"}, (3, 4, 3)),
    "transposed 1d": (nn.ConvTranspose1d, {"stride": 2, "padding": 1, "output_padding": 1}, (5,)),
    "transposed 2d": (nn.ConvTranspose2d, {"stride": (2, 1), "padding": 1, "output_padding": (1, 0)}, (3, 4)),
    "transposed 2d dilated": (nn.ConvTranspose2d, {"dilation": 2, "padding": 1}, (3, 4)),
    "transposed 2d grouped": (nn.ConvTranspose2d, {"stride": 2, "groups": 2}, (3, 4)),
    "transposed 3d": (nn.ConvTranspose3d, {"stride": 2, "padding": 1}, (2, 3, 2)),
}


def made(name: str) -> tuple[Any, tuple[int, ...]]:
    kind, options, size = LAYERS[name]
    with seeded(0, "tests", "spectral layers"):
        return nn.Sequential(kind(4, 6, 3, **options)).double(), size


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(0, "tests", "inputs"), dtype=torch.float64)


def top(matrix: Tensor) -> float:
    return torch.linalg.svdvals(matrix).amax().item()


def dense(layer: Any, size: tuple[int, ...]) -> Tensor:
    """The matrix of a layer, by applying it to unit inputs."""
    units = torch.eye(layer.in_channels * math.prod(size), dtype=torch.float64).unflatten(1, (layer.in_channels, *size))
    with torch.no_grad():
        return (layer(units) - layer(torch.zeros_like(units[:1]))).flatten(1).T


def kernel_matrix(layer: Any) -> Tensor:
    """The kernel as a matrix (out, in / groups * taps), row by row from its definition."""
    weight, groups = layer.weight.detach(), layer.groups
    if not layer.transposed:
        return weight.flatten(1)
    out, per = layer.out_channels, layer.in_channels // groups
    rows = []
    for each in range(out):
        group, place = divmod(each, out // groups)
        rows.append(weight[group * per : (group + 1) * per, place].flatten())
    return torch.stack(rows)


@pytest.mark.parametrize("name", LAYERS)
def test_norms_are_those_of_dense_matrices(name):
    model, size = made(name)
    inputs = drawn(2, 4, *size)
    assert spectral_norms(model)["0.weight"].item() == pytest.approx(top(kernel_matrix(model[0])), rel=1e-8)
    found = spectral_norms(model, operator="convolution", inputs=inputs, iterations=3000)["0.weight"].item()
    exact = top(dense(model[0], size))
    assert found == pytest.approx(exact, rel=1e-8)
    around = spectral_norms(model, operator="circular", inputs=inputs)["0.weight"].item()
    assert exact <= around * (1 + 1e-12) <= 3 ** (len(size) / 2) * top(kernel_matrix(model[0])) * (1 + 1e-9)


@pytest.mark.parametrize("name", [name for name in LAYERS if "transposed" in name])
def test_the_circle_of_a_transposed_convolution_is_that_of_its_transpose(name):
    """A convolution with the same weight, around a circle as long as what the other writes before it is cropped."""
    model, size = made(name)
    layer = model[0]
    outputs = layer(drawn(1, 4, *size)).shape[2:]
    period = tuple(n + 2 * p for n, p in zip(outputs, layer.padding, strict=True))
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(size) - 1]
    options = {"dilation": layer.dilation, "padding": layer.dilation, "padding_mode": "circular"}
    around = kind(6, 4, 3, groups=layer.groups, **options).double()
    around.weight = layer.weight
    found = spectral_norms(model, operator="circular", inputs=drawn(2, 4, *size))["0.weight"].item()
    assert found == pytest.approx(top(dense(around, period)), rel=1e-8)


@pytest.mark.parametrize("operator", ["reshaped", "convolution"])
@pytest.mark.parametrize("method", ["svd", "power"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_of_the_penalty_is_that_of_the_squared_norm(name, method, operator):
    model, size = made(name)
    inputs, layer = drawn(2, 4, *size), model[0]
    penalty = SpectralPenalty(weight=0.5, method=method, operator=operator, iterations=3000)
    penalty(model, inputs, LABELS).backward()
    found, layer.weight.grad = layer.weight.grad, None
    kind = "circular" if (method, operator) == ("svd", "convolution") else operator
    value = {"reshaped": lambda: kernel_matrix(layer), "convolution": lambda: dense(layer, size)}.get(kind)
    step = 1e-6 * drawn(*layer.weight.shape)

    def squared(sign: float) -> float:
        with torch.no_grad():
            layer.weight.add_(sign * step)
            norm = top(value()) if value else spectral_norms(model, operator="circular", inputs=inputs)["0.weight"]
            layer.weight.sub_(sign * step)
        return 0.5 * float(norm) ** 2

    assert (squared(1) - squared(-1)) / 2 == pytest.approx((found * step).sum().item(), rel=1e-4)


@pytest.mark.parametrize("operator", ["reshaped", "convolution"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_projection_keeps_within_the_bound(name, operator):
    model, size = made(name)
    layer, inputs = model[0], drawn(2, 4, *size)
    before = kernel_matrix(layer).clone()
    SpectralProjection(tau=0.3, operator=operator, input_shape=(4, *size)).apply(model, epoch=1e9)
    if operator == "reshaped":
        u, s, v = torch.linalg.svd(before, full_matrices=False)
        torch.testing.assert_close(kernel_matrix(layer), (u * s.clamp(max=0.3)) @ v, rtol=0, atol=1e-10)
        return
    around = spectral_norms(model, operator="circular", inputs=inputs)["0.weight"].item()
    assert around == pytest.approx(0.3, rel=1e-8)
    assert top(dense(layer, size)) <= 0.3 * (1 + 1e-8)


def test_a_model_without_such_layers_is_told_what_it_has():
    model = nn.Sequential(nn.Embedding(5, 3), nn.LSTM(3, 2), nn.ReLU())
    for use in (spectral_norms, lambda m: SpectralPenalty()(m, drawn(2, 3), LABELS)):
        with pytest.raises(ModelError, match=r"no spectral norms.*ConvTranspose3d.*only parameters of Embedding, LSTM"):
            use(model)
    with pytest.raises(ModelError, match="no parameters"):
        SpectralProjection().apply(nn.ReLU(), epoch=0)
