"""The outputs of all batches with the graphs that products with their Jacobian need: kept, or built again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.curvature.graph import graph_bytes
from landscape.errors import ModelError
from landscape.objective import Objective

Through = Callable[[Tensor], Tensor]
"""Multiplies with a symmetric matrix over one batch's outputs, (B, ...) to (B, ...)."""
Curvature = Callable[[int, Tensor, Tensor], Through]
"""Makes that matrix from a batch's number, its outputs and its targets."""


@dataclass(frozen=True)
class OutputGraph:
    """One batch: its part of ``J^T M J``, with J the Jacobian of the outputs and M the curvature over them."""

    flat: Tensor
    outputs: Tensor
    dual: Tensor  # u, (B, ...)
    pulled: Tensor  # J^T u, (P,), which is linear in u: its derivative is J
    through: Through

    def multiply(self, vector: Tensor) -> Tensor:
        """Return ``J^T M J v``, (P,)."""
        pushed = torch.autograd.grad(self.pulled, self.dual, vector, retain_graph=True)[0]
        return torch.autograd.grad(self.outputs, self.flat, self.through(pushed), retain_graph=True)[0]


class OutputGraphs:
    """The graphs of all batches of an objective at one point.

    Args:
        objective: Nobody else's: its weights and buffers must not change while graphs are kept.
        flat: (P,) leaf that requires grad.
        curvature: Makes the matrix over a batch's outputs.
        memory: Bytes that kept graphs may take.

    Raises:
        ModelError: The model's output is no tensor, or does not depend on its weights.
    """

    def __init__(self, objective: Objective, flat: Tensor, curvature: Curvature, memory: int) -> None:
        self.objective, self.flat, self._curvature = objective, flat, curvature
        batches = -(-objective.examples // objective.batch_size)
        self.bytes = batches * graph_bytes(self._build, objective, flat)
        self.kept = self.bytes <= memory
        self._graphs: list[OutputGraph] = list(self._build()) if self.kept else []

    def __iter__(self) -> Iterator[OutputGraph]:
        """Yield the graph of each batch."""
        yield from self._graphs if self.kept else self._build()

    def release(self) -> None:
        """Drop the kept graphs; they are built again for each product from now on."""
        self.kept = False
        self._graphs = []

    def _build(self) -> Iterator[OutputGraph]:
        for number, (outputs, targets) in enumerate(self.objective.output_terms(self.flat)):
            if not isinstance(outputs, Tensor) or not outputs.requires_grad:
                raise ModelError(
                    "The model's output cannot be linearized.",
                    expected="one tensor that depends on the weights",
                    got=type(outputs).__name__ if not isinstance(outputs, Tensor) else "one that does not",
                    fix="Use Hessian, which needs the loss alone, or wrap the model so that it returns its scores.",
                )
            dual = torch.zeros_like(outputs, requires_grad=True)
            pulled = torch.autograd.grad(outputs, self.flat, dual, create_graph=True)[0]
            through = self._curvature(number, outputs.detach(), targets)
            yield OutputGraph(self.flat, outputs, dual, pulled, through)
