"""Ways to compute the loss at points of a line or a plane: all exact, up to rounding; which is fastest depends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from landscape.errors import ModelError
from landscape.objective import Objective
from landscape.scores import cross_entropy_sum, score_sum
from landscape.surface.graphed import GraphedEngine
from landscape.surface.single import FoldedEngine, LargeFoldedEngine, Moves, PlainEngine, Points

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
        self.objective, self._moves = objective, Moves(objective, vectors, center)
        self._call = objective.substitution(objective.replica()[1])
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
        loss /= self.objective.examples
        for k, point in enumerate(points):
            if not self._moves.finite(point):  # other kernels make NaN of infinity where these make 0, or the reverse
                loss[k], accuracy[k] = self._alone(self._points[k])
        return loss[: len(points)], accuracy[: len(points)]

    def _alone(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate one point as the plain engine does."""
        named = self.objective.layout.named(weights)
        with torch.no_grad():
            return self.objective.means(lambda inputs: self._call(named, inputs), self.objective.batches())

    def _one(self, weights: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self._call(self.objective.layout.named(weights), inputs)
        by_class = self._by_class and outputs.ndim == 2 and outputs.dtype in (torch.float32, torch.float64)
        total = (cross_entropy_sum if by_class else self.objective.batch_sum)(outputs, targets).double()
        score, self._labels = score_sum(outputs, targets, self.objective.metric)
        return total, torch.zeros_like(total) + score


ENGINES: dict[str, type[PlainEngine] | type[FoldedEngine] | type[StackedEngine] | type[GraphedEngine]] = {
    "plain": PlainEngine,
    "folded": FoldedEngine,
    "folded_large": LargeFoldedEngine,
    "stacked": StackedEngine,
    "graphed": GraphedEngine,
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
