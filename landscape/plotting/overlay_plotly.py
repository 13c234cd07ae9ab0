"""What is drawn over a surface, in plotly: gaps, named places, the path of a training, critical points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from landscape.plotting.field import Field
    from landscape.plotting.overlay import Marks, Path, Place

_PLACE, _LOWEST = "#D55E00", "#E6E6E6"
_LOWEST_NAME = "lowest loss on this grid"
_BLACK, _WHITE = "#000000", "#FFFFFF"


def overlays(field: Field, named: set[str]) -> list[go.Scatter]:
    """Build all traces over one contour.

    Args:
        field: The surface.
        named: What the legend has already; what it gets is added.
    """
    traces = [_gaps(field)] if field.gaps else []
    if field.path is not None:
        traces += _path(field.path, field)
    traces += [_spot(*field.lowest[:2], _LOWEST_NAME, _circle(), field)] if math.isfinite(field.lowest[2]) else []
    traces += [_spot(place.x, place.y, place.name, _look(place), field) for place in field.places]
    traces += [_marks(marks, field) for marks in field.marks]
    for trace in traces:
        name = str(trace.name)
        trace.legendgroup = name
        if trace.showlegend is None:
            trace.showlegend = name not in named
            named.add(name)
    return traces


def pin(place: Place, top: float, field: Field) -> go.Scatter3d:
    """A pin: it stands on the surface and reaches up to where the sheet cannot hide it."""
    import plotly.graph_objects as go

    return go.Scatter3d(
        x=[place.x, place.x],
        y=[place.y, place.y],
        z=[place.z, max(place.z, top)],
        mode="lines+markers",
        line={"color": _PLACE, "width": 5},
        name=place.name,
        legendgroup=place.name,
        marker={"size": 7, "color": _PLACE, "symbol": place.pin, "line": {"color": "white", "width": 1}},
        hovertemplate=f"{place.name}<extra>{field.name}</extra>",
    )


def _gaps(field: Field) -> go.Scatter:
    import plotly.graph_objects as go

    x: list[float | None] = []
    y: list[float | None] = []
    for left, right, bottom, top in field.gaps:
        x += [left, right, right, left, left, None]
        y += [bottom, bottom, top, top, bottom, None]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"width": 0},
        fill="toself",
        name="no value (gap)",
        hoverinfo="skip",
        fillcolor="rgba(128,128,128,0.25)",
        fillpattern={"shape": "/", "fgcolor": "#8c8c8c", "bgcolor": "#d6d6d6", "size": 6, "fillmode": "replace"},
    )


def _circle() -> dict[str, Any]:
    return {"symbol": "circle-open", "color": _LOWEST, "size": 15, "line": {"width": 2}}


def _look(place: Place) -> dict[str, Any]:
    return {"symbol": place.symbol, "color": _PLACE, "size": 10, "line": {"color": "white", "width": 1}}


def _spot(x: float, y: float, name: str, look: dict[str, Any], field: Field) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[x],
        y=[y],
        mode="markers",
        name=name,
        cliponaxis=False,
        marker=look,
        hovertemplate=f"{name}<br>α = {x:.4g}, β = {y:.4g}<extra>{field.name}</extra>",
    )


def _path(path: Path, field: Field) -> list[go.Scatter]:
    """Build a black line in a white one, which shows on every color of the map."""
    import plotly.graph_objects as go

    casing = go.Scatter(
        x=path.x, y=path.y, mode="lines", name=path.name, showlegend=False, hoverinfo="skip",
        line={"color": _WHITE, "width": 4},
    )  # fmt: skip
    line = go.Scatter(
        x=path.x,
        y=path.y,
        mode="lines+markers",
        name=path.name,
        line={"color": _BLACK, "width": 1.5},
        marker={"symbol": "circle", "color": _WHITE, "size": 5, "line": {"color": _BLACK, "width": 1}},
        text=path.texts,
        hovertemplate=f"%{{text}}<br>α = %{{x:.4g}}, β = %{{y:.4g}}<extra>{field.name}</extra>",
    )
    return [casing, line]


def _marks(marks: Marks, field: Field) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        x=marks.x,
        y=marks.y,
        mode="markers",
        name=marks.name,
        cliponaxis=False,
        marker={"symbol": marks.symbol, "color": marks.color, "size": 10, "line": {"color": marks.edge, "width": 1}},
        text=marks.texts,
        hovertemplate=f"%{{text}}<br>α = %{{x:.4g}}, β = %{{y:.4g}}<extra>{field.name}</extra>",
    )
