"""Precomputed figures behind plotly's own slider: they move in a static page, with no kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from landscape.errors import DataError, MismatchError

if TYPE_CHECKING:
    import plotly.graph_objects as go


def slider_figure(figures: Mapping[str, go.Figure], *, name: str, start: str | None = None) -> go.Figure:
    """Join figures that differ in one value into one figure with a slider.

    Args:
        figures: Text of the slider's stop -> figure. All have the same number and kinds of traces. A frame holds
            only what differs from the first shown figure.
        name: What the slider changes, with its unit.
        start: The stop that is shown first; the first one by default.

    Returns:
        A new figure with frames and a slider below it.

    Raises:
        DataError: There are no figures, or ``start`` is none of them.
        MismatchError: The figures do not have the same traces.
    """
    import plotly.graph_objects as go

    stops = list(figures)
    start = stops[0] if start is None and stops else start
    if start not in figures:
        raise DataError("The slider has no such stop.", expected=f"one of {', '.join(stops) or '(none)'}", got=start)
    base = go.Figure(figures[start])
    kinds = [trace.type for trace in base.data]
    frames = []
    for stop, figure in figures.items():
        if [trace.type for trace in figure.data] != kinds:
            raise MismatchError("The figures behind a slider differ in their traces.", expected=kinds, got=stop)
        frames.append(_frame(stop, figure, figures))
    base.frames = frames
    base.update_layout(sliders=[_slider(stops, name, start)])
    tops = [figure.layout.margin.t or 0 for figure in figures.values()]
    extra = max(tops) - (base.layout.margin.t or 0)
    base.update_layout(margin_t=max(tops), height=(base.layout.height or 450) + extra)
    _make_room(base)
    return base


def _frame(stop: str, figure: go.Figure, figures: Mapping[str, go.Figure]) -> go.Frame:
    import plotly.graph_objects as go

    dumps = [[trace.to_plotly_json() for trace in other.data] for other in figures.values()]
    varying = [i for i in range(len(figure.data)) if any(not _same(dump[i], dumps[0][i]) for dump in dumps[1:])]
    layout = {"title": figure.layout.title.to_plotly_json()}
    if figure.layout.annotations:
        layout["annotations"] = [annotation.to_plotly_json() for annotation in figure.layout.annotations]
    return go.Frame(name=stop, data=[figure.data[i] for i in varying], traces=varying, layout=layout)


def _same(a: Any, b: Any) -> bool:
    import numpy as np

    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b or (a != a and b != b))


def _slider(stops: list[str], name: str, start: str) -> dict[str, Any]:
    step = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    return {
        "active": stops.index(start),
        "currentvalue": {"prefix": f"{name}: ", "font": {"size": 15}, "xanchor": "left"},
        "steps": [{"label": stop, "method": "animate", "args": [[stop], step]} for stop in stops],
        "x": 0.0,
        "len": 1.0,
        "xanchor": "left",
        "y": 0.0,
        "yanchor": "top",
        "pad": {"t": 70, "b": 10},
        "ticklen": 4,
        "font": {"size": 12},
        "bgcolor": "rgba(128,128,128,0.25)",
        "activebgcolor": "#0072B2",
    }


def _make_room(figure: go.Figure, pixels: int = 110) -> None:
    """Lengthen the figure by the slider's height, so that the drawing area keeps its size."""
    bottom = figure.layout.margin.b or 60
    figure.update_layout(margin_b=bottom + pixels, height=(figure.layout.height or 450) + pixels)
