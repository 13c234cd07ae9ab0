"""How scales flow through calls: what passes them on, adds, joins and ends them."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.folding import traced
from landscape.sharpness.scale_flow import follow_scales

PASSING: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "x.relu()": lambda x: x.relu(),
    "leaky": lambda x: F.leaky_relu(x, 0.2),
    "pooling": lambda x: F.adaptive_avg_pool2d(F.max_pool2d(x, 2), 1),
    "dropout": lambda x: F.dropout(x, training=False),
    "slices of pixels": lambda x: x[:, :, ::2, ::2],
    "times a number": lambda x: 0.5 * x * 2,
    "mean over pixels": lambda x: x.mean((2, 3), keepdim=True),
    "padded pixels": lambda x: F.pad(x, (1, 1, 1, 1)),
    "half of a sum": lambda x: 0.5 * (F.relu(x) + F.relu(x)),
    "a sum in place": lambda x: 0.5 * operator.iadd(F.relu(x), x),
}
ENDING: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "softmax": lambda x: x.softmax(1),
    "plus a number": lambda x: x + 1,
    "times a negative number": lambda x: -2 * x,
    "chunks": lambda x: torch.cat(x.chunk(2, 1), 1),
    "normalization": lambda x: F.instance_norm(x),
}


class Between(nn.Module):
    """Two convolutions, and something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor], inputs: int = 4) -> None:
        super().__init__()
        self.one, self.two, self.between = nn.Conv2d(2, 4, 1), nn.Conv2d(inputs, 3, 1), between

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.between(self.one(x)))


def inputs_of_second(between: Callable[[Tensor], Tensor], inputs: int = 4) -> tuple[Tensor | None, Tensor]:
    net = Between(between, inputs)
    return follow_scales(traced(net), frozenset())["two"][0], net.one.weight.detach().double().flatten(1).norm(dim=1)


@pytest.mark.parametrize("name", PASSING)
def test_it_passes(name: str) -> None:
    found, norms = inputs_of_second(PASSING[name])
    factor = 2**0.5 if "sum" in name else 1  # the root of the sum of squares
    torch.testing.assert_close(found, factor * norms)


@pytest.mark.parametrize("name", ENDING)
def test_it_ends(name: str) -> None:
    assert inputs_of_second(ENDING[name])[0] is None


def test_channels_of_zeros_have_the_scale_1() -> None:
    found, norms = inputs_of_second(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), inputs=7)
    one = torch.ones(1).double()
    torch.testing.assert_close(found, torch.cat([one, norms, one, one]))


def test_joined_channels() -> None:
    found, norms = inputs_of_second(lambda x: torch.cat([x, F.relu(x)], 1), inputs=8)
    torch.testing.assert_close(found, torch.cat([norms, norms]))


def test_gates_leave_the_scale() -> None:
    found, norms = inputs_of_second(lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)))
    torch.testing.assert_close(found, norms)


def test_each_layer_has_its_inputs_scale_in_its_own() -> None:
    """Norms of rows behind a scaled input: by hand."""
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    found = follow_scales(traced(net), frozenset())
    first = net[0].weight.detach().norm(dim=1)
    second = (net[2].weight.detach() * first).norm(dim=1)
    torch.testing.assert_close(found["2"][0], first)
    torch.testing.assert_close(found["2"][1], second)
    torch.testing.assert_close(found["4"][0], second)
    assert found["0"][0] is None


def test_modules_taken_by_themselves() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert follow_scales(traced(net), frozenset({"2"}))["2"][0] is None
