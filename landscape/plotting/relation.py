"""Two numbers of each run against each other: does flatness go with a small test error?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

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
    x: str,
    y: str,
    backend: Backend = "plotly",
    metrics: Mapping[str, Metric] | None = None,
    title: str | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw one number of each run against another.

    Args:
        rows: As in :func:`landscape.plotting.compare`; or label -> the rows of several runs, which share a look and an
            entry of the legend.
        x: The number along the horizontal axis, for example "top_eigenvalue".
        y: The number along the vertical axis, for example "test_error".
        backend: "plotly" or "matplotlib".
        metrics: Meanings of further keys.
        title: What is seen.

    Returns:
        The figure: a point for each run, bars of one standard error, log10 axes where a number spans over a decade.

    Raises:
        ConfigError: The backend or a key is unknown.
        DataError: There are no rows, or labels are missing or doubled.
    """
    groups = _groups(rows)
    flat: Any = {name: row for its in groups.values() for name, row in its.items()} if groups else rows
    data = read_rows(flat, columns=[x, y], metrics=metrics)
    across, up = data.metrics
    logs = [spans_decade(data.values[:, i]) for i in (0, 1)]
    of = {name: label for label, its in groups.items() for name in its} or {name: name for name in data.labels}
    looks = styles(of.values())
    places = {label: [k for k, name in enumerate(data.labels) if of[name] == label] for label in looks}
    series = tuple(_points(data, places[label], label, looks[label]) for label in looks)
    axes = Axes(
        series=series,
        x_label=across.heading + (", log scale" if logs[0] else ""),
        y_label=up.heading + (", log scale" if logs[1] else ""),
        log_x=logs[0],
        log_y=logs[1],
    )
    spread = bool(np.any(np.isfinite(data.errors) & (data.errors > 0)))
    return draw(
        Chart(
            title=f"{up.name[:1].upper()}{up.name[1:]} against {across.name}" if title is None else title,
            caption=f"One point for each of {len(data.labels)} runs."
            + (" Bars: ± 1 standard error." if spread else ""),
            panels=(axes,),
        ),
        backend,
    )


def _groups(rows: Any) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return label -> name -> row where some label has the rows of several runs; nothing where none has."""
    if not isinstance(rows, Mapping) or not any(isinstance(one, Sequence) for one in rows.values()):
        return {}
    groups = {str(label): list(one) if isinstance(one, Sequence) else [one] for label, one in rows.items()}
    return {label: {f"{label}, run {k + 1}": row for k, row in enumerate(its)} for label, its in groups.items()}


def _points(data: Comparison, places: list[int], label: str, style: Style) -> Series:
    texts = []
    for row in places:
        told = zip(data.metrics, data.values[row], data.errors[row], strict=True)
        parts = [f"{metric.name}: {cell(value, error)} {metric.unit}".strip() for metric, value, error in told]
        texts.append("<br>".join([f"<b>{data.labels[row]}</b>", *parts]))
    errors = data.errors[places]
    bars = [errors[:, i] if np.isfinite(errors[:, i]).any() else None for i in (0, 1)]
    return Series(
        name=label,
        x=data.values[places, 0],
        y=data.values[places, 1],
        x_error=bars[0],
        error=bars[1],
        style=style,
        line=False,
        size=11,
        hover=tuple(texts),
    )
