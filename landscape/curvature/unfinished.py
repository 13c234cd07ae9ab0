"""What is said of work that ended early, and a Ctrl-C held back until a change is whole."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar


class ConvergenceWarning(UserWarning):
    """An iteration stopped before its tolerance was met; what it returned says how far it came."""


class InterruptedWarning(UserWarning):
    """Ctrl-C ended the work early; what it returned is from the part that was done, and its ``complete`` is False."""


class _Interruptible(Protocol):
    @property
    def complete(self) -> bool: ...


T = TypeVar("T", bound=_Interruptible)


def whole(ask: Callable[[], T]) -> T:
    """Ask a curvature matrix something of which a part is no use; Ctrl-C then ends the work that it belongs to.

    Args:
        ask: What gives the answer.

    Raises:
        KeyboardInterrupt: Ctrl-C cut the answer short.

    Example:
        >>> from landscape.curvature import Estimate
        >>> print(whole(lambda: Estimate(value=2.0, stderr=0.25, matvecs=10)))
        2 ± 0.25
    """
    if threading.current_thread() is threading.main_thread():  # filters are the whole process's
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InterruptedWarning)
            answer = ask()
    else:
        answer = ask()
    if not answer.complete:
        raise KeyboardInterrupt("Interrupted; what there was by then is no whole answer.")
    return answer


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
