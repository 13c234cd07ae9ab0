"""The vectors that matrices are probed with: random signs, normal numbers, unit vectors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from landscape.curvature.products import Products
from landscape.seeding import generator


def random_signs(operator: Products, seed: int, *names: str | int) -> Tensor:
    """Draw a vector of independent signs (Rademacher), the same for every device and precision: (P,)."""
    signs = torch.randint(0, 2, (operator.size,), generator=generator(seed, *names), dtype=torch.int8)
    return (2 * signs - 1).to(device=operator.device, dtype=operator.dtype)


def random_normal(operator: Products, seed: int, *names: str | int) -> Tensor:
    """Draw a vector of independent normal numbers, the same for every device and precision: (P,)."""
    drawn = torch.randn(operator.size, generator=generator(seed, *names), dtype=torch.float64)
    return drawn.to(device=operator.device, dtype=operator.dtype)


def unit_vectors(operator: Products) -> Iterator[Tensor]:
    """Yield the columns of the identity, (P,) each."""
    for index in range(operator.size):
        vector = torch.zeros(operator.size, dtype=operator.dtype, device=operator.device)
        vector[index] = 1
        yield vector
