"""A rectifier whose second derivative costs nothing where it is zero."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from landscape.pooling import in_layout_of


def rectify(x: Tensor) -> Tensor:
    """Return ``max(x, 0)``, for second derivatives.

    The rectifier has no second derivative but at 0, where it is taken as 0. torch writes these zeros down, as large as
    the activations, and adds them to what comes from elsewhere; here nothing is written.

    Args:
        x: Any shape.

    Returns:
        The same shape; it can be differentiated as often as wanted.

    Example:
        >>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
        >>> rectify(x).tolist(), torch.autograd.grad(rectify(x).pow(2).sum(), x)[0].tolist()
        ([0.0, 2.0], [0.0, 4.0])
    """
    return cast("Tensor", _Rectifier.apply(x))


class _Rectifier(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.relu(x)
        ctx.save_for_backward(y.detach())
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _Passed.apply(grads[0], ctx.saved_tensors[0])


class _Passed(torch.autograd.Function):
    """What passes where the rectifier is open: linear, and its own derivative."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return torch.ops.aten.threshold_backward(in_layout_of(y, grad), y, 0)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _Passed.apply(grads[0], ctx.saved_tensors[0]), None
