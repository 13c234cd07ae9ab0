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

    if not figures:
        raise DataError("There is nothing to slide over.", expected="at least one figure")
    stops = list(figures)
    shown = stops[0] if start is None else start
    if shown not in figures:
        raise DataError("The slider has no such stop.", expected=f"one of {', '.join(stops)}", got=shown)
    traces = {stop: _traces(figure) for stop, figure in figures.items()}
    kinds = [trace["type"] for trace in traces[shown]]
    for stop, found in traces.items():
        if [trace["type"] for trace in found] != kinds:
            raise MismatchError("The figures behind a slider differ in their traces.", expected=kinds, got=stop)
    varying = [i for i in range(len(kinds)) if any(not same(t[i], traces[shown][i]) for t in traces.values())]
    base: Any = go.Figure(figures[shown])
    base.frames = [_frame(stop, figure, varying) for stop, figure in figures.items()]
    layouts: list[Any] = [figure.layout for figure in figures.values()]
    tops = [layout.margin.t or 0 for layout in layouts]
    extra = max(tops) - (base.layout.margin.t or 0)
    base.update_layout(margin_t=max(tops), height=(base.layout.height or 450) + extra)
    return with_slider(base, stops, name=name, start=shown)


def with_slider(figure: Any, stops: list[str], *, name: str, start: str) -> Any:
    """Put a slider below a figure whose frames are named by its stops, and make room for it.

    Args:
        figure: Changed in place.
        stops: Its texts.
        name: What it changes, with its unit.
        start: The stop that is shown first.

    Returns:
        The same figure.
    """
    figure.update_layout(sliders=[_slider(stops, name, start)])
    _make_room(figure)
    return figure


def _traces(figure: Any) -> list[dict[str, Any]]:
    return [trace.to_plotly_json() for trace in figure.data]


def _frame(stop: str, figure: Any, varying: list[int]) -> go.Frame:
    import plotly.graph_objects as go

    layout = {"title": figure.layout.title.to_plotly_json()}
    if figure.layout.annotations:
        layout["annotations"] = [annotation.to_plotly_json() for annotation in figure.layout.annotations]
    return go.Frame(name=stop, data=[figure.data[i] for i in varying], traces=varying, layout=layout)


def same(a: Any, b: Any) -> bool:
    """Tell whether two values of plotly's JSON are equal; NaN equals NaN."""
    import numpy as np

    if a is b:
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return a.tolist() == b.tolist() if a.dtype.hasobject else a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
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


def _make_room(figure: Any, pixels: int = 110) -> None:
    """Lengthen the figure by the slider's height, so that the drawing area keeps its size."""
    bottom = figure.layout.margin.b or 60
    figure.update_layout(margin_b=bottom + pixels, height=(figure.layout.height or 450) + pixels)
