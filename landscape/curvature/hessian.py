"""The Hessian of an objective as an operator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.curvature.frozen import FrozenOperator
from landscape.curvature.probes import random_normal
from landscape.double_backward import hessian_product, twice_differentiable
from landscape.errors import NonFiniteError
from landscape.objective import Objective

_TF32 = 2.0**-10  # the precision of convolutions and matrix products in float32 on CUDA, where they may be rounded


class SymmetryWarning(UserWarning):
    """A matrix of second derivatives is not symmetric, so at least one of its parts is wrong."""


@dataclass(frozen=True)
class GradientGraph:
    """One batch: its part of the loss, 0-d, and of the gradient, (P,), with its graph."""

    loss: Tensor
    gradient: Tensor


class Hessian(FrozenOperator[GradientGraph]):
    """The second derivative of the mean loss, at the weights that the model has when this is built.

    Definition: ``H[i, j] = d^2 L / dw_i dw_j`` with L the objective's loss, averaged over examples. Products are exact,
    by double backward; there are no finite differences, which fail for ReLU networks in single precision.

    It is frozen: later changes of the model pass it by. Fixed normalization is folded into convolutions, and a product
    costs about two gradients where graphs are kept, three and a half where they are built again.

    Products are computed in the weights' dtype. Two or three digits, as float16 and bfloat16 have, are too few for
    eigenvalues, which are then marked as not converged: use ``model.float()``.

    Args:
        objective: Whose loss. Its model is not changed.
        parameters: Which weights the matrix is over, for example "layer1", "head.weight" or ["*.weight"]; see
            :meth:`landscape.parameters.Layout.subset`. Default: all that are trainable. The others are constants.
        weights: (P,), all trainable weights, for the Hessian at another point than the model's present weights.
        memory: Bytes that kept graphs may take; 0 keeps none. By default half of what is free on a CUDA device; on a
            CPU a quarter of what is free, at most 4 GiB. What they need is measured on the first batch.
        memory_limit: Bytes that a product may take in all, kept graphs included, beside weights and data. Batches are
            made as small as it needs. By default they are the objective's.

    Raises:
        NonDeterministicError: The model draws random numbers in evaluation mode.
        NonFiniteError: The loss or its gradient is NaN or infinite at these weights.
        ConfigError: ``objective`` is none; ``memory`` is negative; ``memory_limit`` is too small for one example; or
            ``parameters`` fit no weight.
        MismatchError: ``weights`` do not fit the model.

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

    def __init__(
        self,
        objective: Objective,
        *,
        parameters: str | Sequence[str] | None = None,
        weights: Tensor | None = None,
        memory: int | None = None,
        memory_limit: int | None = None,
    ) -> None:
        self._checked = False
        super().__init__(objective, parameters=parameters, weights=weights, memory=memory, memory_limit=memory_limit)
        self._loss, self._gradient = self._first_order()
        self._check_finite()

    def _build(self) -> Iterator[GradientGraph]:
        for term in self._model.loss_terms(self._flat):
            gradient = torch.autograd.grad(term, self._flat, create_graph=True)[0]
            self._check_twice(gradient)
            yield GradientGraph(term.detach(), gradient)
            del term, gradient  # and with them the batch's graph, before the next one is built

    def _multiply(self, graph: GradientGraph, row: Tensor) -> Tensor:
        return hessian_product(graph.gradient, self._flat, row)

    def _first_order(self) -> tuple[Tensor, Tensor]:
        """The loss, 0-d float64, and its gradient, (P,)."""
        with twice_differentiable():
            loss = torch.zeros((), dtype=torch.float64, device=self.device)
            gradient = torch.zeros_like(self._flat, requires_grad=False)
            if self.keeps_graph:
                for graph in self._graphs:
                    loss += graph.loss.double()
                    gradient += graph.gradient.detach()
            else:
                for term in self._model.loss_terms(self._flat):
                    loss += term.detach().double()
                    gradient += torch.autograd.grad(term, self._flat)[0]
        return loss, gradient

    def _check_finite(self) -> None:
        loss, bad = float(self._loss), int((~torch.isfinite(self._gradient)).sum())
        if not math.isfinite(loss) or bad:
            self.close()
            raise NonFiniteError(
                "There is no Hessian at these weights.",
                expected="a finite loss and gradient",
                got=f"a loss of {loss}, and {bad} of {self.size} entries of the gradient that are NaN or infinite",
                fix="Load an earlier checkpoint, lower the learning rate, or use float64.",
            )

    @property
    def gradient(self) -> Tensor:
        """The gradient at these weights, (P,), a copy."""
        return self._gradient.clone()

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
        return super().__matmul__(vector)

    def _check_symmetry(self) -> None:
        """Compare ``u.Hv`` with ``v.Hu`` once: an operation with a wrong second derivative makes them differ."""
        if self._checked:
            return
        self._checked = True
        u, v = (random_normal(self, 0, "symmetry", which) for which in ("u", "v"))
        images = super().__matmul__(torch.stack([u, v], dim=1)).double()
        crossed = torch.stack([u.double() @ images[:, 1], v.double() @ images[:, 0], torch.linalg.vector_norm(images)])
        one, other, size = crossed.tolist()
        rough = self.dtype != torch.float64
        if abs(one - other) > self._asymmetry() * size:
            warnings.warn(
                f"The Hessian is not symmetric: u.Hv = {one:.4g} and v.Hu = {other:.4g}. An operation of the model or "
                "the loss has a wrong second derivative; what is computed from it is wrong too. Known: "
                "torch.nn.utils.parametrizations.weight_norm (remove it with remove_parametrizations)."
                + (" Or the loss is so near to 0 that all is rounding: see whether float64 says the same." * rough),
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
        return self._about()
