"""The matrix itself: its shape, the vectors that it multiplies, and its forms for other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.config import is_whole
from landscape.curvature.estimators import Estimators
from landscape.errors import ConfigError
from landscape.objective_checks import check_vectors

_BLOCK = 64  # columns of the dense matrix at once


class CurvatureOperator(Estimators):
    """A symmetric matrix (P, P) over the weights, known by its products with vectors."""

    @property
    def shape(self) -> tuple[int, int]:
        """(P, P)."""
        return self.size, self.size

    def rows_of(self, vector: Tensor) -> Tensor:
        """Bring a vector, or several, to the operator's device and dtype: one in each row.

        Args:
            vector: (P,), or (P, K).

        Returns:
            (K, P), contiguous and new; K = 1 for one vector.

        Raises:
            MismatchError: The shape is another one, or these are no real numbers.
        """
        check_vectors(vector, self.size, f"The {type(self).__name__} cannot be multiplied with this.")
        rows = vector.detach().to(device=self.device, dtype=self.dtype).reshape(self.size, -1).T
        return rows.clone(memory_format=torch.contiguous_format)

    def dense(self, *, limit: int = 10_000) -> Tensor:
        """Return the whole matrix, by P products.

        Args:
            limit: The largest P for which that is done. Default 10,000: 800 MB in float64.

        Returns:
            (P, P), in the operator's dtype, symmetrized.

        Raises:
            ConfigError: P is above the limit, or that is no whole number.
        """
        if not is_whole(limit):
            raise ConfigError("limit is out of range.", expected="a number of weights", got=repr(limit))
        if self.size > limit:
            raise ConfigError(
                "The matrix is too large to be written down.",
                expected=f"at most {limit} weights",
                got=self.size,
                fix="Use top, trace and density, which need products only; or raise limit.",
            )
        found = torch.empty(self.size, self.size, dtype=self.dtype, device=self.device)
        for start in range(0, self.size, _BLOCK):
            block = torch.zeros(self.size, min(_BLOCK, self.size - start), dtype=self.dtype, device=self.device)
            block[start : start + _BLOCK].fill_diagonal_(1)
            found[:, start : start + _BLOCK] = self @ block
        return (found + found.T) / 2

    def to_scipy(self) -> Any:
        """Return it as a ``scipy.sparse.linalg.LinearOperator`` (P, P), for ``eigsh`` and its like.

        Products are computed in the operator's dtype and come back in float64 or float32; those of complex vectors are
        taken part by part.
        """
        from scipy.sparse.linalg import LinearOperator

        wide = torch.promote_types(self.dtype, torch.float32)  # NumPy has no bfloat16

        def product(array: np.ndarray) -> np.ndarray:
            if np.iscomplexobj(array):
                return product(np.real(array)) + 1j * product(np.imag(array))
            return (self @ torch.from_numpy(np.array(array, dtype=dtype))).to(wide).cpu().numpy()

        dtype = torch.empty(0, dtype=wide).numpy().dtype
        found: Any = LinearOperator
        return found(shape=self.shape, dtype=dtype, matvec=product, rmatvec=product, matmat=product, rmatmat=product)
