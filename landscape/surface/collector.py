"""Points handed out to workers, and values taken in: for the field, the store, the progress bar and the caller."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from landscape.objective import Objective
from landscape.progress import Progress
from landscape.surface.engines import Engine
from landscape.surface.remote import Remote
from landscape.surface.results import DONE, MISSING, NON_FINITE
from landscape.surface.single import Points
from landscape.surface.store import PointStore
from landscape.surface.threads import Block, Done, in_threads, left


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
        self._pending: list[Block] = []
        self._last = time.monotonic()

    def enter(self, indices: list[int], objective: Objective) -> None:
        """Enter the objective's own value for points that are its center."""
        loss, accuracy = objective.evaluate_tensors()
        self._pending.append((indices, loss.expand(len(indices)), accuracy.expand(len(indices))))

    def run(
        self,
        engine: Engine,
        coordinates: Points,
        order: Sequence[int],
        *,
        workers: int,
        remote: Remote | None = None,
    ) -> None:
        """Evaluate points in order. What is finished is kept, also after an exception or Ctrl-C.

        Args:
            engine: Evaluates them.
            coordinates: Of all points.
            order: Which points, and which first.
            workers: How many at a time, each in a thread of one core; 0 is this thread with all of torch's.
            remote: Who evaluates them instead, elsewhere.
        """
        blocks = [list(order[k : k + engine.block]) for k in range(0, len(order), engine.block)]
        done: Done = queue.SimpleQueue()
        if remote is not None:
            found = remote.evaluate(coordinates, blocks, done)
        elif workers:
            found = in_threads(engine, coordinates, blocks, workers, done)
        else:
            found = _here(engine, coordinates, blocks)
        try:
            for block in found:
                self._pending.append(block)
                if time.monotonic() - self._last >= self.interval:
                    self._flush()
                    if self.on_block is not None:
                        self.on_block()
                    self._last = time.monotonic()
        finally:
            found.close()
            self._pending += left(done)
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        indices = [index for block, _, _ in self._pending for index in block]
        loss = torch.cat([block[1] for block in self._pending]).cpu().numpy()
        accuracy = torch.cat([block[2] for block in self._pending]).cpu().numpy()
        self._pending.clear()  # now: a store that fails is not to be written to again
        if self.store is not None:
            self.store.append(indices, loss, accuracy)
        self.field.set(indices, loss, accuracy)
        self.bar.update(len(indices))


def _here(engine: Engine, coordinates: Points, blocks: list[list[int]]) -> Generator[Block, None, None]:
    for block in blocks:
        yield block, *engine.evaluate([coordinates[k] for k in block])
