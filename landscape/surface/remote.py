"""Points handed out to an executor: other processes, of this machine or of many."""

from __future__ import annotations

import copy
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.errors import ModelError, first_line
from landscape.objective import Objective
from landscape.seeding import preserved_rng
from landscape.surface.engines import build_engine
from landscape.surface.single import Points
from landscape.surface.threads import Block, Casting, Done, cast_as, current_casting, one_thread

_PATIENCE = 0.1  # seconds between looks at Ctrl-C
_SHARES = 4  # tasks for each worker: few, since each carries the model and its data
Values = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Remote:
    """An executor, and what it evaluates.

    Args:
        executor: Such as a ProcessPoolExecutor, or Dask's ``client.get_executor()``.
        engine: The engine's name.
        objective: What is evaluated; a copy of it, as it is at the beginning, is sent with each task.
        vectors: The directions, (P,) each.
    """

    executor: Executor
    engine: str
    objective: Objective
    vectors: Sequence[Tensor]

    def evaluate(self, coordinates: Points, blocks: list[list[int]], done: Done) -> Generator[Block, None, None]:
        """Hand out all blocks, and yield them as they are finished.

        Args:
            coordinates: Of all points.
            blocks: Indices of points.
            done: Gets what was finished after somebody stopped listening.

        Raises:
            ModelError: The model, its data or its loss cannot be copied or sent to another process.
        """
        share = max(1, len(blocks) // (_SHARES * (getattr(self.executor, "_max_workers", None) or os.cpu_count() or 1)))
        shares = [blocks[k : k + share] for k in range(0, len(blocks), share)]
        casting, (objective, vectors) = current_casting(), self._copies()
        waiting: dict[Future[list[Values]], list[list[int]]] = {}
        try:
            for mine in shares:
                points = [[coordinates[k] for k in block] for block in mine]
                task = self.executor.submit(evaluate_blocks, self.engine, objective, vectors, points, casting)
                waiting[task] = mine
            while waiting:
                finished, _ = wait(waiting, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
                for task in finished:
                    yield from _blocks(waiting.pop(task), _result(task))
        finally:
            for task, mine in waiting.items():
                if not task.cancel() and task.done() and task.exception() is None:
                    for block in _blocks(mine, task.result()):
                        done.put(block)

    def _copies(self) -> tuple[Objective, list[Tensor]]:
        """Copy what is sent: on its way to a process a tensor itself would move to memory that both share."""
        try:
            with preserved_rng():
                return copy.deepcopy((self.objective, list(self.vectors)))
        except Exception as error:
            raise _unsendable(error) from error


def evaluate_blocks(
    engine: str, objective: Objective, vectors: Sequence[Tensor], blocks: Sequence[Points], casting: Casting
) -> list[Values]:
    """Evaluate blocks of points, with one core; this is what an executor's worker does.

    Args:
        engine: The engine's name.
        objective: What is evaluated.
        vectors: The directions, (P,) each.
        blocks: Coordinates of points.
        casting: What autocast does where the surface was asked for.

    Returns:
        Losses and accuracies of each block.
    """
    before = current_casting()
    with one_thread(objective.device), preserved_rng(), torch.inference_mode(False):
        cast_as(casting)
        try:
            found = build_engine(engine, objective.twin(), vectors)
            return [(loss.cpu().numpy(), right.cpu().numpy()) for loss, right in map(found.evaluate, blocks)]
        finally:
            cast_as(before)


def _blocks(indices: list[list[int]], values: list[Values]) -> Iterator[Block]:
    for block, (loss, accuracy) in zip(indices, values, strict=True):
        yield block, torch.from_numpy(loss), torch.from_numpy(accuracy)


def _result(task: Future[list[Values]]) -> list[Values]:
    try:
        return task.result()
    except Exception as error:
        if "pickle" not in f"{type(error).__name__} {error}".lower():
            raise
        raise _unsendable(error) from error


def _unsendable(error: Exception) -> ModelError:
    return ModelError(
        "The executor cannot send the objective to its workers.",
        expected="a model, a loss and data that are made of importable classes and functions",
        got=first_line(error),
        fix="Define them at the top level of a module, not in a function, a notebook cell or as a lambda.",
    )
