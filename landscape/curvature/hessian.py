"""The Hessian of an objective as an operator."""

from __future__ import annotations

import math
import warnings
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from landscape.curvature.graph import GradientGraphs, free_memory
from landscape.curvature.lanczos import random_normal
from landscape.curvature.operator import CurvatureOperator
from landscape.double_backward import hessian_product, twice_differentiable
from landscape.errors import ConfigError, NonFiniteError
from landscape.objective import Objective

_TF32 = 2.0**-10  # the precision of convolutions and matrix products in float32 on CUDA, where they may be rounded


class SymmetryWarning(UserWarning):
    """A matrix of second derivatives is not symmetric, so at least one of its parts is wrong."""


class Hessian(CurvatureOperator):
    """The second derivative of the mean loss, at the weights that the model has when this is built.

    Definition: ``H[i, j] = d^2 L / dw_i dw_j`` with L the objective's loss, averaged over examples. Products are exact,
    by double backward; there are no finite differences, which fail for ReLU networks in single precision.

    It is frozen: later changes of the model pass it by. The graphs of all batches are kept between products where they
    fit into memory, and built again for each product where not; both give the same matrix.

    Products are computed in the weights' dtype. Two or three digits, as float16 and bfloat16 have, are too few for
    eigenvalues, which are then marked as not converged: use ``model.float()``.

    Args:
        objective: Whose loss. Its model is not changed.
        memory: Bytes that kept graphs may take; 0 keeps none. By default half of what is free on a CUDA device; on a
            CPU a quarter of what is free, at most 4 GiB. What they need is measured on the first batch.

    Raises:
        NonDeterministicError: The model draws random numbers in evaluation mode.
        NonFiniteError: The loss or its gradient is NaN or infinite at these weights.
        ConfigError: ``memory`` is negative.

    Warns:
        SymmetryWarning: At the first product, where ``u.Hv`` and ``v.Hu`` of two random vectors differ by more than
            rounding.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> data = (torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double(), torch.zeros(2, 1).double())
        >>> H = Hessian(Objective(model, data, torch.nn.functional.mse_loss))  # L = (w1**2 + (2 w2)**2) / 2
        >>> (H @ torch.ones(2).double()).tolist(), H.trace(method="exact").value
        ([1.0, 4.0], 5.0)
        >>> round(float(H.top(1).values[0]), 6)
        4.0

    References:
        B. Pearlmutter, Fast Exact Multiplication by the Hessian, Neural Computation 1994.
    """

    def __init__(self, objective: Objective, *, memory: int | None = None) -> None:
        if memory is not None and memory < 0:
            raise ConfigError("memory is out of range.", expected="bytes, not negative", got=memory)
        objective.check_deterministic()
        self._checked = False
        self.objective = objective.snapshot()
        budget = free_memory(objective.device) if memory is None else memory
        with twice_differentiable():
            self._flat = self.objective.weights().requires_grad_(True)
            self._graphs = GradientGraphs(self.objective, self._flat, budget)
        self._check_finite()

    def __repr__(self) -> str:
        """One line: of which objective."""
        return f"Hessian({self.size} x {self.size} of {self.objective!r})"

    def _check_finite(self) -> None:
        loss, bad = float(self._graphs.loss), int((~torch.isfinite(self._graphs.gradient)).sum())
        if not torch.isfinite(self._graphs.loss) or bad:
            self.close()
            raise NonFiniteError(
                "There is no Hessian at these weights.",
                expected="a finite loss and gradient",
                got=f"a loss of {loss}, and {bad} of {self.size} entries of the gradient that are NaN or infinite",
                fix="Load an earlier checkpoint, lower the learning rate, or use float64.",
            )

    @property
    def size(self) -> int:
        """P, the number of weights."""
        return self.objective.size

    @property
    def dtype(self) -> torch.dtype:
        """The objective's dtype, in which products are computed."""
        return self.objective.dtype

    @property
    def device(self) -> torch.device:
        """The objective's device."""
        return self.objective.device

    @property
    def keeps_graph(self) -> bool:
        """Whether the graphs are kept between products."""
        return self._graphs.kept

    @property
    def gradient(self) -> Tensor:
        """The gradient at these weights, (P,), a copy."""
        return self._graphs.gradient.clone()

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Multiply the Hessian with a vector (P,), or with K vectors (P, K).

        Args:
            vector: (P,) or (P, K); it is brought to the operator's device and dtype.

        Returns:
            H v, in the shape of ``vector``, on the operator's device and in its dtype.

        Raises:
            MismatchError: The shape is another one.
        """
        self._check_symmetry()
        return self._product(vector)

    def _product(self, vector: Tensor) -> Tensor:
        rows = self.rows_of(vector)
        with twice_differentiable():
            total = torch.zeros_like(rows)
            for gradient in self._graphs:
                for row, product in zip(rows, total, strict=True):
                    product += hessian_product(gradient, self._flat, row)
        return total.T.reshape(vector.shape)

    def _check_symmetry(self) -> None:
        """Compare ``u.Hv`` with ``v.Hu`` once: an operation with a wrong second derivative makes them differ."""
        if self._checked:
            return
        self._checked = True
        u, v = (random_normal(self, 0, "symmetry", which) for which in ("u", "v"))
        images = self._product(torch.stack([u, v], dim=1)).double()
        crossed = torch.stack([u.double() @ images[:, 1], v.double() @ images[:, 0], torch.linalg.vector_norm(images)])
        one, other, size = crossed.tolist()
        if abs(one - other) > self._asymmetry() * size:
            warnings.warn(
                f"The Hessian is not symmetric: u.Hv = {one:.4g} and v.Hu = {other:.4g}. An operation of the model or "
                "the loss has a wrong second derivative; what is computed from it is wrong too. Known: "
                "torch.nn.utils.parametrizations.weight_norm (remove it with remove_parametrizations).",
                SymmetryWarning,
                stacklevel=3,
            )

    def _asymmetry(self) -> float:
        """Bound what rounding makes of ``u.Hv - v.Hu`` relative to ``||Hu, Hv||``: some hundred times what is seen."""
        rounded = self.device.type == "cuda" and self.dtype == torch.float32
        precision = _TF32 if rounded else torch.finfo(self.dtype).eps
        return max(10 * precision, math.sqrt(precision) / 3)

    def provenance(self) -> dict[str, Any]:
        """Say what this is the Hessian of; plain JSON values."""
        return {"operator": "Hessian", **self.objective.provenance()}

    def close(self) -> None:
        """Give the memory of kept graphs back. Products still work; each builds its graphs again."""
        self._graphs.release()

    def __enter__(self) -> Self:
        """Return the operator itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the memory of kept graphs back."""
        self.close()
