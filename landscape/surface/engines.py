"""Ways to compute the loss at points of a line or a plane: all exact, up to rounding; which is fastest depends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from landscape.errors import ModelError
from landscape.folding import FoldedModel, fused_available
from landscape.objective import Objective
from landscape.scores import cross_entropy_sum, score_sum

Points = Sequence[Sequence[float]]
_STACKED = 64  # points at once


class Engine(Protocol):
    """Computes mean loss and accuracy at points.

    Attributes:
        name: What provenance calls it.
        block: How many points it takes at once; the last call may have fewer.
    """

    name: str
    block: int

    def evaluate(self, points: Points) -> tuple[Tensor, Tensor]:
        """Return losses and accuracies, (K,) float64 on the device, of K points' coordinates."""
        ...

    def twin(self) -> Engine:
        """Return the same engine with buffers of its own, for another thread."""
        ...


class _Moves:
    """Points as weights: center plus coordinates times directions, always from the center itself.

    A coordinate of 0 adds nothing at all: the center is the weights, bit for bit.
    """

    def __init__(self, objective: Objective, vectors: Sequence[Tensor], center: Tensor | None) -> None:
        self.center = objective.weights() if center is None else objective.check_vector(center)
        self.vectors = [objective.check_vector(vector) for vector in vectors]

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


