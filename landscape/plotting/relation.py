"""Two numbers of each run against each other: does flatness go with a small test error?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import DataError
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.comparison import Comparison, Metric, Rows, cell, read_rows
from landscape.plotting.scale import spans_decade
from landscape.plotting.style import Style, styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go


def relation(
    rows: Rows | Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    x: str | Sequence[str],
    y: str,
    backend: Backend = "plotly",
    metrics: Mapping[str, Metric] | None = None,
    title: str | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw one number of each run against another.

    Args:
        rows: As in :func:`landscape.plotting.compare`; or label -> the rows of several runs, which share a look and an
            entry of the legend.
        x: The number along the horizontal axis, for example "top_eigenvalue"; or several: a panel each.
        y: The number along the vertical axis, for example "test_error".
        backend: "plotly" or "matplotlib".
        metrics: Meanings of further keys.
        title: What is seen.

    Returns:
        The figure: a point for each run, bars of one standard error, log10 axes where a number spans over a decade.

    Raises:
        ConfigError: The backend or a key is unknown.
        DataError: There are no rows, labels are missing or doubled, or ``x`` is empty.
    """
    keys = [x] if isinstance(x, str) else list(x)
    if not keys:
        raise DataError("There is nothing to draw.", expected="at least one number along the horizontal axis")
    groups = _groups(rows)
    flat: Any = {name: row for its in groups.values() for name, row in its.items()} if groups else rows
    data = read_rows(flat, columns=[*keys, y], metrics=metrics)
    of = {name: label for label, its in groups.items() for name in its} or {name: name for name in data.labels}
    looks = styles(of.values())
    places = {label: [k for k, name in enumerate(data.labels) if of[name] == label] for label in looks}
    panels = []
    for column in range(len(keys)):
        logs = [spans_decade(data.values[:, k]) for k in (column, -1)]
        labels = [data.metrics[k].heading + ", log scale" * log for k, log in zip((column, -1), logs, strict=True)]
        series = tuple(_points(data, places[label], column, label, looks[label]) for label in looks)
        panels.append(Axes(series=series, x_label=labels[0], y_label=labels[1], log_x=logs[0], log_y=logs[1]))
    spread = bool(np.any(np.isfinite(data.errors) & (data.errors > 0)))
    if title is None:
        up, across = data.metrics[-1].name, [metric.name for metric in data.metrics[:-1]]
        title = f"{up[:1].upper()}{up[1:]} against {', '.join(across)}"
    caption = f"One point for each of {len(data.labels)} runs." + " Bars: ± 1 standard error." * spread
    return draw(Chart(title=title, caption=caption, panels=tuple(panels), share_y=len(panels) > 1), backend)


def _groups(rows: Any) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return label -> name -> row where some label has the rows of several runs; nothing where none has."""
    if not isinstance(rows, Mapping) or not any(isinstance(one, Sequence) for one in rows.values()):
        return {}
    groups = {str(label): list(one) if isinstance(one, Sequence) else [one] for label, one in rows.items()}
    return {label: {f"{label}, run {k + 1}": row for k, row in enumerate(its)} for label, its in groups.items()}


def _points(data: Comparison, places: list[int], column: int, label: str, style: Style) -> Series:
    chosen, texts = (column, -1), []
    for row in places:
        told = [(data.metrics[k], data.values[row, k], data.errors[row, k]) for k in chosen]
        parts = [f"{metric.name}: {cell(value, error)} {metric.unit}".strip() for metric, value, error in told]
        texts.append("<br>".join([f"<b>{data.labels[row]}</b>", *parts]))
    bars = [data.errors[places, k] if np.isfinite(data.errors[places, k]).any() else None for k in chosen]
    return Series(
        name=label,
        x=data.values[places, column],
        y=data.values[places, -1],
        x_error=bars[0],
        error=bars[1],
        style=style,
        line=False,
        size=11,
        hover=tuple(texts),
    )
