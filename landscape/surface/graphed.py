"""Points by a CUDA graph: the whole evaluation recorded once, and played again for each point."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.cuda_graph import available, capture
from landscape.errors import ModelError, first_line
from landscape.objective import Objective
from landscape.surface.single import FoldedEngine, PlainEngine, SingleEngine


class GraphedEngine(SingleEngine):
    """One point at a time, launched as a whole: for networks whose kernels are shorter than their launches.

    The folded evaluation is recorded where the model can be folded, else the plain one. Weights are moved outside the
    record, since coordinates differ from point to point.

    Args:
        objective: What is evaluated.
        vectors: The directions, (P,) each.
        center: (P,), or None for the model's present weights.

    Raises:
        ModelError: It is not on a CUDA device, or cannot be recorded.
    """

    name = "graphed"

    def __init__(self, objective: Objective, vectors: Sequence[Tensor], *, center: Tensor | None = None) -> None:
        if not available(objective.device):
            raise ModelError(
                "CUDA graphs need a CUDA device.",
                expected="an objective on a CUDA device",
                got=str(objective.device),
                fix="Use engine='auto' or 'plain', or Objective(..., device='cuda').",
            )
        self.objective, self._vectors, self._center = objective, vectors, center
        self._inner: SingleEngine
        try:
            self._inner = FoldedEngine(objective, vectors, center=center)
        except ModelError:
            self._inner = PlainEngine(objective, vectors, center=center)
        self._inner.move([0.0] * len(vectors))
        try:
            with torch.no_grad():
                self._values, self._replay = capture(self._inner.value, objective.device)
        except RuntimeError as error:
            raise ModelError(
                "The model cannot be recorded as a CUDA graph.",
                got=first_line(error),
                fix="Use engine='auto' or 'plain'.",
            ) from error

    def twin(self) -> GraphedEngine:
        """Return the same engine with buffers of its own."""
        return GraphedEngine(self.objective.twin(), self._vectors, center=self._center)

    def move(self, coordinates: Sequence[float]) -> None:
        """Go to a point."""
        self._inner.move(coordinates)

    def value(self) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy there, 0-d float64 tensors on the device."""
        self._replay()
        loss, accuracy = self._values
        return loss.clone(), accuracy.clone()
