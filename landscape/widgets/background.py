"""Work beside the kernel's own thread: for the newest request only, begun after a short quiet."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable
from typing import Any

from landscape.seeding import generators_left_alone

_LIVE: weakref.WeakSet[Any] = weakref.WeakSet()


def ends_with_interpreter(worker: Any) -> None:
    """Let something that works in a thread be cancelled and waited for before the interpreter ends.

    Args:
        worker: Has ``cancel()`` and ``wait(timeout)``.
    """
    _LIVE.add(worker)


class Background:
    """A thread that works for the newest request and drops the others.

    Args:
        work: ``work(request, superseded)``. It looks at ``superseded()`` now and then, and returns early once that is
            true. It draws nothing from the global generators and raises nothing.
        delay: Seconds of quiet before the work begins: while a slider is dragged, nothing does.

    Example:
        >>> done = []
        >>> background = Background(lambda request, superseded: done.append(request), delay=0.0)
        >>> background.ask(1)
        >>> background.wait(), done
        (True, [1])
    """

    def __init__(self, work: Callable[[Any, Callable[[], bool]], None], *, delay: float = 0.15) -> None:
        self._work, self._delay = work, delay
        self._changed = threading.Condition()
        self._number, self._request, self._pending = 0, None, False
        self._thread: threading.Thread | None = None
        ends_with_interpreter(self)

    def ask(self, request: Any) -> None:
        """Work for this request, and for no earlier one any more."""
        with self._changed:
            self._number, self._request, self._pending = self._number + 1, request, True
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="landscape background")
                self._thread.start()

    def cancel(self) -> None:
        """Drop all requests; work under way ends at its next look."""
        with self._changed:
            self._number, self._pending = self._number + 1, False
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Returns:
            Whether nothing is left.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout)

    def _next(self) -> tuple[int, Any] | None:
        """Take the newest request after a quiet; None, and the thread is gone, where there is none."""
        with self._changed:
            number = -1
            while self._pending and number != self._number:
                number = self._number
                self._changed.wait_for(lambda: self._number != number, self._delay)  # noqa: B023
            if not self._pending:
                self._thread = None
                self._changed.notify_all()
                return None
            self._pending = False
            return number, self._request

    def _run(self) -> None:
        with generators_left_alone():
            while (found := self._next()) is not None:
                number, request = found
                try:
                    self._work(request, lambda: self._number != number)  # noqa: B023
                except BaseException:
                    with self._changed:
                        self._thread = None
                        self._changed.notify_all()
                    raise


@atexit.register
def _end() -> None:
    """End all work before the interpreter takes its modules apart."""
    for one in list(_LIVE):
        one.cancel()
        one.wait(5)
