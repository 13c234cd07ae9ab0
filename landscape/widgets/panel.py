"""A panel: controls, one figure, one line in words. The same computation, live, static and tested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from landscape.errors import unknown_name
from landscape.plotting.frames import slider_figure
from landscape.widgets.controls import Control
from landscape.widgets.live import figure_widget, redraw
from landscape.widgets.mode import Mode, display_mode
from landscape.widgets.show import bundle, display_bundle

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MOST_FRAMES = 17


class Panel:
    """Controls that set the arguments of a computation whose result is drawn.

    Three pure functions: ``compute(**values) -> result``, ``build(result) -> figure``, ``note(result) -> str``. None
    of them knows widgets. Results are kept by the exact values of the controls.

    Args:
        compute: Called with one keyword argument for each control.
        build: Turns a result into a plotly figure.
        update: Brings a figure to another result in place, ``update(figure, result)``; by default the figure is built
            again and its content copied.
        controls: What can be changed.
        note: The result in words: the status line, and what a screen reader says.
        hint: A sentence on what to try and what to notice, above the controls.
        frames_over: The control that becomes plotly's own slider in a static page; the first slider by default.

    Attributes:
        controls: Name to control.
        sliders: Name to ipywidget, after :meth:`widget`.
        live_figure: The live figure, after :meth:`widget`.
        status: The line in words, an ipywidget, after :meth:`widget`.
    """

    def __init__(
        self,
        compute: Callable[..., Any],
        build: Callable[[Any], go.Figure],
        *,
        update: Callable[[Any, Any], None] | None = None,
        controls: Iterable[Control],
        note: Callable[[Any], str],
        hint: str = "",
        frames_over: str | None = None,
    ) -> None:
        self.compute, self.build, self.note, self.hint = compute, build, note, hint
        self.update = update if update is not None else self._rebuild
        self.controls: dict[str, Control] = {control.name: control for control in controls}
        sliders = [control.name for control in self.controls.values() if control.kind == "slider"]
        self.frames_over = frames_over or next(iter(sliders or self.controls), None)
        self._results: dict[tuple[Any, ...], Any] = {}
        self.sliders: dict[str, Any] = {}
        self.live_figure: Any = None
        self.status: Any = None

    def _rebuild(self, figure: Any, result: Any) -> None:
        redraw(figure, self.build(result))

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
        key = tuple(values.values())
        if key not in self._results:
            self._results[key] = self.compute(**values)
        return self._results[key]

    def figure(self, **changes: Any) -> go.Figure:
        """Draw the result at some values as a plain figure.

        Args:
            **changes: As in :meth:`values`.

        Returns:
            A plotly figure.

        Raises:
            ConfigError: A name or value is unknown.
        """
        return self.build(self.result(**changes))

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
        figures = {text: self.figure(**changes, **{over: value}) for text, value in options}
        return slider_figure(figures, name=control.label, start=control.text(start))

    def widget(self) -> Any:
        """Make the live panel: hint, controls, figure and status line.

        Returns:
            An ipywidgets box. An error in a callback is shown in the status line.
        """
        import ipywidgets

        self.live_figure = figure_widget(self.figure())
        self.sliders = {name: _widget_of(control) for name, control in self.controls.items()}
        self.status = ipywidgets.HTML(self._said(self.result()))
        for one in self.sliders.values():
            one.observe(self._changed, names="value")
        reset = ipywidgets.Button(description="Reset", tooltip="Put every control back to its start")
        reset.on_click(self.reset)
        rows = ipywidgets.HBox(
            [*self.sliders.values(), reset], layout={"flex_flow": "row wrap", "align_items": "center"}
        )
        head = [ipywidgets.HTML(f"<p>{escape(self.hint)}</p>")] if self.hint else []
        return ipywidgets.VBox([*head, rows, self.live_figure, self.status])

    def reset(self, _: object = None) -> None:
        """Put every control back to its start."""
        for name, control in self.controls.items():
            if name in self.sliders:
                self.sliders[name].value = control.value

    def _changed(self, _: object = None) -> None:
        try:
            result = self.result(**{name: one.value for name, one in self.sliders.items()})
            self.update(self.live_figure, result)
            self.status.value = self._said(result)
        except Exception as error:  # a widget's callback has nowhere else to say it
            self.status.value = f"<b role='alert'>{type(error).__name__}: {escape(str(error))}</b>"

    def _said(self, result: Any) -> str:
        lines = "<br>".join(escape(line) for line in self.note(result).splitlines())
        return f"<div role='status' aria-live='polite'>{lines}</div>"

    def show(self, mode: Mode = "auto") -> None:
        """Show the panel as a cell's output: live widgets, or a figure with plotly's own slider.

        Args:
            mode: "live", "static" or "auto"; see :func:`landscape.widgets.display_mode`.

        Raises:
            ConfigError: The mode is unknown.
        """
        if display_mode(mode) == "live":
            from IPython.display import display

            display(self.widget())
        else:
            data = bundle(self.figure_with_frames())
            data["text/plain"] = f"{data['text/plain']}\n{self.note(self.result())}"
            display_bundle(data)


def _thinned(control: Control, start: Any) -> list[tuple[str, Any]]:
    """Keep every n-th stop, counted from the start, where there are too many for a page."""
    step = -(-len(control.options) // _MOST_FRAMES)
    first = [text for text, _ in control.options].index(control.text(start))
    return [option for index, option in enumerate(control.options) if (index - first) % step == 0]


def _widget_of(control: Control) -> Any:
    import ipywidgets

    kinds: Mapping[str, Any] = {
        "slider": ipywidgets.SelectionSlider,
        "menu": ipywidgets.Dropdown,
        "buttons": ipywidgets.ToggleButtons,
    }
    wide = {"width": "420px"} if control.kind == "slider" else {}
    return kinds[control.kind](
        options=list(control.options),
        value=control.value,
        description=control.label,
        style={"description_width": "initial"},
        layout=wide,
    )
