"""The rectifier: the same numbers as torch's, and derivatives up to the third, also at the kink and of NaN."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import grad, gradcheck, gradgradcheck

from landscape.rectifier import rectify
from landscape.seeding import generator


def numbers(*shape: int, name: str = "numbers") -> Tensor:
    return torch.randn(shape, generator=generator(0, "rectifier", name), dtype=torch.float64)


def derivatives(function, x: Tensor) -> list[Tensor]:
    """The value, and derivatives up to the third of a cubic of it, along fixed directions."""
    x = x.clone().requires_grad_()
    found = [function(x)]
    value = (found[0] ** 3 + found[0] * x**2).sum()
    for order in range(3):
        (slope,) = grad(value, x, create_graph=True)
        found.append(slope)
        value = (slope * numbers(*x.shape, name=f"along {order}")).sum()
    return found


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 4, 5), (2, 3, 6, 5)])
def test_derivatives_up_to_the_third_are_those_of_torch(shape):
    x = numbers(*shape)
    for one, other in zip(derivatives(rectify, x), derivatives(torch.relu, x), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_in_other_precisions_the_numbers_are_torchs_and_those_of_double_rounded(dtype):
    x = numbers(50).to(dtype).requires_grad_()
    (ours,) = grad((rectify(x) * numbers(50, name="a").to(dtype)).sum(), x)
    (theirs,) = grad((x.relu() * numbers(50, name="a").to(dtype)).sum(), x)
    exact = torch.where(x.double() > 0, numbers(50, name="a"), 0.0)
    assert ours.dtype == dtype and torch.equal(ours, theirs)
    assert torch.equal(ours, exact.to(dtype))


def test_numerical_derivatives():
    x = (numbers(20) + 0.1 * numbers(20).sign()).requires_grad_()  # away from the kink
    assert gradcheck(rectify, x)
    assert gradgradcheck(lambda x: rectify(x) ** 3, x)


@pytest.mark.parametrize("kink", [0.0, -0.0])
def test_at_the_kink_the_slope_is_zero_and_stays_so(kink):
    x = torch.tensor([kink, kink], dtype=torch.float64)
    found = derivatives(rectify, x)
    assert all((part == 0).all() for part in found)
    assert all(torch.equal(one, other) for one, other in zip(found, derivatives(torch.relu, x), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_what_it_is(value):
    x = torch.tensor([value, 1.0, -1.0], dtype=torch.float64)
    for one, other in zip(derivatives(rectify, x), derivatives(torch.relu, x), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert math.isnan(rectify(x)[0]) == math.isnan(value)


def test_nan_slopes_pass_where_it_is_open_and_only_there():
    x = torch.tensor([2.0, -2.0], requires_grad=True)
    (slope,) = grad(rectify(x), x, torch.tensor([math.nan, math.nan]))
    assert math.isnan(slope[0]) and slope[1] == 0


def test_it_has_no_second_derivative_and_writes_none():
    x = numbers(10).requires_grad_()
    along = numbers(10, name="along").requires_grad_()
    (slope,) = grad(rectify(x), x, along, create_graph=True)
    by_x, by_along = grad(slope.sum(), (x, along), allow_unused=True)
    assert by_x is None  # torch's own gives zeros
    assert torch.equal(by_along, (x > 0).double())


def test_backward_of_backward_through_a_network():
    """A Hessian product, as double backward and as columns of torch's own Hessian."""
    first, second = numbers(6, 4, name="first"), numbers(1, 6, name="second")
    inputs, vector = numbers(9, 4, name="inputs"), numbers(6, 4, name="vector")

    def product(relu) -> Tensor:
        w = first.clone().requires_grad_()
        loss = (relu(inputs @ w.T) @ second.T).pow(4).mean()
        (slope,) = grad(loss, w, create_graph=True)
        return grad(slope, w, vector)[0]

    whole = torch.autograd.functional.hessian(lambda w: ((inputs @ w.T).relu() @ second.T).pow(4).mean(), first)
    torch.testing.assert_close(product(rectify), product(torch.relu), rtol=1e-13, atol=0)
    expected = torch.einsum("abcd,cd->ab", whole, vector)
    torch.testing.assert_close(product(rectify), expected, rtol=1e-12, atol=1e-13)


def test_under_inference_mode_and_no_grad():
    x = numbers(5)
    with torch.inference_mode():
        inside = rectify(x)
        assert torch.equal(rectify(torch.relu(x) - 1), (torch.relu(x) - 1).relu())
    assert inside.is_inference() and torch.equal(inside, x.relu())
    with torch.no_grad():
        assert not rectify(x.requires_grad_()).requires_grad
    made = inside.clone().requires_grad_()  # from an inference tensor, outside
    assert torch.equal(grad(rectify(made).sum(), made)[0], (x > 0).double())


def test_the_input_and_its_layout_are_left_alone():
    x = numbers(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    before = x.detach().clone()
    y = rectify(x)
    for given in (torch.ones(()).double().expand(y.shape), numbers(2, 3, 4, 5)):  # in no layout, and in another one
        (slope,) = grad(y, x, given, retain_graph=True)
        assert slope.stride() == x.stride() and torch.equal(slope, torch.where(x > 0, given, 0.0))
    assert torch.equal(x, before) and y.stride() == x.stride()


def test_an_output_that_is_overwritten_is_noticed():
    x = numbers(5).requires_grad_()
    y = rectify(x)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
