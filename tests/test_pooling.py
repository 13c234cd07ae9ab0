"""Max-pooling by two: found where it is, the same numbers, and derivatives up to the third against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from landscape.pooling import halves, in_layout_of, is_halving_call, pool_halves
from landscape.seeding import generator

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0, "images"), dtype=torch.float64)


def derivatives(function, x: Tensor) -> list[Tensor]:
    """The value, and derivatives of a cubic of it up to the third along fixed directions."""
    x = x.clone().requires_grad_()
    found = [function(x)]
    value = (found[0] ** 3).sum()
    for order in range(3):
        along = torch.randn(x.shape, generator=generator(order, "along"), dtype=torch.float64)
        (gradient,) = torch.autograd.grad(value, x, create_graph=True)
        found.append(gradient)
        value = (gradient * along).sum()
    return found


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 2)])
def test_derivatives_up_to_the_third_are_those_of_torch(size, layout, rectified):
    x = images(3, 4, *size).contiguous(memory_format=LAYOUTS[layout])
    theirs = derivatives(lambda x: F.max_pool2d(x.relu() if rectified else x, 2), x)
    ours = derivatives(lambda x: pool_halves(x, rectified=rectified), x)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)
    assert ours[1].is_contiguous(memory_format=LAYOUTS[layout])


@pytest.mark.parametrize("value", [0.0, -1.0, 2.0])
def test_of_equal_ones_the_first_has_the_derivative(value):
    x = torch.full((1, 1, 4, 4), value, dtype=torch.float64)
    ours = derivatives(lambda x: pool_halves(x, rectified=True), x)
    theirs = derivatives(lambda x: F.max_pool2d(x.relu(), 2), x)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_an_image_without_a_batch():
    x = images(4, 6, 6).requires_grad_()
    (ours,) = torch.autograd.grad(pool_halves(x).square().sum(), x)
    (theirs,) = torch.autograd.grad(F.max_pool2d(x, 2).square().sum(), x)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (nn.MaxPool2d(2), True),
        (nn.MaxPool2d((2, 2), stride=2), True),
        (nn.MaxPool2d(2, padding=1), False),
        (nn.MaxPool2d(2, stride=1), False),
        (nn.MaxPool2d(3), False),
        (nn.MaxPool2d(2, dilation=2), False),
        (nn.MaxPool2d(2, ceil_mode=True), False),
        (nn.MaxPool2d(2, return_indices=True), False),
        (nn.AvgPool2d(2), False),
    ],
)
def test_modules_that_pool_by_two_are_found(module, found):
    assert halves(module) == found


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda x: F.max_pool2d(x, 2), True),
        (lambda x: F.max_pool2d(x, kernel_size=(2, 2), stride=2), True),
        (lambda x: torch.max_pool2d(x, 2), True),
        (lambda x: torch.max_pool2d(x, [2, 2], [2, 2]), True),
        (lambda x: F.max_pool2d(x, 2, 1), False),
        (lambda x: F.max_pool2d(x, 2, padding=1), False),
        (lambda x: F.max_pool2d(x, 3), False),
        (lambda x: F.max_pool2d(x, 2, ceil_mode=True), False),
        (lambda x: torch.max_pool2d(x, 2, dilation=2), False),
        (lambda x: F.avg_pool2d(x, 2), False),
    ],
)
def test_calls_that_pool_by_two_are_found(call, found):
    graph = fx.symbolic_trace(call).graph
    assert any(is_halving_call(node) for node in graph.nodes) == found


def test_a_tensor_in_another_layout_keeps_its_values():
    x = images(2, 3, 4, 5)
    last = x.contiguous(memory_format=torch.channels_last)
    assert in_layout_of(x, x) is x
    assert torch.equal(in_layout_of(last, x), x)
    assert in_layout_of(last, x).stride() == last.stride()
