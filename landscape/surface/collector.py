"""Points handed out to workers, and values taken in: for the field, the store, the progress bar and the caller."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from landscape.objective import Objective
from landscape.progress import Progress
from landscape.surface.engines import Engine, Points
from landscape.surface.results import DONE, MISSING, NON_FINITE
from landscape.surface.store import PointStore

_PATIENCE = 0.1  # seconds between looks at Ctrl-C
Block = tuple[list[int], Tensor, Tensor]
Done = queue.SimpleQueue[Block | BaseException]


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

    def run(self, engine: Engine, coordinates: Points, order: Sequence[int], *, workers: int) -> None:
        """Evaluate points in order. What is finished is kept, also after an exception or Ctrl-C.

        Args:
            engine: Evaluates them.
            coordinates: Of all points.
            order: Which points, and which first.
            workers: How many at a time, each in a thread of one core; 0 is this thread with all of torch's.
        """
        blocks = [list(order[k : k + engine.block]) for k in range(0, len(order), engine.block)]
        done: Done = queue.SimpleQueue()
        found = (
            _in_threads(engine, coordinates, blocks, workers, done) if workers else _here(engine, coordinates, blocks)
        )
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
            self._pending += _left(done)
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


def _in_threads(
    engine: Engine, coordinates: Points, blocks: list[list[int]], workers: int, done: Done
) -> Generator[Block, None, None]:
    """Evaluate blocks in threads with an engine and one core each, and yield them as they are finished."""
    waiting: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    for block in blocks:
        waiting.put(block)
    stop = threading.Event()

    casting = {kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")}

    def work(own: Engine) -> None:
        torch.set_num_threads(1)  # of this thread
        for kind, (enabled, dtype) in casting.items():  # what the caller set for its own thread holds here as well
            torch.set_autocast_enabled(kind, enabled)
            torch.set_autocast_dtype(kind, dtype)
        try:
            while not stop.is_set():
                block = waiting.get_nowait()
                done.put((block, *own.evaluate([coordinates[k] for k in block])))
        except queue.Empty:
            pass
        except BaseException as error:
            done.put(error)

    before = torch.get_num_threads()
    engines = [engine, *(engine.twin() for _ in range(min(workers, len(blocks)) - 1))]
    threads = [threading.Thread(target=work, args=(own,), daemon=True) for own in engines]
    try:
        for thread in threads:
            thread.start()
        for _ in blocks:
            yield _next(done)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        torch.set_num_threads(before)


def _left(done: Done) -> Iterator[Block]:
    """What was finished after somebody stopped listening."""
    while not done.empty():
        found = done.get()
        if not isinstance(found, BaseException):
            yield found


def _next(done: Done) -> Block:
    while True:
        try:
            found = done.get(timeout=_PATIENCE)  # a wait without a limit would not see Ctrl-C
        except queue.Empty:
            continue
        if isinstance(found, BaseException):
            raise found
        return found