class PlainEngine:
    """One point at a time: a copy, two vector operations and a forward pass.

    Args:
        objective: What is evaluated.
        vectors: The directions, (P,) each.
        center: (P,), or None for the model's present weights.
    """

    name, block = "plain", 1

    def __init__(self, objective: Objective, vectors: Sequence[Tensor], *, center: Tensor | None = None) -> None:
        self.objective, self._moves = objective, _Moves(objective, vectors, center)
        self._point = torch.empty_like(self._moves.center)
        objective.refresh()

    def twin(self) -> PlainEngine:
        """Return the same engine with buffers of its own."""
        return PlainEngine(self.objective.twin(), self._moves.vectors, center=self._moves.center)

    def __call__(self, coordinates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Evaluate one point: its coordinates to mean loss and accuracy, 0-d float64 tensors on the device."""
        with torch.no_grad():
            self._moves.to(self._point, coordinates)
            return self.objective.evaluate_at(self._point)

    def evaluate(self, points: Points) -> tuple[Tensor, Tensor]:
        """Evaluate points one after the other."""
        loss, accuracy = zip(*map(self, points), strict=True)
        return torch.stack(loss), torch.stack(accuracy)


class FoldedEngine:
    """One point at a time, with normalization folded into the convolutions, in batches of 64 that stay in the cache.

    Args:
        objective: What is evaluated.
        vectors: The directions, (P,) each.
        center: (P,), or None for the model's present weights.

    Raises:
        ModelError: The model's forward cannot be rewritten, or holds nothing to fold.
    """

    name, block, examples = "folded", 1, 64

    def __init__(self, objective: Objective, vectors: Sequence[Tensor], *, center: Tensor | None = None) -> None:
        if objective.writes_inputs:
            raise ModelError("The model works in place on its inputs.", fix="Use engine='plain'.")
        self.objective, self._moves = objective, _Moves(objective, vectors, center)
        self._fused = fused_available(objective.device, objective.dtype)
        self._flat, self._model = self._build()
        if self._fused and not self._runs():  # a model that views its images as contiguous ones
            self._fused = False
            self._flat, self._model = self._build()
        size = min(objective.batch_size, self.examples) if objective.device.type == "cpu" else objective.batch_size
        self._batches: list[tuple[Tensor, Tensor]] = []
        for inputs, targets in objective.batches():
            self._batches += zip(self._laid_out(inputs).split(size), targets.split(size), strict=True)

    def _build(self) -> tuple[Tensor, FoldedModel]:
        flat, replica = self.objective.replica()
        return flat, FoldedModel(replica, fused=self._fused)

    def _runs(self) -> bool:
        inputs, _ = next(self.objective.batches())
        try:
            with torch.no_grad():
                self._model(self._laid_out(inputs[:1]))
        except RuntimeError:
            return False
        return True

    def _laid_out(self, inputs: Tensor) -> Tensor:
        """Images as fused convolutions want them."""
        return inputs.contiguous(memory_format=torch.channels_last) if self._fused and inputs.ndim == 4 else inputs

    def twin(self) -> FoldedEngine:
        """Return the same engine with buffers of its own; the data is shared."""
        other = object.__new__(type(self))
        other.objective, other._moves, other._batches = self.objective, self._moves, self._batches
        other._fused = self._fused
        other._flat, other._model = other._build()
        return other

    def evaluate(self, points: Points) -> tuple[Tensor, Tensor]:
        """Evaluate points one after the other."""
        found = []
        with torch.no_grad():
            for coordinates in points:
                self._moves.to(self._flat, coordinates)
                self._model.refresh()
                found.append(self.objective.means(self._model, self._batches))
        loss, accuracy = zip(*found, strict=True)
        return torch.stack(loss), torch.stack(accuracy)


class LargeFoldedEngine(FoldedEngine):
    """The same in batches of 256, for networks whose activations are small."""

    name, examples = "folded256", 256


class StackedEngine:
    """Many points in one pass, as one more dimension of every weight: for networks where calls cost more than numbers.

    Every pass has the same number of points, so what a point gets does not depend on its neighbors.

    Args:
        objective: What is evaluated.
        vectors: The directions, (P,) each.
        center: (P,), or None for the model's present weights.
    """

    name, block = "stacked", _STACKED

    def __init__(self, objective: Objective, vectors: Sequence[Tensor], *, center: Tensor | None = None) -> None:
        self.objective, self._moves = objective, _Moves(objective, vectors, center)
        self._replica = objective.replica()[1]
        self._points = self._moves.center.repeat(self.block, 1)
        self._labels = 0
        classes = objective.targets
        whole = classes.ndim == 1 and not classes.is_floating_point() and bool((classes >= 0).all())
        self._by_class = whole and objective.loss_fn is F.cross_entropy

    def twin(self) -> StackedEngine:
        """Return the same engine with buffers of its own."""
        return StackedEngine(self.objective, self._moves.vectors, center=self._moves.center)

    def evaluate(self, points: Points) -> tuple[Tensor, Tensor]:
        """Evaluate up to :attr:`block` points at once."""
        loss = torch.zeros(self.block, dtype=torch.float64, device=self.objective.device)
        right, labels = torch.zeros_like(loss), 0
        with torch.no_grad():
            self._moves.all_to(self._points, [*points, *[points[-1]] * (self.block - len(points))])
            for inputs, targets in self.objective.batches():
                sums, hits = vmap(self._one, in_dims=(0, None, None))(self._points, inputs, targets)
                loss += sums
                right += hits
                labels += self._labels
        accuracy = right / labels if labels else torch.full_like(right, float("nan"))
        return (loss / self.objective.examples)[: len(points)], accuracy[: len(points)]

    def _one(self, weights: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        named = self.objective.layout.named(weights)
        outputs = functional_call(self._replica, named, (inputs,))
        by_class = self._by_class and outputs.ndim == 2 and outputs.dtype in (torch.float32, torch.float64)
        total = (cross_entropy_sum if by_class else self.objective.batch_sum)(outputs, targets).double()
        score, self._labels = score_sum(outputs, targets, self.objective.metric)
        return total, torch.zeros_like(total) + score


ENGINES: dict[str, type[PlainEngine] | type[FoldedEngine] | type[StackedEngine]] = {
    "plain": PlainEngine,
    "folded": FoldedEngine,
    "folded256": LargeFoldedEngine,
    "stacked": StackedEngine,
}


def build_engine(name: str, objective: Objective, vectors: Sequence[Tensor]) -> Engine:
    """Build an engine by name.

    Args:
        name: One of ENGINES.
        objective: What is evaluated.
        vectors: The directions, (P,) each.

    Raises:
        ModelError: It cannot evaluate this model.
    """
    if name != "plain" and not objective.fixed_statistics:
        raise ModelError(
            f"The engine {name!r} cannot recompute running statistics.",
            fix="Use engine='plain', or batch_norm='running'.",
        )
    return ENGINES[name](objective, vectors)
