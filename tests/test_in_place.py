"""Calls that write into what others see are found, and those whose results alone are used are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.errors import ModelError
from landscape.models import build_model
from landscape.tracing import traced


class Parts(nn.Module):
    """Layers for a forward of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Linear(4, 4), nn.Linear(4, 3), nn.ReLU(inplace=True)
        self.drop, self.same = nn.Dropout(0.5, inplace=True), nn.Identity()
        self.register_buffer("seen", torch.zeros(()))


def body(forward: Callable[..., Any]) -> nn.Module:
    return type("Body", (Parts,), {"forward": forward})().eval().requires_grad_(False)


def statement(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    h.clamp_(max=1.0)
    return self.b(h)


def call(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    F.relu(h, inplace=True)
    return self.b(h)


def positional(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    return self.b(F.leaky_relu(h, 0.1, True) + h)


def module(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    return self.b(self.act(h) * h)


def view(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    flat = h.view(-1)
    torch.relu_(flat)
    return self.b(h)


def earlier_view(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    first = h[:, :2]
    return self.b(torch.cat([torch.relu_(h)[:, 2:], first], dim=1))


def alias(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    y = self.same(self.drop(h))
    y += 1
    return self.b(h)


def operator(self: Any, x: Tensor) -> Tensor:
    h = y = self.a(x)
    h *= 2
    return self.b(h + y)


def out(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    torch.exp(h, out=h)
    return self.b(h)


def chain(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    torch.relu_(h.sub_(1.0)).mul_(2.0)
    return self.b(h)


def keyword(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    return self.b(self.act(input=h) * h)


SEEN = [statement, call, positional, module, view, earlier_view, alias, operator, out, chain, keyword]


@pytest.mark.parametrize("forward", SEEN, ids=lambda function: function.__name__)
def test_a_write_that_others_see_is_refused(forward: Callable[..., Any]) -> None:
    """A graph may leave it out, move it, or take another call for it."""
    with pytest.raises(ModelError, match="writes into a tensor that it uses elsewhere"):
        traced(body(forward))


def residual(self: Any, x: Tensor) -> Tensor:
    h = self.act(self.a(x))
    y = self.a(h)
    y += h
    return self.b(self.act(y))


def dropped(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    return self.b(self.drop(h) + h)


def used_before(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    mean = h.mean(dim=1, keepdim=True)
    h -= mean
    return self.b(h)


FREE = [residual, dropped, used_before]


@pytest.mark.parametrize("forward", FREE, ids=lambda function: function.__name__)
def test_a_write_whose_result_alone_is_used_is_not(forward: Callable[..., Any]) -> None:
    model, x = body(forward), torch.randn(5, 4)
    assert torch.equal(traced(model)(x.clone()), model(x.clone()))


@pytest.mark.parametrize("name", ["resnet20", "vgg11_bn", "preactresnet18", "wrn16-4"])
def test_the_models_of_the_registry_are_not(name: str) -> None:
    traced(build_model(name, classes=3, input_shape=(3, 32, 32)).eval(), gradients=True)
