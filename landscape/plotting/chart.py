"""A chart of curves, described once and drawn by either backend."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from landscape.errors import unknown_name
from landscape.plotting.scale import Scale, common_scale
from landscape.plotting.style import Style

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

Backend = Literal["plotly", "matplotlib"]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve, one row of points, or bars.

    ``x`` and ``y`` are (N,); ``error`` (N,) is the half width of the band around ``y`` and ``x_error`` (N,) that of
    the bars along ``x``; ``limits``, (N,) each, are the ends of a band that need not lie around ``y``. ``name`` ""
    keeps the series out of the legend; ``hover`` is one text a point. Points without a line have bars in place of the
    band, between the same ends. ``hollow`` (N,) says which markers are drawn open. ``bars`` are horizontal, from 0 to
    ``x`` at the height ``y``.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    style: Style
    error: np.ndarray | None = None
    x_error: np.ndarray | None = None
    limits: tuple[np.ndarray, np.ndarray] | None = None
    line: bool = True
    markers: bool = True
    size: float = 6.0
    width: float = 2.0
    hover: tuple[str, ...] | None = None
    hollow: np.ndarray | None = None
    bars: bool = False


@dataclass(frozen=True, kw_only=True)
class Note:
    """A text beside a point, in the values' own units; ``side`` says where: "left", "right" or "above"."""

    x: float
    y: float
    text: str
    color: str
    side: Literal["left", "right", "above"] = "right"


@dataclass(frozen=True, kw_only=True)
class Level:
    """A horizontal line across a panel, with a name at its left end."""

    y: float
    text: str
    color: str


@dataclass(frozen=True, kw_only=True)
class Axes:
    """One panel: its curves and what its axes mean. Ranges are in the values' own units, also on log axes.

    ``vertical`` are places along x and their names, which stand above the panel. ``zero`` is where x = 0 is drawn on a
    log axis, beside what the axis can show; the axis is broken there. ``stripes`` shades every other named row.
    """

    series: tuple[Series, ...]
    x_label: str
    y_label: str
    title: str = ""
    log_x: bool = False
    log_y: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    vertical: tuple[tuple[float, str], ...] = ()
    levels: tuple[Level, ...] = ()
    notes: tuple[Note, ...] = ()
    zero: float | None = None
    y_names: tuple[str, ...] | None = None
    stripes: bool = False
    rug: tuple[Series, ...] = ()

    @property
    def least(self) -> float:
        """The smallest positive x of the curves; 1 where there is none."""
        values = np.concatenate([series.x for series in self.series])
        values = values[np.isfinite(values) & (values > 0) & (values != self.zero)]
        return float(values.min()) if values.size else 1.0


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Panels under one title. ``band`` names what the bands or bars mean, for the legend; "" where there are none."""

    title: str
    caption: str
    panels: tuple[Axes, ...]
    columns: int = 3
    share_y: bool = False
    band: str = ""
    legend: bool = True
    row_height: int = 360

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        columns = max(1, min(self.columns, len(self.panels)))
        return -(-len(self.panels) // columns), columns

    @property
    def description(self) -> str:
        """The title and the caption: what stands for the picture where it cannot be seen."""
        stop = "" if self.title.endswith(("?", ".", "!")) else "."
        return f"{self.title}{stop} {self.caption}".strip()


def check_backend(backend: str) -> None:
    """Refuse an unknown backend.

    Raises:
        ConfigError: ``backend`` is neither "plotly" nor "matplotlib".
    """
    if backend not in ("plotly", "matplotlib"):
        raise unknown_name("plotting backend", backend, ("plotly", "matplotlib"))


def draw(chart: Chart, backend: str) -> go.Figure | matplotlib.figure.Figure:
    """Draw a chart with a backend.

    Args:
        chart: What to draw.
        backend: "plotly" or "matplotlib"; the library is imported here.

    Returns:
        A plotly or a matplotlib figure; no global state (pyplot) is touched.

    Raises:
        ConfigError: The backend is unknown.
    """
    check_backend(backend)
    chart = _with_common_range(replace(chart, panels=tuple(map(_with_zero, chart.panels))))
    if backend == "plotly":
        from landscape.plotting import chart_plotly

        return chart_plotly.render(chart)
    from landscape.plotting import chart_matplotlib

    return chart_matplotlib.render(chart)


def _with_common_range(chart: Chart) -> Chart:
    """Give panels that share a log axis one range."""
    if not (chart.share_y and chart.panels[0].log_y and chart.panels[0].y_range is None):
        return chart
    every = replace(chart.panels[0], series=tuple(series for panel in chart.panels for series in panel.series))
    scale = log_scale(every, x=False)
    limits = (10**scale.low, 10**scale.high)
    return replace(chart, panels=tuple(replace(panel, y_range=limits) for panel in chart.panels))


def _with_zero(panel: Axes) -> Axes:
    """Move points at x = 0 to where a log axis shows them."""
    if panel.zero is None:
        return panel
    moved = (replace(one, x=np.where(one.x == 0, panel.zero, one.x)) for one in panel.series)
    return replace(panel, series=tuple(moved))


def band_limits(series: Series, log: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return x, lower and upper of a series' band, each (N,), NaN without a finite value; None without a band."""
    if not series.line:
        return None
    if series.limits is not None:
        lower, upper = series.limits
    elif series.error is None or not np.any(np.nan_to_num(series.error) > 0):
        return None
    else:
        lower, upper = series.y - series.error, series.y + series.error
    if log:
        positive = series.y[series.y > 0]
        lower = np.maximum(lower, 0.1 * positive.min() if positive.size else np.nan)
    lost = ~(np.isfinite(lower) & np.isfinite(upper) & np.isfinite(series.x))
    return series.x, np.where(lost, np.nan, lower), np.where(lost, np.nan, upper)


def bar_lengths(series: Series) -> np.ndarray | None:
    """Return how far the bars of points without a line reach below and above them, (2, N); None without bars."""
    if series.line:
        return None
    if series.limits is not None:
        return np.nan_to_num(np.stack([series.y - series.limits[0], series.limits[1] - series.y])).clip(min=0)
    return None if series.error is None else np.nan_to_num(np.stack([series.error, series.error]))


def log_scale(panel: Axes, *, x: bool) -> Scale:
    """Choose the range of a log axis, with a margin, from the panel's range or its values."""
    limits = panel.x_range if x else panel.y_range
    if limits is not None:
        return Scale(log=True, clip=None, low=math.log10(limits[0]), high=math.log10(limits[1]))
    found = common_scale([series.x if x else series.y for series in panel.series], log=True)
    pad = 0.05 * (found.high - found.low)
    return replace(found, low=found.low - pad, high=found.high + pad)


def log_ticks(panel: Axes, *, x: bool) -> tuple[list[float], list[str]]:
    """Choose the ticks of a log axis, and the one of 0 beside it: values and texts."""
    found, texts = log_scale(panel, x=x).ticks(4 if x else 6)
    values = [10.0**value for value in found]
    if not x or panel.zero is None:
        return values, texts
    kept = [k for k, value in enumerate(values) if value > 0.99 * panel.least]
    return [panel.zero, *(values[k] for k in kept)], ["0", *(texts[k] for k in kept)]
