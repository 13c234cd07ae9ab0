"""One point at a time: as the model is, or with its normalization folded into the convolutions."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.errors import ModelError
from landscape.folding import FoldedModel, fused_available
from landscape.objective import Objective

Points = Sequence[Sequence[float]]
_ROOM = 2**28  # bytes that patches may take, which are many times the images


class Moves:
    """Points as weights: center plus coordinates times directions, always from the center itself.

    A coordinate of 0 adds nothing at all: the center is the weights, bit for bit.
    """

    def __init__(self, objective: Objective, vectors: Sequence[Tensor], center: Tensor | None) -> None:
        self.center = objective.weights() if center is None else objective.check_vector(center)
        self.vectors = [objective.check_vector(vector) for vector in vectors]
        sizes = torch.stack([part.abs().amax() for part in (self.center, *self.vectors)]).double()
        self._sizes, self._most = sizes.tolist(), torch.finfo(objective.dtype).max

    def finite(self, coordinates: Sequence[float]) -> bool:
        """Whether all weights of a point are finite, without a look at them: they may be so where this is False."""
        terms = zip(self._sizes, (1.0, *coordinates), strict=True)
        return sum(size * abs(c) for size, c in terms if c != 0.0) < self._most

    def to(self, point: Tensor, coordinates: Sequence[float]) -> None:
        """Write the weights of a point, (P,)."""
        point.copy_(self.center)
        for coordinate, vector in zip(coordinates, self.vectors, strict=True):
            if coordinate != 0.0:
                point.add_(vector, alpha=coordinate)

    def all_to(self, rows: Tensor, points: Points) -> None:
        """Write the weights of K points into K rows, (K, P)."""
        columns = torch.tensor(points, dtype=rows.dtype).to(rows.device).unbind(1)
        rows.copy_(self.center.expand_as(rows))
        for column, vector in zip(columns, self.vectors, strict=True):
            rows.addcmul_(column.unsqueeze(1), vector)


class SingleEngine(ABC):
    """One point at a time: go there, and evaluate."""

    block = 1

    @abstractmethod
    def move(self, coordinates: Sequence[float]) -> None:
        """Go to a point."""

    @abstractmethod
    def value(self) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy there, 0-d float64 tensors on the device that nothing overwrites."""

    def __call__(self, coordinates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Evaluate one point: its coordinates to mean loss and accuracy, 0-d float64 tensors on the device."""
        with torch.no_grad():
            self.move(coordinates)
            return self.value()

    def evaluate(self, points: Points) -> tuple[Tensor, Tensor]:
        """Evaluate points one after the other."""
        loss, accuracy = zip(*map(self, points), strict=True)
        return torch.stack(loss), torch.stack(accuracy)


class PlainEngine(SingleEngine):
    """One point at a time: a copy, two vector operations and a forward pass.

    Args:
        objective: What is evaluated.
        vectors: The directions, (P,) each.
        center: (P,), or None for the model's present weights.
    """

    name = "plain"

    def __init__(self, objective: Objective, vectors: Sequence[Tensor], *, center: Tensor | None = None) -> None:
        self.objective, self._moves = objective, Moves(objective, vectors, center)
        self._point = torch.empty_like(self._moves.center)
        objective.refresh()

    def twin(self) -> PlainEngine:
        """Return the same engine with buffers of its own."""
        return PlainEngine(self.objective.twin(), self._moves.vectors, center=self._moves.center)

    def move(self, coordinates: Sequence[float]) -> None:
        """Go to a point."""
        self._moves.to(self._point, coordinates)

    def value(self) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy there, 0-d float64 tensors on the device."""
        return self.objective.evaluate_at(self._point)


class FoldedEngine(SingleEngine):
    """One point at a time, with normalization folded into the convolutions, in batches of 64 that stay in the cache.

    Args:
        objective: What is evaluated.
        vectors: The directions, (P,) each.
        center: (P,), or None for the model's present weights.

    Raises:
        ModelError: The model's forward cannot be rewritten, or holds nothing to fold.
    """

    name, examples = "folded", 64
    _finite = True

    def __init__(self, objective: Objective, vectors: Sequence[Tensor], *, center: Tensor | None = None) -> None:
        if objective.writes_inputs:
            raise ModelError("The model works in place on its inputs.", fix="Use engine='plain'.")
        self.objective, self._moves = objective, Moves(objective, vectors, center)
        self._fused, self._patches = fused_available(objective.device, objective.dtype), True
        self._flat, self._model = self._build()
        one = next(objective.batches())[0][:1]
        if self._model.prepare(one).nbytes * objective.examples > _ROOM:
            self._patches = False
            self._flat, self._model = self._build()
        if self._fused and not self._runs(one):  # a model that views its images as contiguous ones
            self._fused = False
            self._flat, self._model = self._build()
        size = min(objective.batch_size, self.examples) if objective.device.type == "cpu" else objective.batch_size
        self._batches: list[tuple[Tensor, Tensor]] = []
        for inputs, targets in objective.batches():
            self._batches += zip(self._model.prepare(inputs).split(size), targets.split(size), strict=True)
        self._model.most = float(torch.stack([inputs.abs().amax() for inputs, _ in self._batches]).amax())  # or NaN

    def _build(self) -> tuple[Tensor, FoldedModel]:
        flat, replica = self.objective.replica()
        return flat, FoldedModel(replica, fused=self._fused, patches=self._patches)

    def _runs(self, one: Tensor) -> bool:
        try:
            with torch.no_grad():
                self._model(self._model.prepare(one))
        except Exception:  # whatever oneDNN says of shapes and kinds
            return False
        return True

    def twin(self) -> FoldedEngine:
        """Return the same engine with buffers of its own; the data is shared."""
        other = object.__new__(type(self))
        other.objective, other._moves, other._batches = self.objective, self._moves, self._batches
        other._fused, other._patches = self._fused, self._patches
        other._flat, other._model = other._build()
        other._model.most = self._model.most
        return other

    def move(self, coordinates: Sequence[float]) -> None:
        """Go to a point."""
        self._moves.to(self._flat, coordinates)
        self._finite = self._moves.finite(coordinates)

    def value(self) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy there, 0-d float64 tensors on the device."""
        if self._finite or not self._fused:
            self._model.refresh()
            found = self.objective.means(self._model, self._batches)
            if not self._model.doubtful:
                return found
        return self.objective.means(self._model.replica, self.objective.batches())


class LargeFoldedEngine(FoldedEngine):
    """The same in the objective's own batches, for networks whose activations are small."""

    name, examples = "folded_large", sys.maxsize
