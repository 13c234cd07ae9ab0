"""A convolution whose second derivative runs at the speed of its first."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn


class Geometry(NamedTuple):
    """How a convolution walks over its input; one number for each spatial dimension."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, module: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> Geometry:
        """Read a module's, whose padding is given in numbers."""
        return cls(module.stride, cast("tuple[int, ...]", module.padding), module.dilation, module.groups)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Convolve, for second derivatives.

    torch writes the second derivative of a convolution as convolutions of transposed tensors, in which a batch stands
    for channels; no kernel is made for these. Here it is the kernels of the forward and backward pass themselves:
    six convolutions for a product with the Hessian, where the gradient has three.

    Args:
        x: (B, C, ...).
        weight: (O, C / groups, ...).
        bias: (O,) or None.
        geometry: How it walks.

    Returns:
        (B, O, ...). From the third derivative on, it is torch's own again.

    Example:
        >>> x, w = torch.ones(1, 1, 3).double(), torch.ones(1, 1, 1).double().requires_grad_()
        >>> y = convolve(x, w, None, Geometry((1,), (0,), (1,), 1)).pow(2).sum()  # 3 w^2
        >>> g = torch.autograd.grad(y, w, create_graph=True)[0]
        >>> g.item(), torch.autograd.grad(g.sum(), w)[0].item()
        (6.0, 6.0)
    """
    return cast("Tensor", _Convolution.apply(x, weight, bias, geometry))


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    stride, padding, dilation, groups = geometry
    return torch.ops.aten.convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the derivatives in x, the weight and the bias, as far as wanted."""
    stride, padding, dilation, groups = geometry
    return torch.ops.aten.convolution_backward(
        grad, x, weight, [len(weight)], stride, padding, dilation, False, [0] * len(stride), groups, wanted
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return _forward(x, weight, bias, geometry)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight = ctx.saved_tensors
        found = _ConvolutionBackward.apply(grads[0], x, weight, ctx.geometry, ctx.needs_input_grad[:3])
        return (*cast("tuple[Any, ...]", found), None)


class _ConvolutionBackward(torch.autograd.Function):
    """What the backward pass computes, linear in each of grad, x and weight."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool, bool]
    ) -> Any:
        ctx.save_for_backward(grad, x, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        return _backward(grad, x, weight, geometry, wanted)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        along_x, along_weight, along_bias = grads
        grad, x, weight = ctx.saved_tensors
        of_grad, of_x, of_weight = None, None, None
        if ctx.needs_input_grad[0]:
            if along_weight is not None:
                of_grad = _forward(x, along_weight, along_bias, ctx.geometry)
            elif along_bias is not None:
                of_grad = along_bias.reshape(1, -1, *[1] * (grad.ndim - 2)).expand_as(grad)
            if along_x is not None:
                other = _forward(along_x, weight, None, ctx.geometry)
                of_grad = other if of_grad is None else other + of_grad
        if ctx.needs_input_grad[1] and along_weight is not None:
            of_x = _backward(grad, x, along_weight, ctx.geometry, (True, False, False))[0]
        if ctx.needs_input_grad[2] and along_x is not None:
            of_weight = _backward(grad, along_x, weight, ctx.geometry, (False, True, False))[1]
        return of_grad, of_x, of_weight, None, None
