"""Charts of curves in matplotlib."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.chart import Axes, Chart, Series, band_limits, bar_lengths, log_scale, log_ticks
from landscape.plotting.matplotlib_base import GRAY, LABEL, new_figure, plain_axes
from landscape.plotting.style import MATPLOTLIB_DASHES, MATPLOTLIB_MARKERS
from landscape.plotting.units import wrapped_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_SIDES = {"left": (-6, "right", "center"), "right": (6, "left", "center"), "above": (0, "center", "bottom")}
"""Where a note stands: points beside its place, and how it is aligned."""


_VEIL = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
"""What keeps curves from crossing out a text."""


def render(chart: Chart) -> Figure:
    """Draw a chart; see :func:`landscape.plotting.chart.draw`."""
    rows, columns = chart.grid
    named = chart.legend and any(s.name for panel in chart.panels for s in panel.series)
    width = {1: 7.2, 2: 10.0}.get(columns, 12.5) + (1.6 if named or chart.band else 0.0)
    figure = new_figure(
        width, chart.row_height / 100 * rows, title=chart.title, caption=chart.caption, description=chart.description
    )
    grid = figure.subplots(rows, columns, squeeze=False, sharey=chart.share_y)
    room = (width - 1.6) / columns
    handles: dict[str, Any] = {}
    for index, axes in enumerate(grid.flat):
        if index >= len(chart.panels):
            axes.set_visible(False)
            continue
        panel = chart.panels[index]
        for series in panel.series:
            handle = _curve(axes, series, panel)
            if series.name and chart.legend:
                handles.setdefault(series.name, handle)
        _marks(axes, panel)
        _set_axes(axes, panel, (room, chart.row_height / 100), show_y=not chart.share_y or index % columns == 0)
    if chart.band:
        from matplotlib.patches import Patch

        handles[chart.band] = Patch(facecolor="#999999", alpha=0.4)
    if handles:
        names = ["\n".join(textwrap.wrap(name, 26)) for name in handles]
        figure.legend(
            list(handles.values()), names, loc="outside right center", fontsize=9.5, frameon=False, handlelength=3.2
        )
    return figure


def _curve(axes: Any, series: Series, panel: Axes) -> Any:
    if series.bars:
        return _bars(axes, series)
    limits = band_limits(series, panel.log_y)
    if limits is not None:
        axes.fill_between(*limits, color=series.style.color, alpha=0.2, linewidth=0)
    look = {
        "color": series.style.color,
        "marker": MATPLOTLIB_MARKERS[series.style.marker] if series.markers else "",
        "markersize": series.size * 0.85,
        "linestyle": MATPLOTLIB_DASHES[series.style.dash] if series.line else "none",
        "linewidth": series.width * 0.85,
    }
    bars = {"xerr": series.x_error, "yerr": bar_lengths(series)}
    bars = {name: np.nan_to_num(half) for name, half in bars.items() if half is not None}
    if bars:
        drawn = axes.errorbar(series.x, series.y, capsize=3, elinewidth=1.6, **bars, **look)
    else:
        drawn = axes.plot(series.x, series.y, **look)[0]
    if series.hollow is not None and series.hollow.any():
        look |= {"linestyle": "none", "markerfacecolor": "white", "markeredgewidth": 1.4, "zorder": 3}
        axes.plot(series.x[series.hollow], series.y[series.hollow], **look)
    return drawn


def _bars(axes: Any, series: Series) -> Any:
    hollow = np.zeros(len(series.x), bool) if series.hollow is None else series.hollow
    fills = ["none" if open_ else series.style.color for open_ in hollow]
    error = None if series.x_error is None else np.nan_to_num(series.x_error)
    bars = {"ecolor": "#222222", "error_kw": {"capsize": 3, "elinewidth": 1.3}}
    return axes.barh(series.y, series.x, height=0.62, color=fills, edgecolor=series.style.color, xerr=error, **bars)


def _marks(axes: Any, panel: Axes) -> None:
    for position, text in panel.vertical:
        axes.axvline(position, color=GRAY, linewidth=0.9, linestyle=":")
        label = {"xycoords": ("data", "axes fraction"), "xytext": (0, 3), "textcoords": "offset points"}
        text = "\n".join(textwrap.wrap(text, 24))
        axes.annotate(text, (position, 1), ha="center", va="bottom", fontsize=9, color=GRAY, **label)
    for level in panel.levels:
        axes.axhline(level.y, color=level.color, linewidth=1.3, linestyle=(0, (6, 3)))
        label = {"xycoords": ("axes fraction", "data"), "xytext": (5, 3), "textcoords": "offset points"}
        axes.annotate(
            level.text, (0, level.y), ha="left", va="bottom", fontsize=9.5, color=level.color, bbox=_VEIL, **label
        )
    for note in panel.notes:
        away, across, up = _SIDES[note.side]
        label = {"xytext": (away, 0 if away else 5), "textcoords": "offset points", "ha": across, "va": up}
        axes.annotate(note.text, (note.x, note.y), fontsize=9.5, color=note.color, zorder=6, bbox=_VEIL, **label)
    if panel.zero is not None:
        middle = (panel.zero * panel.least) ** 0.5
        look = {"ha": "center", "va": "center", "fontsize": 11, "color": GRAY, "transform": axes.get_xaxis_transform()}
        axes.text(middle, 0, "//", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6}, **look)
    for level, series in enumerate(panel.rug):
        axes.plot(
            series.x,
            np.full(len(series.x), 0.015 + 0.03 * level),
            "|",
            color=series.style.color,
            markersize=7,
            transform=axes.get_xaxis_transform(),
        )


def _set_axes(axes: Any, panel: Axes, inches: tuple[float, float], *, show_y: bool) -> None:
    plain_axes(axes)
    room, height = inches
    wrap = int(room * 12)
    title = [line for part in panel.title.splitlines() for line in textwrap.wrap(part, wrap)]
    axes.set_title("\n".join(title), fontsize=LABEL + 0.5)
    axes.set_xlabel("\n".join(textwrap.wrap(panel.x_label, wrap)), fontsize=LABEL)
    if show_y:
        axes.set_ylabel(wrapped_label(panel.y_label, int(height * 11)), fontsize=LABEL)
    if panel.x_range is not None:
        axes.set_xlim(*panel.x_range)
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    if not panel.log_x:
        axes.locator_params(axis="x", nbins=max(4, int(room * 1.7)))
    for name, log, axis in (("x", panel.log_x, axes.xaxis), ("y", panel.log_y, axes.yaxis)):
        if log:
            scale = log_scale(panel, x=name == "x")
            values, texts = log_ticks(panel, x=name == "x")
            axes.set(**{f"{name}scale": "log", f"{name}lim": (10**scale.low, 10**scale.high)})
            axis.set_ticks(values, labels=texts)
            axis.set_ticks([], minor=True)
    if panel.y_names is not None:
        axes.set_yticks(range(len(panel.y_names)), panel.y_names)
        axes.set_ylim(len(panel.y_names) - 0.5, -0.5)
        for row in range(0, len(panel.y_names) * panel.stripes, 2):
            axes.axhspan(row - 0.5, row + 0.5, color="#f0f0f0", zorder=0, linewidth=0)
        axes.tick_params(axis="y", labelsize=LABEL)
