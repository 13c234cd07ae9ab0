"""Ctrl-C and SIGTERM held back until a step is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Within the block, the first SIGINT or SIGTERM only sets :attr:`requested`; a second SIGINT stops at once.

    A signal in the middle of an optimizer step would leave half of the weights updated, and a resumed run could not be
    bit-identical. Outside the main thread signals cannot be caught, and nothing is installed.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = number

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the earlier handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def raise_requested(self) -> None:
        """Raise what the signal asked for: KeyboardInterrupt, or SystemExit(143) for SIGTERM."""
        if self.requested == signal.SIGTERM:
            raise SystemExit(143)
        raise KeyboardInterrupt


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM do within the block what Ctrl-C does, so that the same is kept, and then leave with 143.

    Outside the main thread signals cannot be caught, and nothing is installed.

    Raises:
        SystemExit: With 143, after SIGTERM.

    Example:
        >>> kept = []
        >>> try:
        ...     with sigterm_as_interrupt():
        ...         try:
        ...             signal.raise_signal(signal.SIGTERM)
        ...         finally:
        ...             kept.append("what there was")
        ... except SystemExit as error:
        ...     print(error.code, kept)
        143 ['what there was']
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal heeded
        if not heeded:  # another one finds the work of keeping under way
            heeded = True
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    except KeyboardInterrupt:
        if not heeded:
            raise
        raise SystemExit(143) from None
    finally:
        signal.signal(signal.SIGTERM, before)
