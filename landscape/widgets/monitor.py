"""Trainings to watch: started, paused, cancelled and taken up again, with their curves while they run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from landscape.errors import DataError, LandscapeError, ProcessError
from landscape.plotting import training_curves
from landscape.plotting.course import course
from landscape.training import Run, RunConfig, train
from landscape.widgets.job import Job, Report
from landscape.widgets.live import figure_widget, repaint
from landscape.widgets.mode import Mode, display_mode
from landscape.widgets.show import bundle, display_bundle
from landscape.widgets.trainer import train_beside

_DRAW_EVERY = 0.5  # seconds between looks at the metrics
_LOOK_EVERY = 0.2  # seconds in which nobody can interrupt the wait for a training


class TrainingMonitor:
    """Train runs one after the other, and watch.

    Live, each training runs in a process of its own, so that the notebook stays free and its random numbers are its
    own. Start begins or goes on; Pause and Cancel save the position first; after a Cancel, also after the kernel was
    restarted, Start (then named Resume) goes on from there, and the weights are in the end the same, bit for bit, as of
    an uninterrupted run. Where nobody is there to press a button the same runs are trained in the foreground.

    Args:
        configs: Label -> settings, or one settings.
        root: Folder of all runs. Default "runs".
        data_root: Folder of the datasets; None or "" is ``data``.
        show: Which metrics are drawn; keys of :data:`landscape.plotting.curves.CURVES`.
        live: What is drawn while it runs: "figure", to hover over, or "image", which costs a page nothing beside its
            other figures.

    Attributes:
        job: The work, with ``state``, ``start()``, ``pause()``, ``resume()``, ``cancel()``, ``wait()``.
        live_figure: The live figure or image, after :meth:`widget`.

    Raises:
        DataError: There are no settings.
    """

    def __init__(
        self,
        configs: RunConfig | Mapping[str, RunConfig],
        *,
        root: str | os.PathLike[str] = "runs",
        data_root: str | os.PathLike[str] | None = None,
        show: Sequence[str] = ("train_loss", "test_error"),
        live: Literal["figure", "image"] = "figure",
    ) -> None:
        named = {configs.optimizer.upper(): configs} if isinstance(configs, RunConfig) else dict(configs)
        if not named:
            raise DataError("There is nothing to train.", expected="at least one run's settings")
        self.configs: dict[str, RunConfig] = named
        self.root, self.data_root, self.metrics, self.live = Path(root), data_root or None, tuple(show), live
        names = ", ".join(named)
        self.job = Job(self._train, name=f"training {names}", goes_on=True, said=self._said, holds=False)
        self.live_figure: Any = None
        self._picture: Any = None
        self._rows: dict[str, int] = {}
        self._drawn = 0.0

    @property
    def runs(self) -> dict[str, Run]:
        """Label to run, of those that have begun."""
        found = {label: Run(self.root / config.folder_name, config) for label, config in self.configs.items()}
        return {label: run for label, run in found.items() if (run.path / "config.json").is_file()}

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Return label to the metrics so far; an empty list where there are none."""
        found: dict[str, list[dict[str, Any]]] = {label: [] for label in self.configs}
        for label, run in self.runs.items():
            with suppress(LandscapeError, OSError):  # a row may be half written
                found[label] = run.metrics()
        return found

    # The work -------------------------------------------------------------------------------------------------------

    def _train(self, progress: Report, cancelled: Callable[[], bool]) -> dict[str, Run]:
        """Train all runs: in the foreground here, in a job's thread in processes."""
        here = self._here()
        epochs = sum(config.epochs for config in self.configs.values())
        before = 0
        for label, config in self.configs.items():
            if cancelled():
                break
            watch = self._watcher(progress, label, before, epochs)
            watch(0)
            if here:
                train(config, root=self.root, data_root=self.data_root, progress=False, stop=lambda: watch(0))  # noqa: B023
            elif self._unfinished(label):
                train_beside(config, root=self.root, data_root=self.data_root, watch=watch, wanted=self._wanted)
            before += config.epochs
        self._draw()
        return self.runs

    def _here(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    def _unfinished(self, label: str) -> bool:
        run = self.runs.get(label)
        return run is None or run.status != "finished"

    def _wanted(self) -> str:
        return "cancel" if self.job.cancelling else "pause" if self.job.paused else "run"

    def _watcher(self, progress: Report, label: str, before: int, epochs: int) -> Callable[[int], Any]:
        """Make what is called every now and then while a run is trained; it never asks to stop."""

        def watch(step: int) -> bool:
            if time.monotonic() - self._drawn > _DRAW_EVERY:
                rows = self._draw()
                done = len(rows[label])
                text = f"{label}, epoch {min(done + 1, self.configs[label].epochs)} of {self.configs[label].epochs}"
                progress(
                    before + done, epochs, f"{text}, step {step}" if step or self._here() else f"{label} is starting"
                )
            return False

        return watch

    def _said(self, runs: Mapping[str, Run]) -> str:
        said = []
        for label, rows in self.rows().items():
            tested = [row for row in rows if row.get("test_error") is not None]
            done = f"{label} {len(rows)} of {self.configs[label].epochs} epochs"
            said.append(f"{done}, test error {tested[-1]['test_error']:.1%}" if tested else done)
        return "; ".join(said) + "."

    def finish(self) -> dict[str, Run]:
        """Wait until all runs are finished; begin, or go on, where nobody did: for what needs their weights.

        A live view keeps showing how far it is. Interrupting the wait leaves the training going, and its buttons free.

        Returns:
            Label to finished run.

        Raises:
            Exception: Whatever the training raised.
            ProcessError: Somebody pressed Cancel.
        """
        while any(map(self._unfinished, self.configs)):
            if self.job.state not in ("running", "paused"):
                if self.live_figure is None:
                    self.job.run()
                    continue
                self.job.start()
            self.job.resume()
            while not self.job.wait(_LOOK_EVERY):
                pass
            if self.job.error is not None:
                raise self.job.error
            if self.job.state == "cancelled":
                raise ProcessError("The training was cancelled.", fix="Press Resume, or run this cell again.")
        return self.runs

    # What is seen ---------------------------------------------------------------------------------------------------

    def _draw(self) -> dict[str, list[dict[str, Any]]]:
        rows = self.rows()
        self._drawn = time.monotonic()
        counts = {label: len(found) for label, found in rows.items()}
        if self.live_figure is not None and counts != self._rows:
            self._rows = counts
            if self.live == "image":
                self.live_figure.value = self._image(rows)
            else:
                fresh = self._course(rows).plain()
                repaint(self.live_figure, self._picture, fresh)
                self._picture = fresh
        return rows

    def _course(self, rows: Mapping[str, Any]) -> Any:
        longest = max(config.epochs for config in self.configs.values())
        return course(rows, epochs=longest, show=self.metrics)

    def _image(self, rows: Mapping[str, Any]) -> bytes:
        begun = {label: found for label, found in rows.items() if found}
        if not begun:
            return _EMPTY
        return bundle(training_curves(begun, show=self.metrics, backend="matplotlib"))["image/png"]

    def figure(self) -> Any:
        """Draw the metrics so far as a plain figure."""
        return self._course(self.rows()).figure()

    def widget(self) -> Any:
        """Make the live view: the buttons, the line in words, the curves.

        Returns:
            An ipywidgets box.
        """
        import ipywidgets

        rows = self.rows()
        self._rows = {label: len(found) for label, found in rows.items()}
        if any(self._rows.values()) and self.job.state == "idle":
            self.job.message = f"{self.job.name}: in {self.root} there is " + self._said(self.runs)
            if any(map(self._unfinished, self.configs)):
                self.job.state = "cancelled"
        if self.live == "image":
            self.live_figure = ipywidgets.Image(value=self._image(rows), format="png", layout={"max_width": "100%"})
        else:
            self._picture = self._course(rows).plain()
            self.live_figure = figure_widget(self._picture)
        return ipywidgets.VBox([self.job.widget(), self.live_figure])

    def show(self, mode: Mode = "auto") -> None:
        """Show the live view; or train here and now, and show the curves.

        Args:
            mode: "live", "static" or "auto"; see :func:`landscape.widgets.display_mode`.

        Raises:
            ConfigError: The mode is unknown.
            Exception: In static mode, whatever the training raised.
        """
        if display_mode(mode) == "live":
            from IPython.display import display

            display(self.widget())
        else:
            self.job.run()
            display_bundle(bundle(self.figure()))


_EMPTY = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001"
    "e221bc330000000049454e44ae426082"
)
"""A transparent picture of one pixel."""
