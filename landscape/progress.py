"""Progress bars that suit where they are seen: a terminal, a live notebook, or a log."""

from __future__ import annotations

import os
import sys
import threading
import time
from html import escape
from types import TracebackType
from typing import Any, Protocol, Self


class Progress(Protocol):
    """What :func:`progress_bar` returns: a context manager that counts."""

    def update(self, n: int = 1) -> Any:
        """Count ``n`` more units."""
        ...

    def set_postfix(self, **values: Any) -> Any:
        """Show some named values behind the bar."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None, /
    ) -> Any: ...


class _LineProgress:
    """Plain lines on stdout, at most one every ``interval`` seconds: for logs and for notebooks run headless."""

    def __init__(self, total: int, desc: str, unit: str, initial: int = 0, interval: float = 10.0) -> None:
        self.total, self.desc, self.unit, self.interval = total, desc, unit, interval
        self.done, self.postfix = initial, ""
        self.start = self.last = time.monotonic()
        self.printed = False

    def update(self, n: int = 1) -> None:
        self.done += n
        if time.monotonic() - self.last >= self.interval:
            self._print()

    def set_postfix(self, **values: Any) -> None:
        self.postfix = ", ".join(f"{key}={value}" for key, value in values.items())

    def _print(self) -> None:
        self.last, self.printed = time.monotonic(), True
        tail = f", {self.postfix}" if self.postfix else ""
        print(f"{self.desc}: {self.done}/{self.total} {self.unit}, {self.last - self.start:.0f} s{tail}", flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self.printed and kind is None:
            self._print()


class _Silent(_LineProgress):
    """Counts and shows nothing."""

    def _print(self) -> None:
        self.last = time.monotonic()


class _BarProgress:
    """A tqdm bar that is drawn at tqdm's own pace, also when ``set_postfix`` is called at every step."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def update(self, n: int = 1) -> None:
        self.bar.update(n)

    def set_postfix(self, **values: Any) -> None:
        self.bar.set_postfix(values, refresh=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.bar.close()


class _PageProgress:
    """A bar in a live notebook, as HTML: it is still there after the page was reloaded, and asks the page for nothing.

    tqdm's own is a widget: one that is gone (the bar of an epoch) is "Error displaying widget" after a reload. Bars
    within a bar share its place, and leave none of their own.
    """

    _open = threading.local()

    def __init__(self, total: int, desc: str, unit: str, initial: int = 0, leave: bool = True) -> None:
        self.total, self.desc, self.unit, self.leave = total, desc, unit, leave
        self.done, self.first, self.postfix = initial, initial, ""
        self.start, self.drawn = time.monotonic(), 0.0
        self._bars: list[_PageProgress] = self._open.__dict__.setdefault("bars", [])
        self._place: Any = None

    def __enter__(self) -> Self:
        self._bars.append(self)
        if self._bars[0] is self:
            from IPython.display import HTML, display

            self._place = display(HTML(self._line()), display_id=True)
        else:
            self._draw()
        return self

    def update(self, n: int = 1) -> None:
        self.done += n
        if time.monotonic() - self.drawn > 0.2:
            self._draw()

    def set_postfix(self, **values: Any) -> None:
        self.postfix = ", ".join(f"{key}={value}" for key, value in values.items())

    def _line(self) -> str:
        passed, new = time.monotonic() - self.start, self.done - self.first
        left = (
            f", about {passed * (self.total - self.done) / new:.0f} s left"
            if new > 0 and self.done < self.total
            else ""
        )
        tail = f", {self.postfix}" if self.postfix else ""
        words = f"{self.desc}: {self.done}/{self.total} {self.unit}, {passed:.0f} s{left}{tail}"
        bar = f"<progress value='{self.done}' max='{max(self.total, 1)}' style='width:12em;vertical-align:middle'>"
        return f"<div style='font-size:90%'>{bar}</progress> {escape(words)}</div>"

    def _draw(self) -> None:
        from IPython.display import HTML

        self.drawn = time.monotonic()
        if self._bars and (place := self._bars[0]._place) is not None:
            place.update(HTML("".join(bar._line() for bar in self._bars)))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        from IPython.display import HTML

        self._bars.remove(self)
        if self._place is None:
            self._draw()
        else:
            self._place.update(HTML(self._line() if self.leave else ""))


def _in_kernel() -> bool:
    """Whether this process is a Jupyter kernel, live or headless."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def progress_bar(
    total: int, *, desc: str, unit: str, enabled: bool = True, initial: int = 0, leave: bool = True
) -> Progress:
    """Make a progress bar: tqdm in a terminal, HTML in a live notebook, plain lines on stdout elsewhere.

    Under papermill and in logs, tqdm's carriage returns on stderr would become red blocks; so a line is printed at
    most every ten seconds instead, and none for what is quicker.

    Args:
        total: How many units there are.
        desc: What is being done, a few words.
        unit: What is counted ("epoch", "point").
        enabled: False shows nothing.
        initial: Units already done, for resumed work.
        leave: Whether the finished bar stays on the screen.

    Returns:
        A context manager with ``update(n)`` and ``set_postfix(**values)``.

    Example:
        >>> with progress_bar(2, desc="points", unit="point", enabled=False) as bar:
        ...     bar.update()
    """
    if not enabled:
        return _Silent(total, desc, unit, initial)
    kernel = _in_kernel()
    if kernel and "JPY_SESSION_NAME" in os.environ:
        return _PageProgress(total, desc, unit, initial, leave)
    if kernel or sys.stderr is None or not sys.stderr.isatty():
        return _LineProgress(total, desc, unit, initial)
    from tqdm import tqdm

    return _BarProgress(tqdm(total=total, desc=desc, unit=unit, initial=initial, leave=leave, dynamic_ncols=True))
