"""Long work behind a button: in a thread with progress and cancel, or in the foreground with plain lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from html import escape
from typing import Any

from landscape.errors import ConfigError
from landscape.widgets.mode import Mode, display_mode

Report = Callable[..., None]
"""``progress(done, total, text="")``: how far the work is."""


class Job:
    """Work that can report how far it is and can be stopped.

    Args:
        body: ``body(progress, cancelled) -> result``. It calls ``progress(done, total, text="")`` now and then, and
            returns early once ``cancelled()`` is true.
        name: What is being done, a few words.

    Attributes:
        state: "idle", "running", "done", "cancelled" or "failed".
        result: What the body returned; None before.
        error: The exception of a failed body.
        message: The latest progress in words.

    Example:
        >>> job = Job(lambda progress, cancelled: sum(range(4)), name="adding")
        >>> job.run(quiet=True), job.state
        (6, 'done')
    """

    def __init__(self, body: Callable[[Report, Callable[[], bool]], Any], *, name: str = "work") -> None:
        self.body, self.name = body, name
        self.state, self.message = "idle", f"{name}: not started"
        self.result: Any = None
        self.error: BaseException | None = None
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None
        self._done, self._total, self._begun, self._printed = 0.0, 1.0, 0.0, 0
        self._bar: Any = None
        self._line: Any = None
        self._buttons: tuple[Any, Any] | None = None

    def run(self, *, quiet: bool = False) -> Any:
        """Do the work here and now.

        Args:
            quiet: True prints nothing; else at most four lines on stdout.

        Returns:
            The body's result.

        Raises:
            ConfigError: The job is already running.
            Exception: Whatever the body raised.
        """
        self._begin()
        self._work(lambda: None if quiet else self._print())
        if self.error is not None:
            raise self.error
        return self.result

    def start(self) -> None:
        """Begin the work in a thread.

        Raises:
            ConfigError: The job is already running.
        """
        self._begin()
        self._thread = threading.Thread(target=self._work, args=(self._paint,), daemon=True, name=f"job {self.name}")
        self._thread.start()

    def cancel(self) -> None:
        """Ask the work to stop; it does so at its next look at ``cancelled()``."""
        self._cancel.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a started job.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Returns:
            Whether the work has ended.
        """
        if self._thread is not None:
            self._thread.join(timeout)
        return self.state != "running"

    def _begin(self) -> None:
        if self.state == "running":
            raise ConfigError(f"The job {self.name!r} is already running.", fix="Wait for it, or cancel it first.")
        self._cancel.clear()
        self.result, self.error = None, None
        self.state, self._begun, self._printed = "running", time.perf_counter(), 0
        self._done, self._total = 0.0, 1.0

    def _work(self, paint: Callable[[], None]) -> None:
        def progress(done: float, total: float, text: str = "") -> None:
            self._done, self._total = float(done), max(float(total), 1e-12)
            self.message = f"{self.name}: {done:g}/{total:g}{', ' + text if text else ''}, {self._seconds():.1f} s"
            paint()

        try:
            self.result = self.body(progress, self._cancel.is_set)
            self.state = "cancelled" if self._cancel.is_set() else "done"
            self.message = f"{self.name}: {self.state} after {self._seconds():.1f} s"
        except Exception as error:
            self.error, self.state = error, "failed"
            self.message = f"{self.name}: {type(error).__name__}: {error}"
        self._printed = 0
        paint()

    def _seconds(self) -> float:
        return time.perf_counter() - self._begun

    def _print(self) -> None:
        """Print at a third, two thirds and the end of the work."""
        stage = int(3 * self._done / self._total)
        if self.state == "running" and (stage <= self._printed or stage >= 3):
            return
        self._printed = stage
        print(self.message, flush=True)

    def _paint(self) -> None:
        if self._bar is None:
            return
        self._bar.value = self._done / self._total
        role = "alert" if self.state == "failed" else "status"
        self._line.value = f"<span role='{role}'>{escape(self.message)}</span>"
        if self._buttons is not None:
            self._buttons[0].disabled = self.state == "running"
            self._buttons[1].disabled = self.state != "running"

    def widget(self) -> Any:
        """Make the live view: Start and Cancel, a bar, a line in words.

        Returns:
            An ipywidgets box.
        """
        import ipywidgets

        start = ipywidgets.Button(description="Start", button_style="primary", tooltip=self.name)
        cancel = ipywidgets.Button(description="Cancel", disabled=True)
        self._bar = ipywidgets.FloatProgress(min=0.0, max=1.0)
        self._line = ipywidgets.HTML(escape(self.message))
        self._buttons = (start, cancel)
        start.on_click(lambda _: self._started())
        cancel.on_click(lambda _: self.cancel())
        return ipywidgets.HBox([start, cancel, self._bar, self._line])

    def _started(self) -> None:
        if self.state != "running":
            self.start()
            self._paint()

    def show(self, mode: Mode = "auto") -> None:
        """Show the live view, or do the work at once where nobody is there to press a button.

        Args:
            mode: "live", "static" or "auto"; see :func:`landscape.widgets.display_mode`.

        Raises:
            ConfigError: The mode is unknown.
            Exception: In static mode, whatever the body raised.
        """
        if display_mode(mode) == "live":
            from IPython.display import display

            display(self.widget())
        else:
            self.run()
