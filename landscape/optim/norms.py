"""Norms over many tensors at once, on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm over all tensors together, on the first one's device, without waiting for it.

    Args:
        tensors: At least one; half precisions are summed in float32.

    Returns:
        0-d tensor.

    Example:
        >>> global_norm([torch.tensor([3.0]), torch.tensor([[4.0]])]).item()
        5.0
    """
    return torch.linalg.vector_norm(torch.stack([norm.to(tensors[0].device) for norm in tensor_norms(tensors)]))


def tensor_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the Euclidean norm of each tensor, in float32 at least, as 0-d tensors on their devices."""
    half = any(t.dtype in (torch.float16, torch.bfloat16) for t in tensors)
    return list(torch._foreach_norm(list(tensors), 2, torch.float32) if half else torch._foreach_norm(list(tensors), 2))
