"""Charts of curves in plotly."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.chart import Axes, Chart, Series, band_limits, log_scale
from landscape.plotting.plotly_base import AXIS, dress, legend_below, wrapped
from landscape.plotting.style import INK, translucent

if TYPE_CHECKING:
    import plotly.graph_objects as go


def render(chart: Chart) -> go.Figure:
    """Draw a chart; see :func:`landscape.plotting.chart.draw`."""
    from plotly.subplots import make_subplots

    rows, columns = chart.grid
    titles = [wrapped(panel.title, columns) for panel in chart.panels]
    titled = any(titles)
    lines = max(title.count("<br>") for title in titles) + 1
    figure: Any = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes=chart.share_y,
        subplot_titles=titles if titled else None,
        horizontal_spacing=(0.05 if chart.share_y else 0.11) if columns > 1 else 0.0,
        vertical_spacing=min(0.4, (90 + 18 * lines) / (chart.row_height * rows)) if rows > 1 else 0.0,
    )
    seen: set[str] = set()
    for index, panel in enumerate(chart.panels):
        where: dict[str, Any] = {"row": index // columns + 1, "col": index % columns + 1}
        for series in panel.series:
            _add_band(figure, series, panel, where)
        for series in panel.series:
            figure.add_trace(_curve(series, panel, chart.legend and series.name not in seen), **where)
            seen.add(series.name)
        _add_marks(figure, panel, where)
        _set_axes(figure, panel, where, columns, show_y=not chart.share_y or where["col"] == 1)
    names = [*dict.fromkeys(name for name in seen if name and chart.legend), *[chart.band] * bool(chart.band)]
    below = len(chart.panels) > 1
    if chart.band:
        key = chart.band if below else "<br>".join(textwrap.wrap(chart.band, 24))
        figure.add_trace(_band_key(key), row=1, col=1)
    legend, room = legend_below(names) if below and names else ({"font": {"size": 13}}, 0)
    figure.update_annotations(font={"size": 14})
    return dress(
        figure,
        title=chart.title,
        caption=chart.caption,
        height=chart.row_height * rows,
        description=chart.description,
        extra_top=6 + 18 * lines if titled else 0,
        extra_bottom=room,
        legend={**legend, "tracegroupgap": 2},
        hovermode="closest",
    )


def _curve(series: Series, panel: Axes, legend: bool) -> go.Scatter:
    import plotly.graph_objects as go

    mode = "+".join(part for part, on in (("lines", series.line), ("markers", series.markers)) if on)
    y_error = None if series.line else series.error
    return go.Scatter(
        x=series.x,
        y=series.y,
        mode=mode or "lines",
        name=series.name,
        legendgroup=series.name,
        showlegend=legend and bool(series.name),
        line={"color": series.style.color, "dash": series.style.dash, "width": series.width},
        marker={"color": series.style.color, "symbol": series.style.marker, "size": series.size},
        error_x=_bars(series.x_error),
        error_y=_bars(y_error),
        text=series.hover,
        hovertemplate=_hover(series, panel),
        connectgaps=False,
    )


def _bars(half: np.ndarray | None) -> dict[str, Any] | None:
    return None if half is None else {"type": "data", "array": np.nan_to_num(half), "thickness": 2, "width": 6}


def _hover(series: Series, panel: Axes) -> str:
    if series.hover is not None:
        return "%{text}<extra></extra>"
    head = f"<b>{series.name}</b><br>" if series.name else ""
    return f"{head}{panel.x_label}: %{{x:.4g}}<br>{panel.y_label}: %{{y:.4g}}<extra></extra>"


def _add_band(figure: Any, series: Series, panel: Axes, where: dict[str, Any]) -> None:
    import plotly.graph_objects as go

    limits = band_limits(series, panel.log_y)
    if limits is None:
        return
    x, lower, upper = limits
    xs, ys = [np.array([np.nan])], [np.array([np.nan])]
    for run in np.ma.clump_unmasked(np.ma.masked_invalid(lower)):
        xs += [x[run], x[run][::-1], x[run][:1], np.array([np.nan])]
        ys += [upper[run], lower[run][::-1], upper[run][:1], np.array([np.nan])]
    band = go.Scatter(
        x=np.concatenate(xs),
        y=np.concatenate(ys),
        fill="toself",
        fillcolor=translucent(series.style.color, 0.2),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=series.name,
        name=series.name,
    )
    figure.add_trace(band, **where)


def _band_key(text: str) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        name=text,
        hoverinfo="skip",
        marker={"symbol": "square", "size": 14, "color": "rgba(128,128,128,0.4)"},
    )


def _add_marks(figure: Any, panel: Axes, where: dict[str, Any]) -> None:
    import plotly.graph_objects as go

    if panel.vertical is not None:
        position, text = panel.vertical
        figure.add_vline(
            x=position,
            line={"color": INK, "width": 1, "dash": "dot"},
            annotation_text=text,
            annotation_position="top right",
            annotation_font_size=12,
            row=where["row"],
            col=where["col"],
        )
    for level, series in enumerate(panel.rug):
        low = panel.y_range[0] if panel.y_range else 0.0
        height = low * 1.6 ** (level + 1) if panel.log_y else low
        rug = go.Scatter(
            x=series.x,
            y=np.full(len(series.x), height),
            mode="markers",
            name=series.name,
            showlegend=False,
            legendgroup=series.name,
            hovertemplate=f"{series.name}: Ritz value %{{x:.4g}}<extra></extra>",
            marker={"symbol": "line-ns-open", "color": series.style.color, "size": 9, "line": {"width": 1.5}},
        )
        figure.add_trace(rug, **where)


def _set_axes(figure: Any, panel: Axes, where: dict[str, Any], columns: int, *, show_y: bool) -> None:
    x: dict[str, Any] = {**AXIS, "title": {"text": wrapped(panel.x_label, columns), "font": {"size": 14}}}
    y: dict[str, Any] = {**AXIS, "title": {"text": panel.y_label if show_y else "", "font": {"size": 14}}}
    for name, axis, log, limits in (("x", x, panel.log_x, panel.x_range), ("y", y, panel.log_y, panel.y_range)):
        if log:
            scale = log_scale(panel, x=name == "x")
            values, texts = scale.ticks(6 if name == "y" else 4)
            axis |= {"type": "log", "tickvals": [10.0**v for v in values], "ticktext": texts}
            axis["range"] = [scale.low, scale.high]
        elif limits is not None:
            axis["range"] = list(limits)
        if name == "x" and not log:
            axis["nticks"] = max(4, 12 // columns)
    if panel.y_names is not None:
        names = list(panel.y_names)
        y |= {
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "zeroline": False,
            "range": [len(names) - 0.5, -0.5],
        }
    if not show_y:
        y["showticklabels"] = False
    figure.update_xaxes(x, **where)
    figure.update_yaxes(y, **where)
