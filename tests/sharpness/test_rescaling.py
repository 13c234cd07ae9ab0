"""The same function from other weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, ModelError
from landscape.models import build_model
from landscape.sharpness import rescaled
from tests.sharpness.nets import NETS, build
from tests.sharpness.problems import relu_net

NONE = {"transposed", "cross-attention", "tied", "branching", "encoder", "signal", "bilinear"}
"""Where no unit leads to a layer through ReLU, pooling and flattening only."""


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("name", [name for name in NETS if name not in NONE])
def test_the_outputs_stay_and_the_weights_do_not(name: str, seed: int | None) -> None:
    net, x = build(name)
    before = copy.deepcopy(net.state_dict())
    twin = rescaled(net, 7.0, seed=seed)
    torch.testing.assert_close(twin(x), net(x), rtol=1e-9, atol=1e-9)
    assert any(not torch.allclose(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


@pytest.mark.parametrize("name", ["mlp", "smallcnn", "cnn1d", "lenet", "resnet20", "vgg11"])
def test_built_in_models_have_twins(name: str) -> None:
    shape = {"cnn1d": (1, 40), "mlp": (1, 8, 8), "vgg11": (3, 32, 32)}.get(name, (1, 12, 12))
    net = build_model(name, classes=3, input_shape=shape).double().eval()
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rescaled(net, 5.0, seed=0)(x), net(x), rtol=1e-9, atol=1e-9)


def test_one_factor_for_all_units_leaves_the_layers_in_between() -> None:
    net = relu_net()
    twin = rescaled(net, 10.0)
    for number, times in {0: 10.0, 2: 1.0, 4: 0.1}.items():
        torch.testing.assert_close(twin[number].weight, times * net[number].weight)
    torch.testing.assert_close(twin[2].bias, 10 * net[2].bias)
    torch.testing.assert_close(twin[4].bias, net[4].bias)


def test_factors_of_units_lie_between_the_factor_and_its_inverse() -> None:
    net = relu_net()
    twin = rescaled(net, 4.0, seed=1)
    factors = (twin[0].bias / net[0].bias).detach()
    assert factors.max() / factors.min() > 1.5
    assert 0.25 <= factors.min() <= factors.max() <= 4
    assert torch.equal(twin[0].bias, rescaled(net, 4.0, seed=1)[0].bias)
    assert not torch.equal(twin[0].bias, rescaled(net, 4.0, seed=2)[0].bias)


@pytest.mark.parametrize("name", sorted(NONE))
def test_a_network_without_such_units_is_refused(name: str) -> None:
    with pytest.raises(ModelError):
        rescaled(build(name)[0])


def test_units_whose_place_is_unclear_are_left_alone() -> None:
    """A convolution's channels are along dimension 1, what a linear layer reads along the last one."""
    net = nn.Sequential(nn.Conv1d(4, 5, 2), nn.ReLU(), nn.Linear(5, 3), nn.Flatten(), nn.ReLU(), nn.Linear(15, 2))
    with pytest.raises(ModelError):
        rescaled(net)


@pytest.mark.parametrize("factor", [0, -1.0, float("nan"), float("inf"), "10", True])
def test_a_factor_is_positive(factor) -> None:
    with pytest.raises(ConfigError):
        rescaled(relu_net(), factor)


def test_a_seed_is_a_whole_number() -> None:
    with pytest.raises(ConfigError):
        rescaled(relu_net(), seed=0.5)  # pyright: ignore[reportArgumentType]
