"""What an algorithm needs to know of a matrix that is never written down."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Products(Protocol):
    """A symmetric matrix (P, P) known by its products with vectors."""

    @property
    def size(self) -> int:
        """P."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of products."""
        ...

    @property
    def device(self) -> torch.device:
        """Where products lie."""
        ...

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Multiply: (P,) to (P,), or (P, K) to (P, K)."""
        ...
