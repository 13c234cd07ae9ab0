"""Charts of curves in plotly."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.chart import Axes, Chart, Series, band_limits, bar_lengths, log_scale, log_ticks
from landscape.plotting.plotly_base import AXIS, dress, legend_below, wrapped
from landscape.plotting.style import INK, translucent
from landscape.plotting.units import wrapped_label

if TYPE_CHECKING:
    import plotly.graph_objects as go


def render(chart: Chart) -> go.Figure:
    """Draw a chart; see :func:`landscape.plotting.chart.draw`."""
    from plotly.subplots import make_subplots

    rows, columns = chart.grid
    titles = [wrapped(panel.title, columns) for panel in chart.panels]
    named = [text for panel in chart.panels for _, text in panel.vertical]
    titled = any(titles) or bool(named)
    lines = max(text.count("<br>") for text in [*titles, *map(_narrow, named)]) + 1
    figure: Any = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes=chart.share_y,
        subplot_titles=titles if any(titles) else None,
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
        _set_axes(figure, panel, where, columns, chart.row_height, show_y=not chart.share_y or where["col"] == 1)
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
        barmode="overlay",
    )


def _narrow(text: str) -> str:
    return "<br>".join(textwrap.wrap(text, 24))


def _curve(series: Series, panel: Axes, legend: bool) -> go.Scatter | go.Bar:
    import plotly.graph_objects as go

    hollow = np.zeros(len(series.x), bool) if series.hollow is None else series.hollow
    common: dict[str, Any] = {
        "x": series.x,
        "y": series.y,
        "name": series.name,
        "legendgroup": series.name,
        "showlegend": legend and bool(series.name),
        "error_x": _errors(series.x_error),
        "hovertemplate": _hover(series, panel),
    }
    if series.bars:
        fills = ["rgba(0,0,0,0)" if open_ else series.style.color for open_ in hollow]
        look = {"color": fills, "line": {"color": series.style.color, "width": 1.5}}
        return go.Bar(**common, orientation="h", width=0.62, marker=look, hovertext=series.hover, textposition="none")
    mode = "+".join(part for part, on in (("lines", series.line), ("markers", series.markers)) if on)
    symbol = series.style.marker
    return go.Scatter(
        **common,
        mode=mode or "lines",
        line={"color": series.style.color, "dash": series.style.dash, "width": series.width},
        marker={
            "color": series.style.color,
            "symbol": [symbol + "-open" * bool(open_) for open_ in hollow] if hollow.any() else symbol,
            "size": series.size,
        },
        error_y=_bars(series),
        text=series.hover,
        connectgaps=False,
    )


def _errors(half: np.ndarray | None) -> dict[str, Any] | None:
    return None if half is None else {"type": "data", "array": np.nan_to_num(half), "thickness": 2, "width": 6}


def _bars(series: Series) -> dict[str, Any] | None:
    lengths = bar_lengths(series)
    if lengths is None or series.limits is None:
        return _errors(None if lengths is None else lengths[1])
    return {"type": "data", "array": lengths[1], "arrayminus": lengths[0], "thickness": 2, "width": 6}


def _hover(series: Series, panel: Axes) -> str:
    if series.hover is not None:
        return ("%{hovertext}" if series.bars else "%{text}") + "<extra></extra>"
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

    place = figure.get_subplot(where["row"], where["col"])
    xref, yref = (axis.plotly_name.replace("axis", "") for axis in (place.xaxis, place.yaxis))
    wide = {"type": "rect", "xref": f"{xref} domain", "x0": 0, "x1": 1, "yref": yref, "layer": "below"}
    look = {"fillcolor": INK, "opacity": 0.09, "line": {"width": 0}}
    rows = range(0, len(panel.y_names or ()) * panel.stripes, 2)
    figure.layout.shapes += tuple({**wide, **look, "y0": row - 0.5, "y1": row + 0.5} for row in rows)
    above = {"xref": xref, "yref": f"{yref} domain", "showarrow": False}
    for position, text in panel.vertical:
        figure.add_vline(x=position, line={"color": INK, "width": 1, "dash": "dot"}, **where)
        at = math.log10(position) if panel.log_x else position  # notes, other than lines, are placed by the logarithm
        figure.add_annotation(x=at, y=1, text=_narrow(text), yanchor="bottom", **above)
    for trace in _texts(panel):
        figure.add_trace(trace, **where)
    if panel.zero is not None:
        middle = math.log10(panel.zero * panel.least) / 2
        figure.add_annotation(x=middle, y=0, text="<b>//</b>", yanchor="middle", **above)
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


def _texts(panel: Axes) -> list[go.Scatter]:
    """Build the horizontal lines and the notes: as traces, which lie right on log axes too."""
    import plotly.graph_objects as go

    traces = []
    every = np.concatenate([series.x for series in panel.series])
    every = every[np.isfinite(every)]
    reach = panel.x_range or (float(every.min(initial=np.inf)), float(every.max(initial=-np.inf)))
    for level in panel.levels:
        look = {"color": level.color, "width": 1.5, "dash": "dash"}
        text = {"text": [level.text, ""], "textposition": "top right", "textfont": {"color": level.color, "size": 13}}
        line = go.Scatter(x=reach, y=[level.y] * 2, mode="lines+text", line=look, **text)
        traces.append(line.update(name=level.text, hovertemplate=f"{level.text}<extra></extra>"))
    for note in panel.notes:
        side = {"left": "middle left", "right": "middle right", "above": "top center"}[note.side]
        text = {"text": [note.text], "textposition": side, "textfont": {"color": note.color, "size": 13}}
        traces.append(go.Scatter(x=[note.x], y=[note.y], mode="text", hoverinfo="skip", cliponaxis=False, **text))
    return [trace.update(showlegend=False) for trace in traces]


def _set_axes(figure: Any, panel: Axes, where: dict[str, Any], columns: int, height: int, *, show_y: bool) -> None:
    y_label = wrapped_label(panel.y_label, int(height / 7.2)).replace("\n", "<br>")
    x: dict[str, Any] = {**AXIS, "title": {"text": wrapped(panel.x_label, columns), "font": {"size": 14}}}
    y: dict[str, Any] = {**AXIS, "title": {"text": y_label if show_y else "", "font": {"size": 14}}}
    for name, axis, log, limits in (("x", x, panel.log_x, panel.x_range), ("y", y, panel.log_y, panel.y_range)):
        if log:
            scale = log_scale(panel, x=name == "x")
            values, texts = log_ticks(panel, x=name == "x")
            axis |= {"type": "log", "tickvals": values, "ticktext": texts}
            axis["range"] = [scale.low, scale.high]
        elif limits is not None:
            axis["range"] = list(limits)
        if name == "x" and not log:
            axis["nticks"] = max(4, 12 // columns)
    if panel.y_names is not None:
        names = list(panel.y_names)
        y |= {
            "tickvals": list(range(len(names))),
            "ticktext": [name.replace("\n", "<br>") for name in names],
            "zeroline": False,
            "range": [len(names) - 0.5, -0.5],
        }
    if not show_y:
        y["showticklabels"] = False
    figure.update_xaxes(x, **where)
    figure.update_yaxes(y, **where)
