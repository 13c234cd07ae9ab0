"""Max-pooling by two: where it is used, a quicker way to its result, and quicker second derivatives."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

_ARGUMENTS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_DEFAULTS = {"kernel_size": None, "stride": None, "padding": 0, "dilation": 1} | dict.fromkeys(_ARGUMENTS[4:], False)
_BY_TWO = {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1}
_Whole = tuple[torch.Size, torch.memory_format]  # of what is pooled
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # in the order in which torch looks for the largest


def pool_halves(x: Tensor, *, rectified: bool = False) -> Tensor:
    """Return ``max_pool2d(x, 2)``, or ``max_pool2d(relu(x), 2)``, for second derivatives.

    torch writes down where each maximum was, scatters gradients there, and gathers in the second derivative, in another
    layout than the convolutions around it have; each following pass over mixed layouts takes ten times as long. Here
    derivatives are products with four masks, of which one is 1 where the maximum was (the first one, as torch takes it)
    and, with the rectifier, positive.

    Args:
        x: (B, C, H, W).
        rectified: Whether a rectifier comes before, or after, which is the same.

    Returns:
        (B, C, H / 2, W / 2), rounded down; it can be differentiated as often as wanted.

    Example:
        >>> x = torch.tensor([[[[1.0, 3.0], [2.0, -1.0]]]], requires_grad=True)
        >>> y = pool_halves(x)
        >>> y.tolist(), torch.autograd.grad(y.pow(2).sum(), x)[0].tolist()
        ([[[[3.0]]]], [[[[0.0, 6.0], [0.0, 0.0]]]])
    """
    return cast("Tensor", _Pooled.apply(x, rectified))


def halved(x: Tensor) -> Tensor:
    """Do what ``max_pool2d(x, 2)`` does, bit for bit, without writing down where each maximum was.

    Args:
        x: (..., H, W).

    Returns:
        (..., H / 2, W / 2), rounded down.

    Example:
        >>> halved(torch.arange(9.0).view(1, 1, 3, 3)).tolist()  # the last row and column are left out
        [[[[4.0]]]]
    """
    height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    rows = torch.maximum(x[..., 0:height:2, :], x[..., 1:height:2, :])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def halves(module: nn.Module) -> bool:
    """Whether a module is ``nn.MaxPool2d(2)``, and nothing else."""
    if type(module) is not nn.MaxPool2d or module._forward_hooks or module._forward_pre_hooks:
        return False
    return _is_by_two({name: getattr(module, name) for name in (*_BY_TWO, "ceil_mode", "return_indices")})


def is_halving_call(node: fx.Node) -> bool:
    """Whether a node calls ``max_pool2d(x, 2)``, without a module, and nothing else."""
    if node.op != "call_function" or node.target not in (F.max_pool2d, torch.max_pool2d):
        return False
    given = dict(zip(("input", *_ARGUMENTS), node.args, strict=False)) | dict(node.kwargs)
    return bool(node.args) and _is_by_two(given)


def _is_by_two(given: dict[str, Any]) -> bool:
    """Whether arguments of ``max_pool2d`` beside its input say pooling by two, each output from inputs of its own."""
    given = {**_DEFAULTS, **given}
    if given["stride"] in (None, ()):
        given["stride"] = given["kernel_size"]
    plain = not given["ceil_mode"] and not given["return_indices"]
    return plain and all(given[name] in (value, (value, value), [value, value]) for name, value in _BY_TWO.items())


def _corners(x: Tensor) -> list[Tensor]:
    """The four views (B, C, H // 2, W // 2) of x that are compared with each other."""
    height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    return [x[..., row:height:2, column:width:2] for row, column in _CORNERS]


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rectified: bool) -> Tensor:
        y, where = F.max_pool2d(x, 2, return_indices=True)
        width = x.shape[-1]
        corner = where // width % 2 * 2 + where % width % 2
        if rectified:
            y = torch.relu_(y)
            corner = torch.where(y > 0, corner, -1)
        ctx.save_for_backward(*((corner == one).to(x.dtype) for one in range(4)))
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        ctx.whole = x.shape, torch.channels_last if last else torch.contiguous_format
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _Spread.apply(grads[0], ctx.whole, *ctx.saved_tensors), None


class _Spread(torch.autograd.Function):
    """Put (B, C, H // 2, W // 2) where the maxima were: linear."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, whole: _Whole, *masks: Tensor) -> Tensor:
        ctx.save_for_backward(*masks)
        ctx.whole = whole
        grad = in_layout_of(masks[0], grad)
        shape, layout = whole
        odd = shape[-1] % 2 or shape[-2] % 2
        out = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=layout)
        for corner, mask in zip(_corners(out.zero_() if odd else out), masks, strict=True):
            torch.mul(grad, mask, out=corner)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (_Gathered.apply(grads[0], ctx.whole, *ctx.saved_tensors), None, *[None] * 4)


class _Gathered(torch.autograd.Function):
    """Take (B, C, H // 2, W // 2) from where the maxima were: the transpose."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, whole: _Whole, *masks: Tensor) -> Tensor:
        ctx.save_for_backward(*masks)
        ctx.whole = whole
        first, *others = _corners(grad)
        out = torch.empty_like(masks[0])
        torch.mul(first, masks[0], out=out)
        for corner, mask in zip(others, masks[1:], strict=True):
            out.addcmul_(corner, mask)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (_Spread.apply(grads[0], ctx.whole, *ctx.saved_tensors), None, *[None] * 4)


def in_layout_of(other: Tensor, x: Tensor) -> Tensor:
    """Return x with the strides of another tensor of its shape: a pass over two layouts takes ten times a copy's time.

    Args:
        other: (...).
        x: (...).

    Returns:
        x itself where the strides are the same already.
    """
    return x if x.stride() == other.stride() else torch.empty_like(other, dtype=x.dtype).copy_(x)
