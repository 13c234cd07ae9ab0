"""A plotly figure as plain data, so that a live one is sent only what has changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.frames import same, with_slider
from landscape.plotting.plotly_base import AXIS, TOOLBAR, title_block
from landscape.plotting.scale import Scale
from landscape.plotting.style import INK

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """Traces and layout of a plotly figure, as dictionaries.

    Pictures of one kind have the same traces in the same order, whatever they show.

    Attributes:
        data: One dictionary for each trace.
        layout: The layout.
    """

    data: tuple[dict[str, Any], ...]
    layout: dict[str, Any]

    def plain(self) -> Picture:
        """Return the same picture as messages to a page can hold it; see :func:`sendable`."""
        return Picture(data=tuple(sendable(trace) for trace in self.data), layout=sendable(self.layout))

    def figure(self) -> go.Figure:
        """Return the figure."""
        import plotly.graph_objects as go

        return go.Figure({"data": list(self.data), "layout": self.layout})


def sendable(values: Any) -> Any:
    """Return values as a message between a live figure and its page can hold them: lists, with None for NaN.

    JSON knows no NaN. And arrays in binary form come back from plotly's page as dictionaries, at which its Python side
    raises an error that nobody sees.

    Args:
        values: What a trace or a layout holds.

    Example:
        >>> sendable({"x": np.array([[1.0, np.nan]]), "y": (1, 2)})
        {'x': [[1.0, None]], 'y': [1, 2]}
    """
    if isinstance(values, dict):
        return {key: sendable(value) for key, value in values.items()}
    if isinstance(values, np.ndarray):
        exact = values.dtype.kind in "biuSU" or (values.dtype.kind == "f" and bool(np.isfinite(values).all()))
        return values.tolist() if exact else sendable(values.tolist())
    if isinstance(values, list | tuple):
        return [sendable(value) for value in values]
    if isinstance(values, float | np.floating):
        return float(values) if math.isfinite(values) else None
    return values


def picture_frames(pictures: Mapping[str, Picture], *, name: str, start: str) -> go.Figure:
    """Join pictures of one kind that differ in one value into one figure with a slider, as ``slider_figure`` does.

    Args:
        pictures: Text of the slider's stop -> picture.
        name: What the slider changes, with its unit.
        start: The stop that is shown first.

    Returns:
        A figure with frames; a frame holds only what differs from the first shown picture.
    """
    import plotly.graph_objects as go

    shown = pictures[start]
    traces = range(len(shown.data))
    varying = [i for i in traces if any(not same(one.data[i], shown.data[i]) for one in pictures.values())]
    figure: Any = shown.figure()
    tops = [one.layout["margin"]["t"] for one in pictures.values()]
    figure.frames = [
        go.Frame(
            name=stop,
            traces=varying,
            data=[one.data[i] for i in varying],
            layout={key: one.layout[key] for key in ("title", "annotations") if key in one.layout},
        )
        for stop, one in pictures.items()
    ]
    extra = max(tops) - shown.layout["margin"]["t"]
    figure.update_layout(margin_t=max(tops), height=shown.layout["height"] + extra)
    return with_slider(figure, list(pictures), name=name, start=start)


def page(
    *, title: str, caption: str, height: int, description: str, legend_rows: int = 1, extra_top: int = 0, **layout: Any
) -> dict[str, Any]:
    """Return the layout that every picture shares: title with caption, fonts, transparent background.

    Args:
        title: What is seen.
        caption: What a reader must know to believe it; under the title.
        height: Height of the drawing area in pixels.
        description: The text alternative, kept in ``layout.meta["description"]``.
        legend_rows: Room for so many rows of a legend below the axes.
        extra_top: Room for panel titles, pixels.
        **layout: More of plotly's layout.

    Returns:
        A dictionary for :class:`Picture`.
    """
    text, top = title_block(title, caption)
    top, bottom = top + TOOLBAR + extra_top, 60 + 24 * legend_rows
    head = {"text": text, "x": 0, "xref": "container", "xanchor": "left", "y": 1, "yanchor": "top", "yref": "container"}
    return {
        "template": "none",
        "title": {**head, "pad": {"t": TOOLBAR, "l": 14}, "font": {"size": 17}},
        "font": {"size": 13, "color": INK, "family": "system-ui, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "autosize": True,
        "height": height + top + bottom,
        "margin": {"t": top, "l": 64, "r": 24, "b": bottom},
        "hoverlabel": {"font": {"size": 13}},
        "hovermode": "closest",
        "legend": {
            "orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom",
            "font": {"size": 12.5},
        },
        "meta": {"description": description},
        **layout,
    }  # fmt: skip


def axis(title: str, *, domain: tuple[float, float], anchor: str, **more: Any) -> dict[str, Any]:
    """Return an axis of a picture.

    Args:
        title: Name and unit.
        domain: Which share of the drawing area it takes.
        anchor: The axis that it meets.
        **more: More of plotly's axis.

    Returns:
        A dictionary for the layout.
    """
    return {**AXIS, "title": {"text": title, "font": {"size": 13}}, "domain": list(domain), "anchor": anchor, **more}


def log_axis(scale: Scale, most: int = 6) -> dict[str, Any]:
    """Return what makes an axis of a picture logarithmic, with ticks in the values' own units.

    Args:
        scale: Of the values along it.
        most: How many ticks there may be.

    Returns:
        A part of the axis, without its range; empty where the scale is linear.
    """
    if not scale.log:
        return {}
    ticks, texts = scale.ticks(most)
    return {"type": "log", "tickvals": [10.0**tick for tick in ticks], "ticktext": texts}


def heading(text: str, *, x: float, y: float) -> dict[str, Any]:
    """Return the title of one panel of a picture.

    Args:
        text: The title.
        x: Its left end, as a share of the drawing area.
        y: Its lower edge, as a share of the drawing area.

    Returns:
        An annotation for the layout.
    """
    place = {"x": x, "y": y, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": {"size": 14}, **place}
