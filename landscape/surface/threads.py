"""Points handed out to threads of this process, each with one core."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from landscape.surface.engines import Engine
from landscape.surface.single import Points

_PATIENCE = 0.1  # seconds between looks at Ctrl-C
Block = tuple[list[int], Tensor, Tensor]
Done = queue.SimpleQueue[Block | BaseException]
Casting = dict[str, tuple[bool, torch.dtype]]


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute with one thread inside, as workers do; nothing where it is not the CPU that computes."""
    before = torch.get_num_threads()
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        yield
    finally:
        if device.type == "cpu":
            torch.set_num_threads(before)


def current_casting() -> Casting:
    """Return what autocast does in this thread, for CPU and CUDA."""
    return {kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")}


def cast_as(casting: Casting) -> None:
    """Make autocast do in this thread what it does in another."""
    for kind, (enabled, dtype) in casting.items():
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def in_threads(
    engine: Engine, coordinates: Points, blocks: list[list[int]], workers: int, done: Done
) -> Generator[Block, None, None]:
    """Evaluate blocks in threads with an engine and one core each, and yield them as they are finished."""
    waiting: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    for block in blocks:
        waiting.put(block)
    stop = threading.Event()

    casting = current_casting()

    def work(own: Engine) -> None:
        torch.set_num_threads(1)  # of this thread
        cast_as(casting)
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


def left(done: Done) -> Iterator[Block]:
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
