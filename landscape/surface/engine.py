"""The loop over the points of a line or a surface."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from landscape.objective import Objective
from landscape.progress import Progress
from landscape.surface.results import DONE, MISSING, NON_FINITE
from landscape.surface.store import PointStore


class PlainEngine:
    """One point at a time: a copy, two vector operations and a forward pass.

    A point is always computed from the center, never from its neighbor, so nothing adds up along the way. A coordinate
    of 0 adds nothing at all: the center is the weights, bit for bit.

    Args:
        objective: What is evaluated.
        vectors: The directions, (P,) each.
        center: (P,), or None for the model's present weights.
    """

    def __init__(self, objective: Objective, vectors: Sequence[Tensor], *, center: Tensor | None = None) -> None:
        self.objective = objective
        self.center = objective.weights() if center is None else objective.check_vector(center)
        self.vectors = [objective.check_vector(vector) for vector in vectors]
        self.point = torch.empty_like(self.center)
        objective.refresh()

    def __call__(self, coordinates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Evaluate one point: its coordinates to mean loss and accuracy, 0-d float64 tensors on the device."""
        self.point.copy_(self.center)
        for coordinate, vector in zip(coordinates, self.vectors, strict=True):
            if coordinate != 0.0:
                self.point.add_(vector, alpha=coordinate)
        return self.objective.evaluate_at(self.point)


@dataclass
class Field:
    """The values of all points of a grid, in flat order, as far as they are known.

    Args:
        count: How many points there are.
    """

    count: int
    loss: np.ndarray = field(init=False)
    accuracy: np.ndarray = field(init=False)
    status: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.loss, self.accuracy = np.full(self.count, np.nan), np.full(self.count, np.nan)
        self.status = np.full(self.count, MISSING, dtype=np.uint8)

    def set(self, indices: Sequence[int] | np.ndarray, loss: np.ndarray, accuracy: np.ndarray) -> None:
        """Enter some points."""
        self.loss[indices], self.accuracy[indices] = loss, accuracy
        self.status[indices] = np.where(np.isfinite(loss), DONE, NON_FINITE)


class Collector:
    """Takes values from the device in blocks, and passes them on to the field, the store and the progress bar.

    Args:
        field: Where values are entered.
        store: Where they are kept, or None.
        bar: Counts them.
        on_block: Called after each block but the last.
        interval: Seconds between blocks.
    """

    def __init__(
        self,
        field: Field,
        store: PointStore | None,
        bar: Progress,
        on_block: Callable[[], None] | None,
        interval: float,
    ) -> None:
        self.field, self.store, self.bar, self.on_block, self.interval = field, store, bar, on_block, interval
        self._pending: list[tuple[int, Tensor, Tensor]] = []
        self._last = time.monotonic()

    def run(self, engine: PlainEngine, coordinates: Sequence[Sequence[float]], order: Iterable[int]) -> None:
        """Evaluate points in order. What is finished is kept, also after an exception or Ctrl-C."""
        try:
            for index in order:
                self._pending.append((index, *engine(coordinates[index])))
                if time.monotonic() - self._last >= self.interval:
                    self._flush()
                    if self.on_block is not None:
                        self.on_block()
                    self._last = time.monotonic()
        finally:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        indices = [index for index, _, _ in self._pending]
        values = torch.stack([torch.stack(pair) for _, *pair in self._pending], dim=1).cpu().numpy()
        if self.store is not None:
            self.store.append(indices, values[0], values[1])
        self.field.set(indices, values[0], values[1])
        self._pending.clear()
        self.bar.update(len(indices))
