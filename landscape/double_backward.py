"""Second derivatives by differentiating a gradient once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from landscape.seeding import preserved_rng


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Run a block with gradients on, generators protected, and attention in operations that have second derivatives."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with torch.inference_mode(False), preserved_rng(), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        yield


def hessian_product(gradient: Tensor, flat: Tensor, vector: Tensor) -> Tensor:
    """Differentiate ``gradient . vector`` once more, keeping the graph; zero where the loss is linear.

    Args:
        gradient: (P,), made with ``create_graph=True``.
        flat: (P,), the leaf it was taken at.
        vector: (P,).

    Returns:
        (P,), this batch's part of H v.
    """
    if not gradient.requires_grad:
        return torch.zeros_like(flat)
    product = torch.autograd.grad(gradient, flat, grad_outputs=vector, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(flat) if product is None else product
