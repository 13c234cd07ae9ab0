"""What is said of work that ended early, and a Ctrl-C held back until a change is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class ConvergenceWarning(UserWarning):
    """An iteration stopped before its tolerance was met; what it returned says how far it came."""


class InterruptedWarning(UserWarning):
    """Ctrl-C ended the work early; what it returned is from the part that was done, and its ``complete`` is False."""


@contextmanager
def held_back() -> Iterator[None]:
    """Hold a Ctrl-C back until the block is done; it then goes to the handler that was there before.

    For the few places where an interrupt would leave something half changed. Outside the main thread there is none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[Any, ...]] = []
    before = signal.signal(signal.SIGINT, lambda *signalled: caught.append(signalled))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught and callable(before):
            before(*caught[0])
