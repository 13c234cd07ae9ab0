"""A panel: controls, one figure, one line in words. The same computation, live, static and tested."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from landscape.errors import unknown_name
from landscape.plotting.frames import slider_figure
from landscape.plotting.picture import Picture, picture_frames
from landscape.widgets.background import Background
from landscape.widgets.controls import Control
from landscape.widgets.inputs import arrange, widget_of
from landscape.widgets.live import figure_widget, redraw, repaint
from landscape.widgets.mode import Mode, display_mode
from landscape.widgets.show import as_lines, bundle, display_bundle, show_words

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MOST_FRAMES = 17
_DRAW_EVERY = 0.25  # seconds between pictures while something is being filled in


AT_START = "Where the slider stands at first:"
"""What the words below a figure in a page without a kernel begin with."""


class Panel:
    """Controls that set the arguments of a computation whose result is drawn.

    Three pure functions: ``compute(**values) -> result``, ``build(result) -> figure``, ``note(result) -> str``. None
    of them knows widgets. Results are kept by the exact values of the controls.

    A subclass whose whole result takes long gives a quick one in :meth:`quick`, which is drawn at once, and computes
    the rest in :meth:`fill`, in the background and only for where the controls stand.

    Args:
        compute: Called with one keyword argument for each control.
        build: Turns a result into a plotly figure, or into a picture.
        update: Brings a figure to another result in place, ``update(figure, result)``; by default the figure is built
            again and what differs is copied.
        controls: What can be changed.
        note: The result in words: the status line, and what a screen reader says.
        hint: A sentence on what to try and what to notice, above the controls.
        frames_over: The control that becomes plotly's own slider in a static page; the first slider by default.

    Attributes:
        controls: Name to control.
        sliders: Name to ipywidget, after :meth:`widget`.
        live_figure: The live figure, after :meth:`widget`.
        status: The line in words, an ipywidget, after :meth:`widget`.
        busy: What is still being computed, an ipywidget, after :meth:`widget`.
    """

    keeps: bool = True
    """Whether results are kept: not where they change by themselves."""
    note_takes_values: bool = False
    """Whether ``note`` is also called with one keyword argument for each control: ``note(result, **values)``."""

    def __init__(
        self,
        compute: Callable[..., Any],
        build: Callable[[Any], go.Figure | Picture],
        *,
        update: Callable[[Any, Any], None] | None = None,
        controls: Iterable[Control],
        note: Callable[..., str],
        hint: str = "",
        frames_over: str | None = None,
    ) -> None:
        self.compute, self.build, self.note, self.hint = compute, build, note, hint
        self.update = update if update is not None else self._repaint
        self.controls: dict[str, Control] = {control.name: control for control in controls}
        sliders = [control.name for control in self.controls.values() if control.kind == "slider"]
        self.frames_over = frames_over or next(iter(sliders or self.controls), None)
        self._results: dict[tuple[Any, ...], Any] = {}
        self.sliders: dict[str, Any] = {}
        self.live_figure: Any = None
        self.status: Any = None
        self.busy: Any = None
        self._drawn: Any = None
        self._drawing, self._resetting = threading.RLock(), False
        self._background = Background(self._fill_in)

    # What is computed -----------------------------------------------------------------------------------------------

    def values(self, **changes: Any) -> dict[str, Any]:
        """Return one value for each control: its start, unless it is changed here.

        Args:
            **changes: Control name to value.

        Returns:
            Control name to value.

        Raises:
            ConfigError: A name is unknown, or a value is not in its list.
        """
        for name, value in changes.items():
            if name not in self.controls:
                raise unknown_name("control", name, self.controls)
            self.controls[name].check(value)
        return {name: changes.get(name, control.value) for name, control in self.controls.items()}

    def result(self, **changes: Any) -> Any:
        """Compute, or find again, the result at some values.

        Args:
            **changes: As in :meth:`values`.

        Returns:
            What ``compute`` returned for these values, the same object each time.

        Raises:
            ConfigError: A name or value is unknown.
        """
        values = self.values(**changes)
        if not self.keeps:
            return self.compute(**values)
        key = tuple(values.values())
        if key not in self._results:
            self._results[key] = self.compute(**values)
        return self._results[key]

    def quick(self, **values: Any) -> Any:
        """Return what can be drawn at once: all of it, unless a subclass says otherwise."""
        return self.result(**values)

    def drawn(self, **values: Any) -> Any:
        """Return what a figure needs: all of a result, unless a subclass says otherwise."""
        return self.result(**values)

    def fill(self, **values: Any) -> Iterator[str]:
        """Compute, piece by piece, what :meth:`quick` leaves out, and say after each piece what was done."""
        return iter(())

    def figure(self, **changes: Any) -> go.Figure:
        """Draw the result at some values as a plain figure.

        Args:
            **changes: As in :meth:`values`.

        Returns:
            A plotly figure.

        Raises:
            ConfigError: A name or value is unknown.
        """
        built = self.build(self.drawn(**changes))
        return built.figure() if isinstance(built, Picture) else built

    def figure_with_frames(self, *, over: str | None = None, **changes: Any) -> go.Figure:
        """Draw the results over one control (17 stops at most), behind plotly's own slider: works with no kernel.

        Args:
            over: Which control; the panel's ``frames_over`` by default.
            **changes: The other controls' values.

        Returns:
            A plotly figure with frames; a plain one where the panel has no control.

        Raises:
            ConfigError: A name or value is unknown.
        """
        over = over or self.frames_over
        if over is None:
            return self.figure()
        if over not in self.controls:
            raise unknown_name("control", over, self.controls)
        control = self.controls[over]
        start = changes.pop(over, control.value)
        options = _thinned(control, start)
        built: dict[str, Any] = {text: self.build(self.drawn(**changes, **{over: value})) for text, value in options}
        join = picture_frames if isinstance(built[control.text(start)], Picture) else slider_figure
        return join(built, name=control.label, start=control.text(start))

    # Live -----------------------------------------------------------------------------------------------------------

    def widget(self) -> Any:
        """Make the live panel: hint, controls, figure and status line.

        Returns:
            An ipywidgets box. An error in a callback is shown in the status line.
        """
        import ipywidgets

        values = self.values()
        first = self.quick(**values)
        built = self.build(first)
        self._drawn = built.plain() if isinstance(built, Picture) else built
        self.live_figure = figure_widget(self._drawn)
        self.sliders = {name: widget_of(control) for name, control in self.controls.items()}
        self.status, self.busy = ipywidgets.HTML(self._said(first, values)), ipywidgets.HTML()
        for one in self.sliders.values():
            one.observe(self._changed, names="value")
        narrow = {"width": "84px"}
        reset = ipywidgets.Button(description="Reset", tooltip="Put every control back to its start", layout=narrow)
        reset.on_click(self.reset)
        head = [ipywidgets.HTML(f"<div style='line-height:1.45'>{escape(self.hint)}</div>")] if self.hint else []
        rows = arrange(self.controls, self.sliders, reset)
        self._show_what_applies()
        self._background.ask(values)
        return ipywidgets.VBox(
            [*head, rows, *self.above(), self.live_figure, self.status, *self.below(), self.busy],
            layout={"overflow": "visible"},
        )

    def reset(self, _: object = None) -> None:
        """Put every control back to its start."""
        self._resetting = True
        try:
            for name, control in self.controls.items():
                if name in self.sliders:
                    self.sliders[name].value = control.value
        finally:
            self._resetting = False
        self._changed()

    def above(self) -> list[Any]:
        """Make further ipywidgets between the controls and the figure: none, unless a subclass has some."""
        return []

    def below(self) -> list[Any]:
        """Make further ipywidgets below the status line: none, unless a subclass has some."""
        return []

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until a live panel has filled in what is computed in the background.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Returns:
            Whether it is complete.
        """
        return self._background.wait(timeout)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Run a block while nothing is filled in, which goes on afterwards."""
        if self.live_figure is None:
            yield
            return
        self._background.cancel()
        self._background.wait()
        try:
            yield
        finally:
            self._background.ask(self._now())

    def _now(self) -> dict[str, Any]:
        return {name: one.value for name, one in self.sliders.items()}

    def _changed(self, _: object = None) -> None:
        if self._resetting:
            return
        self._background.cancel()
        with self._drawing:
            try:
                values = self._now()
                self._show_what_applies()
                self._draw(values)
                self._background.ask(values)
            except Exception as error:  # a widget's callback has nowhere else to say it
                self._say_error(error)

    def refresh(self) -> None:
        """Draw a live panel anew where something beside its controls has changed; from any thread."""
        if self.live_figure is None:
            return
        with self._drawing:
            try:
                self._draw(self._now())
            except Exception as error:
                self._say_error(error)

    def _draw(self, values: dict[str, Any]) -> None:
        result = self.quick(**values)
        self.update(self.live_figure, result)
        said = self._said(result, values)
        if said != self.status.value:
            self.status.value = said

    def _repaint(self, figure: Any, result: Any) -> None:
        fresh = self.build(result)
        if isinstance(fresh, Picture) and figure is self.live_figure:
            fresh = fresh.plain()
            repaint(figure, self._drawn, fresh)
            self._drawn = fresh
        else:
            redraw(figure, fresh.figure() if isinstance(fresh, Picture) else fresh)

    def _fill_in(self, values: dict[str, Any], superseded: Callable[[], bool]) -> None:
        """Fill in what is missing where the controls stand, and draw it now and then; until they are moved."""
        drawn, done = time.monotonic(), ""
        try:
            for done in self.fill(**values):
                if superseded():
                    return
                if time.monotonic() - drawn > _DRAW_EVERY:
                    self._draw_filled(values, superseded, f"Still computing: {done}.")
                    drawn = time.monotonic()
            if done:
                self._draw_filled(values, superseded, "")
        except Exception as error:
            with self._drawing:
                self._say_error(error)

    def _draw_filled(self, values: dict[str, Any], superseded: Callable[[], bool], said: str) -> None:
        with self._drawing:
            if not superseded():
                self._draw(values)
                self.busy.value = f"<small>{escape(said)}</small>"

    def _say_error(self, error: Exception) -> None:
        self.status.value = f"<b role='alert'>{type(error).__name__}: {escape(str(error))}</b>"

    def _show_what_applies(self) -> None:
        values = self._now()
        for name, control in self.controls.items():
            wanted = None if control.applies(values) else "none"
            if self.sliders[name].layout.display != wanted:
                self.sliders[name].layout.display = wanted

    def words(self, result: Any, **changes: Any) -> str:
        """Say a result in words, as the status line does.

        Args:
            result: What was computed.
            **changes: As in :meth:`values`: where the controls stand.

        Raises:
            ConfigError: A name or value is unknown.
        """
        return self.note(result, **self.values(**changes)) if self.note_takes_values else self.note(result)

    def _said(self, result: Any, values: dict[str, Any]) -> str:
        said = as_lines(self.words(result, **values))
        return f"<div role='status' aria-live='polite' style='line-height:1.45'>{said}</div>"

    # In a notebook --------------------------------------------------------------------------------------------------

    def static_parts(self) -> list[tuple[go.Figure, str]]:
        """Return what stands for the panel in a page without a kernel: figures, and where they start in words."""
        return [(self.figure_with_frames(), self.at_start(self.result()))]

    def at_start(self, result: Any, **changes: Any) -> str:
        """Say a result in words, and that they do not follow the slider of a page without a kernel.

        Args:
            result: Of the controls' first values.
            **changes: Where they were changed, as in :meth:`values`.
        """
        said = self.words(result, **changes)
        return f"{AT_START}\n{said}" if said and self.frames_over is not None else said

    def show(self, mode: Mode = "auto") -> None:
        """Show the panel as a cell's output: live widgets, or figures with plotly's own slider.

        Args:
            mode: "live", "static" or "auto"; see :func:`landscape.widgets.display_mode`.

        Raises:
            ConfigError: The mode is unknown.
        """
        if display_mode(mode) == "live":
            from IPython.display import display

            display(self.widget())
            return
        for figure, words in self.static_parts():
            data = bundle(figure)
            display_bundle({**data, "text/plain": f"{data['text/plain']}\n{words}"})
            show_words(words)


def _thinned(control: Control, start: Any) -> list[tuple[str, Any]]:
    """Keep every n-th stop, counted from the start, where there are too many for a page."""
    step = -(-len(control.options) // _MOST_FRAMES)
    first = [text for text, _ in control.options].index(control.text(start))
    return [option for index, option in enumerate(control.options) if (index - first) % step == 0]
