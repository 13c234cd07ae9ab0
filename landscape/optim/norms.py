"""Norms and products over many tensors at once, on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm over all tensors together, on the first one's device, without waiting for it.

    Args:
        tensors: At least one; half precisions are summed in float32. Sharded tensors (DTensor) give the norm of the
            whole, the same on every rank.

    Returns:
        0-d tensor.

    Example:
        >>> global_norm([torch.tensor([3.0]), torch.tensor([[4.0]])]).item()
        5.0
    """
    norms = tensor_norms(tensors)
    return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))


def tensor_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the Euclidean norm of each tensor, in float32 at least, as 0-d tensors on their devices."""
    half = any(t.dtype in (torch.float16, torch.bfloat16) for t in tensors)
    norms = torch._foreach_norm(list(tensors), 2, torch.float32) if half else torch._foreach_norm(list(tensors), 2)
    return [whole(norm) for norm in norms]


def whole(value: Tensor) -> Tensor:
    """Return a plain tensor: the full value where the tensor is spread over processes, itself otherwise."""
    full = getattr(value, "full_tensor", None)
    return value if full is None else full()


def dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return the inner product over all pairs of tensors, in float32 at least, on the first one's device.

    Example:
        >>> dot([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])]).item()
        11.0
    """
    products = torch._foreach_mul(list(left), list(right))
    wide = torch.promote_types(products[0].dtype, torch.float32)
    sums = [whole(product.sum(dtype=wide)) for product in products]
    return torch.stack([one.to(sums[0].device) for one in sums]).sum()


def multiply(tensors: Sequence[Tensor], factor: Tensor) -> None:
    """Multiply tensors, on whichever devices and of whichever dtype, by one 0-d factor in place."""
    if not tensors:
        return
    if all(t.device == factor.device and t.dtype == factor.dtype for t in tensors):
        torch._foreach_mul_(list(tensors), factor)
        return
    for tensor in tensors:
        local = factor.to(tensor.device)
        if tensor.dtype == local.dtype or tensor.dtype == torch.float64:
            tensor.mul_(local)
        else:  # in half precision the factor itself may overflow or vanish
            tensor.copy_(tensor.to(local.dtype) * local)


def radius_factor(radius: float, norm: Tensor) -> Tensor:
    """Return ``radius / (norm + 1e-12)``, and NaN where the norm is not finite.

    An overflow in the first pass must make the second pass non-finite as well, so that a gradient scaler skips the
    step; without this, ``x / inf = 0`` would leave most weights where they are.
    """
    return torch.where(torch.isfinite(norm), radius / (norm + 1e-12), torch.nan)
