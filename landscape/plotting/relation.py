"""Two numbers of each run against each other: does flatness go with a small test error?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.comparison import Comparison, Metric, Rows, cell, read_rows
from landscape.plotting.scale import spans_decade
from landscape.plotting.style import Style, styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go


def relation(
    rows: Rows,
    *,
    x: str,
    y: str,
    backend: Backend = "plotly",
    metrics: Mapping[str, Metric] | None = None,
    title: str | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw one number of each run against another.

    Args:
        rows: As in :func:`landscape.plotting.compare`.
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
    data = read_rows(rows, columns=[x, y], metrics=metrics)
    across, up = data.metrics
    logs = [spans_decade(data.values[:, i]) for i in (0, 1)]
    looks = styles(data.labels)
    series = tuple(_point(data, row, looks[label]) for row, label in enumerate(data.labels))
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


def _point(data: Comparison, row: int, style: Style) -> Series:
    texts = [
        f"{metric.name}: {cell(value, error)} {metric.unit}".strip()
        for metric, value, error in zip(data.metrics, data.values[row], data.errors[row], strict=True)
    ]
    bars = [data.errors[row, i : i + 1] if np.isfinite(data.errors[row, i]) else None for i in (0, 1)]
    return Series(
        name=data.labels[row],
        x=data.values[row, :1],
        y=data.values[row, 1:],
        x_error=bars[0],
        error=bars[1],
        style=style,
        line=False,
        size=11,
        hover=(f"<b>{data.labels[row]}</b><br>" + "<br>".join(texts),),
    )
