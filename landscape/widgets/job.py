"""Long work behind a button: in a thread with progress, pause and cancel, or in the foreground with plain lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from html import escape
from typing import Any

from landscape.errors import ConfigError
from landscape.seeding import generators_left_alone
from landscape.widgets.background import ends_with_interpreter
from landscape.widgets.mode import Mode, display_mode

Report = Callable[..., None]
"""``progress(done, total, text="")``: how far the work is."""

_UNDER_WAY = ("running", "paused")


class Job:
    """Work that can report how far it is, and can be paused and stopped.

    Args:
        body: ``body(progress, cancelled) -> result``. It calls ``progress(done, total, text="")`` now and then, and
            returns early once ``cancelled()`` is true; while the job is paused, ``cancelled()`` does not return.
        name: What is being done, a few words.
        goes_on: Whether work that was cancelled goes on where it was when it is started again: the button says so.
        said: The result in words, for the last line.
        holds: Whether ``cancelled()`` waits while the job is paused. False where the body looks at ``paused`` itself.

    Attributes:
        state: "idle", "running", "paused", "cancelled", "done" or "failed".
        result: What the body returned; None before.
        error: The exception of a failed body.
        message: The latest progress in words.

    Example:
        >>> job = Job(lambda progress, cancelled: sum(range(4)), name="adding")
        >>> job.run(quiet=True), job.state
        (6, 'done')
    """

    def __init__(
        self,
        body: Callable[[Report, Callable[[], bool]], Any],
        *,
        name: str = "work",
        goes_on: bool = False,
        said: Callable[[Any], str] | None = None,
        holds: bool = True,
    ) -> None:
        self.body, self.name, self.goes_on, self.said, self.holds = body, name, goes_on, said, holds
        self.state, self.message = "idle", f"{name}: not started"
        self.result: Any = None
        self.error: BaseException | None = None
        self._cancel, self._going = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._done, self._total, self._begun, self._printed = 0.0, 1.0, 0.0, 0
        self._first: tuple[float, float] = (0.0, 0.0)  # how far it was, and when, before anything was done
        self._bar: Any = None
        self._line: Any = None
        self._buttons: tuple[Any, Any, Any] | None = None
        ends_with_interpreter(self)

    # What a person does ---------------------------------------------------------------------------------------------

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
        self._thread = threading.Thread(target=self._alone, daemon=True, name=f"job {self.name}")
        self._thread.start()

    def pause(self) -> None:
        """Ask the work to stand still; it does so at its next look at ``cancelled()``."""
        if self.state == "running":
            self.state = "paused"
            self._going.clear()
            self._paint()

    def resume(self) -> None:
        """Let paused work go on."""
        if self.state == "paused":
            self.state = "running"
            self._going.set()
            self._paint()

    def cancel(self) -> None:
        """Ask the work to stop; it does so at its next look at ``cancelled()``."""
        self._cancel.set()
        self._going.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a started job.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Returns:
            Whether the work has ended.
        """
        if self._thread is not None:
            self._thread.join(timeout)
        return self.state not in _UNDER_WAY

    @property
    def paused(self) -> bool:
        """Whether the work shall stand still."""
        return self.state == "paused" and not self._cancel.is_set()

    @property
    def cancelling(self) -> bool:
        """Whether the work shall stop; unlike the body's ``cancelled()`` this never waits."""
        return self._cancel.is_set()

    # The work -------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self.state in _UNDER_WAY:
            raise ConfigError(f"The job {self.name!r} is already running.", fix="Wait for it, or cancel it first.")
        self._cancel.clear()
        self._going.set()
        self.result, self.error = None, None
        self.state, self.message = "running", f"{self.name}: begun"
        self._begun, self._printed = time.perf_counter(), 0
        self._done, self._total, self._first = 0.0, 1.0, (-1.0, 0.0)

    def _alone(self) -> None:
        with generators_left_alone():
            self._work(self._paint)

    def _work(self, paint: Callable[[], None]) -> None:
        def progress(done: float, total: float, text: str = "") -> None:
            self._done, self._total = float(done), max(float(total), 1e-12)
            if self._first[0] in (-1.0, self._done):
                self._first = (self._done, time.perf_counter())
            self.message = f"{self.name}: {done:g} of {total:g}{', ' + text if text else ''}, {self._time()}"
            paint()

        try:
            self.result = self.body(progress, self._cancelled)
            self.state = "cancelled" if self._cancel.is_set() else "done"
            words = f". {self.said(self.result)}" if self.said is not None else ""
            self.message = f"{self.name}: {self.state} after {self._seconds():.1f} s{words}"
        except Exception as error:
            self.error, self.state = error, "failed"
            self.message = f"{self.name}: {type(error).__name__}: {error}"
        self._printed = 0
        paint()

    def _cancelled(self) -> bool:
        if self.holds:
            self._going.wait()
        return self._cancel.is_set()

    def _seconds(self) -> float:
        return time.perf_counter() - self._begun

    def _time(self) -> str:
        """The time passed, and what is left if it goes on like this."""
        done, passed = self._done - self._first[0], time.perf_counter() - self._first[1]
        left = f", about {passed * (self._total - self._done) / done:.0f} s left" if passed > 1 and done > 0 else ""
        return f"{self._seconds():.1f} s{left}"

    def _print(self) -> None:
        """Print at a third, two thirds and the end of the work."""
        stage = int(3 * self._done / self._total)
        if self.state == "running" and (stage <= self._printed or stage >= 3):
            return
        self._printed = stage
        print(self.message, flush=True)

    # What is seen ---------------------------------------------------------------------------------------------------

    def _paint(self) -> None:
        if self._bar is None or self._buttons is None:
            return
        under_way, share = self.state in _UNDER_WAY, min(1.0, self._done / self._total)
        self._bar.value = 1.0 if self.state == "done" else share
        role = "alert" if self.state == "failed" else "status"
        words = f"{self.message} (paused)" if self.state == "paused" else self.message
        self._line.value = f"<span role='{role}'>{escape(words)}</span>"
        start, pause, cancel = self._buttons
        start.disabled, pause.disabled, cancel.disabled = under_way, not under_way, not under_way
        start.description = "Resume" if self.goes_on and self.state in ("cancelled", "failed") else "Start"
        pause.description = "Resume" if self.state == "paused" else "Pause"

    def widget(self) -> Any:
        """Make the live view: Start, Pause and Cancel, a bar, a line in words.

        Returns:
            An ipywidgets box.
        """
        import ipywidgets

        narrow = {"width": "92px"}
        start = ipywidgets.Button(description="Start", button_style="primary", tooltip=self.name, layout=narrow)
        pause = ipywidgets.Button(description="Pause", tooltip="Stand still", disabled=True, layout=narrow)
        cancel = ipywidgets.Button(description="Cancel", tooltip="Stop", disabled=True, layout=narrow)
        self._bar = ipywidgets.FloatProgress(min=0.0, max=1.0, layout={"width": "180px"})
        self._line = ipywidgets.HTML()
        self._buttons = (start, pause, cancel)
        start.on_click(lambda _: self._started())
        pause.on_click(lambda _: self.resume() if self.state == "paused" else self.pause())
        cancel.on_click(lambda _: self.cancel())
        self._paint()
        return ipywidgets.HBox([start, pause, cancel, self._bar, self._line], layout={"flex_flow": "row wrap"})

    def _started(self) -> None:
        if self.state not in _UNDER_WAY:
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
