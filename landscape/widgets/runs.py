"""Compare runs: pick some, set one number against another, see their curves and the table, all on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from landscape.errors import ConfigError, MismatchError
from landscape.plotting import comparison_html
from landscape.plotting.comparison import Metric, Rows, cell, read_rows
from landscape.plotting.curves import CURVES
from landscape.plotting.run_views import RunView, run_views
from landscape.training import Run
from landscape.widgets.controls import choice
from landscape.widgets.mode import Mode, display_mode
from landscape.widgets.panel import Panel
from landscape.widgets.show import show_comparison

if TYPE_CHECKING:
    import plotly.graph_objects as go


class RunComparison(Panel):
    """The numbers of several runs, any one against any other, with their curves and a table.

    Args:
        rows: As in :func:`landscape.plotting.compare`.
        x: The number along the horizontal axis at first; the second one by default.
        y: The number along the vertical axis; the first one by default.
        metrics: Meanings of further keys.
        runs: Label -> run, or its rows of metrics, for the curves; of the same labels.

    Raises:
        DataError: There are no rows, or labels are missing or doubled.
        ConfigError: There are fewer than two numbers, or ``x`` or ``y`` is none of them.
        MismatchError: ``runs`` has other labels.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        x: str | None = None,
        y: str | None = None,
        metrics: Mapping[str, Metric] | None = None,
        runs: Mapping[str, Run | Sequence[Mapping[str, Any]]] | None = None,
    ) -> None:
        self.rows = rows if isinstance(rows, Mapping) else list(rows)
        self.metrics = metrics
        found = read_rows(self.rows, metrics=metrics)
        if len(found.keys) < 2:
            raise ConfigError("A comparison needs two numbers for each run.", got=list(found.keys))
        self.labels, self.table = found.labels, None
        self.curves = {
            label: run.metrics() if isinstance(run, Run) else list(run) for label, run in (runs or {}).items()
        }
        if set(self.curves) - set(self.labels):
            raise MismatchError("runs has other labels.", expected=list(self.labels), got=list(self.curves))
        options = {metric.name: key for metric, key in zip(found.metrics, found.keys, strict=True)}
        first, second = found.keys[:2]
        everything = {label: label for label in found.labels}
        controls = [
            choice(
                "picked", "runs", everything, value=tuple(found.labels), kind="many",
                help="Hold Ctrl to pick several; with the keyboard, Shift and the arrows.",
            ),
            choice("x", "across", options, value=x or second, kind="menu"),
            choice("y", "up", options, value=y or first, kind="menu"),
        ]  # fmt: skip
        known = {key for rows in self.curves.values() for row in rows for key in row if row[key] is not None}
        drawable = {CURVES[key][0]: key for key in CURVES if key in known}
        if drawable:
            controls.append(choice("curve", "curve", drawable, value=next(iter(drawable.values())), kind="menu"))
        else:
            self.curves = {}
        super().__init__(
            self._view,
            run_views,
            controls=controls,
            note=self._note,
            hint="Try: set a flatness measure across and the test error up, then leave a run out. "
            "Notice: whether the points rise together, and whether one run makes the trend.",
            frames_over="x",
        )

    def _view(self, **values: Any) -> RunView:
        numbers = read_rows(self.rows, columns=[values["x"], values["y"]], metrics=self.metrics)
        across, up = numbers.metrics
        return RunView(
            numbers=numbers,
            picked=values["picked"],
            curves=self.curves,
            curve=values.get("curve", ""),
            title=f"{up.name[:1].upper()}{up.name[1:]} against {across.name}",
            caption=f"{len(values['picked'])} of {len(self.labels)} runs; the axes are those of all. "
            "Bars: ± 1 standard error where it is known.",
        )

    def _note(self, view: RunView) -> str:
        data = view.numbers
        said = [
            f"{label}: "
            + ", ".join(
                f"{metric.name} {cell(data.values[row, i], data.errors[row, i])} {metric.unit}".rstrip()
                for i, metric in enumerate(data.metrics)
            )
            + "."
            for row, label in enumerate(data.labels)
            if label in view.picked
        ]
        return "\n".join(said) if said else "No run is picked."

    def below(self) -> list[Any]:
        """Make the table of the runs that are picked."""
        import ipywidgets

        self.table = ipywidgets.HTML(self._table(self.values()["picked"]))
        return [self.table]

    def _draw(self, values: dict[str, Any]) -> None:
        super()._draw(values)
        if self.table is not None:
            self.table.value = self._table(values["picked"])

    def _table(self, picked: tuple[str, ...]) -> str:
        return comparison_html(self._picked(picked), metrics=self.metrics, first="run") if picked else ""

    def _picked(self, picked: tuple[str, ...]) -> Rows:
        rows: Any = self.rows
        if isinstance(rows, Mapping):
            return {str(label): row for label, row in rows.items() if str(label) in picked}
        return [row for label, row in zip(self.labels, rows, strict=True) if label in picked]

    def figure_with_frames(self, *, over: str | None = None, **changes: Any) -> go.Figure:
        """Draw one number against the other; with ``over`` behind plotly's own slider.

        Args:
            over: "x" or "y" to slide over all numbers.
            **changes: As in :meth:`Panel.values`.

        Returns:
            A plotly figure.

        Raises:
            ConfigError: A name or value is unknown.
        """
        return self.figure(**changes) if over is None else super().figure_with_frames(over=over, **changes)

    def show(self, mode: Mode = "auto") -> None:
        """Show the panel; see :meth:`Panel.show`. In a static page the table follows.

        Args:
            mode: "live", "static" or "auto".

        Raises:
            ConfigError: The mode is unknown.
        """
        super().show(mode)
        if display_mode(mode) == "static":
            show_comparison(self.rows, metrics=self.metrics, first="run")
