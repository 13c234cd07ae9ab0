"""A surface seen in three ways at once: in space, from above, and along a cut, on the scale of all that is compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from landscape.plotting.field import Field, Fields
from landscape.plotting.picture import Picture, axis, heading, page
from landscape.plotting.style import INK, SEQUENTIAL, styles

_POINT = {"color": "white", "line": {"color": "black", "width": 2}}
_LEFT, _RIGHT = (0.0, 0.5), (0.61, 1.0)
_UPPER, _LOWER = (0.52, 1.0), (0.0, 0.36)


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceView:
    """What :func:`surface_views` draws.

    Attributes:
        fields: All surfaces on their common scale, of :func:`landscape.plotting.field.prepare`.
        label: Whose surface is seen in space and from above.
        alpha: Where the marked point is.
        beta: Where the marked point is.
        along: Whether the cut through the marked point runs along "alpha" or "beta".
        level: A loss whose contour is drawn, or None.
        exact: The loss that was evaluated at the marked point, or None.
        title: What is seen.
        caption: What a reader must know.
    """

    fields: Fields
    label: str
    alpha: float
    beta: float
    along: Literal["alpha", "beta"]
    level: float | None
    exact: float | None
    title: str
    caption: str

    @property
    def field(self) -> Field:
        """The surface that is seen."""
        return next(field for field in self.fields.fields if field.name == self.label)

    @property
    def drawn_level(self) -> float | None:
        """The level in drawn coordinates; None where there is none, or it cannot be drawn."""
        if self.level is None or (self.fields.scale.log and self.level <= 0):
            return None
        return math.log10(self.level) if self.fields.scale.log else self.level


def surface_views(view: SurfaceView) -> Picture:
    """Draw a surface in space, from above, and cut through a point.

    Args:
        view: What is seen.

    Returns:
        A picture with the same traces for every view of the same surfaces.
    """
    data = [*_space(view), *_map(view), *_cut(view)]
    return Picture(data=tuple(data), layout=_layout(view))


def nearest(values: np.ndarray, value: float) -> int:
    """Return the index of the value along an axis, (N,), that is nearest."""
    return int(np.argmin(np.abs(values - value)))


def _space(view: SurfaceView) -> list[dict[str, Any]]:
    field, scale, level = view.field, view.fields.scale, view.drawn_level
    ends = [np.array(view.fields.x_range), np.array(view.fields.y_range)]
    flat = np.full((2, 2), np.nan if level is None else level)
    line = _line(view, field)
    height = _height(view)
    lift = 0.012 * (scale.high - scale.low)
    return [
        {
            "type": "surface", "x": field.x, "y": field.y, "z": field.z, "text": field.hover, "scene": "scene",
            "colorscale": SEQUENTIAL, "cmin": scale.low, "cmax": scale.high, "showscale": False,
            "name": view.label,
            "hovertemplate": f"α = %{{x:.4g}}<br>β = %{{y:.4g}}<br>%{{text}}<extra>{view.label}</extra>",
            "lighting": {"ambient": 0.75, "diffuse": 0.5, "specular": 0.05},
        },
        {
            "type": "surface", "x": ends[0], "y": ends[1], "z": flat, "scene": "scene", "showscale": False,
            "colorscale": [[0, "#9A9A9A"], [1, "#9A9A9A"]], "opacity": 0.55, "hoverinfo": "skip", "name": "level",
        },
        {
            "type": "scatter3d", "x": line[0], "y": line[1], "z": line[2] + lift, "scene": "scene", "mode": "lines",
            "line": {"color": "white", "width": 5}, "showlegend": False, "hoverinfo": "skip", "name": "cut",
        },
        {
            "type": "scatter3d", "x": [view.alpha], "y": [view.beta], "z": [height + lift], "scene": "scene",
            "mode": "markers", "marker": {"size": 6, **_POINT},
            "showlegend": False, "hoverinfo": "skip", "name": "point",
        },
    ]  # fmt: skip


def _line(view: SurfaceView, field: Field) -> np.ndarray:
    """The cut over a surface: (3, K) alpha, beta and height."""
    if view.along == "alpha":
        row = nearest(field.y, view.beta)
        return np.stack([field.x, np.full(len(field.x), field.y[row]), field.z[row]])
    column = nearest(field.x, view.alpha)
    return np.stack([np.full(len(field.y), field.x[column]), field.y, field.z[:, column]])


def _height(view: SurfaceView) -> float:
    if view.exact is not None and math.isfinite(drawn := float(view.fields.scale.drawn(np.array(view.exact)))):
        return drawn
    field = view.field
    return float(field.z[nearest(field.y, view.beta), nearest(field.x, view.alpha)])


def _map(view: SurfaceView) -> list[dict[str, Any]]:
    field, scale, level = view.field, view.fields.scale, view.drawn_level
    place: dict[str, Any] = {"xaxis": "x", "yaxis": "y"}
    grid: dict[str, Any] = {**place, "x": field.x, "y": field.y, "z": field.z}
    size = (scale.high - scale.low) / 14
    values, texts = scale.ticks(5)
    bar = {"x": 0.925, "xanchor": "left", "thickness": 11, "len": 0.52, "y": 1.01, "yanchor": "top", "outlinewidth": 0}
    line = _line(view, field)
    at = level if level is not None else scale.low - 10 * size
    dot: dict[str, Any] = {**place, "type": "scatter", "mode": "markers", "showlegend": False}
    return [
        {
            **grid, "type": "heatmap", "text": field.hover, "colorscale": SEQUENTIAL, "zmin": scale.low,
            "zmax": scale.high, "name": view.label, "hoverongaps": False,
            "colorbar": {**bar, "tickvals": values, "ticktext": texts},
            "hovertemplate": f"α = %{{x:.4g}}<br>β = %{{y:.4g}}<br>%{{text}}<extra>{view.label}</extra>",
        },
        {
            **grid, "type": "contour", "autocontour": False, "showscale": False, "hoverinfo": "skip",
            "contours": {"coloring": "none", "start": scale.low + size, "end": scale.high - size, "size": size},
            "line": {"color": "rgba(255,255,255,0.45)", "width": 0.8}, "showlegend": False, "name": "lines",
        },
        {
            **grid, "type": "contour", "autocontour": False, "showscale": False, "hoverinfo": "skip",
            "contours": {"coloring": "none", "start": at, "end": at, "size": 1.0},
            "line": {"color": "white", "width": 3}, "showlegend": False, "name": "level",
        },
        {
            **place, "type": "scatter", "x": line[0], "y": line[1], "mode": "lines", "name": "cut",
            "line": {"color": "white", "width": 2, "dash": "dot"}, "showlegend": False, "hoverinfo": "skip",
        },
        {
            **dot, "x": [one.x for one in field.places], "y": [one.y for one in field.places], "name": "places",
            "text": [one.name for one in field.places], "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": "white", "symbol": "x", "size": 8, "line": {"color": "black", "width": 1}},
        },
        {
            **dot, "x": [view.alpha], "y": [view.beta], "name": "point", "hoverinfo": "skip",
            "marker": {"size": 11, **_POINT},
        },
    ]  # fmt: skip


def _cut(view: SurfaceView) -> list[dict[str, Any]]:
    place: dict[str, Any] = {"type": "scatter", "xaxis": "x2", "yaxis": "y2"}
    looks = styles(field.name for field in view.fields.fields)
    symbol, traces = {"alpha": "α", "beta": "β"}[view.along], []
    for field in view.fields.fields:
        x, y, z = _line(view, field)
        look, chosen = looks[field.name], field.name == view.label
        hover = (
            field.hover[nearest(field.y, view.beta)]
            if view.along == "alpha"
            else field.hover[:, nearest(field.x, view.alpha)]
        )
        traces.append({
            **place, "x": x if view.along == "alpha" else y, "y": z, "mode": "lines", "name": field.name or "loss",
            "text": list(hover), "line": {"color": look.color, "dash": look.dash, "width": 3 if chosen else 1.6},
            "hovertemplate": f"{field.name}<br>{symbol} = %{{x:.4g}}<br>%{{text}}<extra></extra>",
            "showlegend": len(view.fields.fields) > 1,
        })  # fmt: skip
    level = view.drawn_level
    ends = view.fields.x_range if view.along == "alpha" else view.fields.y_range
    traces.append({
        **place, "x": list(ends), "y": [level, level] if level is not None else [None, None], "mode": "lines",
        "line": {"color": INK, "width": 1.5, "dash": "dash"}, "showlegend": False, "hoverinfo": "skip",
        "name": "level",
    })  # fmt: skip
    traces.append({
        **place, "x": [view.alpha if view.along == "alpha" else view.beta], "y": [_height(view)], "mode": "markers",
        "marker": {"size": 11, **_POINT}, "showlegend": False,
        "hoverinfo": "skip", "name": "point",
    })  # fmt: skip
    return traces


def _layout(view: SurfaceView) -> dict[str, Any]:
    fields, scale = view.fields, view.fields.scale
    span = scale.high - scale.low
    limits = [scale.low - 0.03 * span, scale.high + 0.05 * span]
    values, texts = scale.ticks(6)
    ends = fields.x_range if view.along == "alpha" else fields.y_range
    across = fields.x_label if view.along == "alpha" else fields.y_label
    other = f"β = {view.beta:.3g}" if view.along == "alpha" else f"α = {view.alpha:.3g}"
    bare = {"zeroline": False, "showgrid": False, "constrain": "domain"}
    return page(
        title=view.title,
        caption=view.caption,
        description=f"{view.title}. {fields.description}",
        height=470,
        extra_top=22,
        scene=_scene(view, limits, values, texts),
        xaxis=axis("α", domain=(_RIGHT[0], 0.9), anchor="y", range=list(fields.x_range), **bare),
        yaxis=axis("β", domain=_UPPER, anchor="x", range=list(fields.y_range), scaleanchor="x", **bare),
        xaxis2=axis(across, domain=_RIGHT, anchor="y2", range=list(ends), zeroline=False),
        yaxis2=axis(
            "loss", domain=_LOWER, anchor="x2", range=limits, tickvals=values, ticktext=texts, zeroline=False
        ),
        annotations=[
            heading(f"{view.label or 'The surface'} in space: {fields.z_label}", x=0.0, y=1.01),
            heading("from above: click a point", x=_RIGHT[0], y=1.01),
            heading(f"cut at {other}", x=_RIGHT[0], y=_LOWER[1] + 0.01),
        ],
    )  # fmt: skip


def _scene(view: SurfaceView, limits: list[float], values: list[float], texts: list[str]) -> dict[str, Any]:
    fields = view.fields
    bare = {"color": INK, "gridcolor": "#BDBDBD", "showbackground": False, "zeroline": False, "showline": True}
    return {
        "domain": {"x": list(_LEFT), "y": [0.0, 1.0]},
        "aspectmode": "manual",
        "aspectratio": {"x": 1.0, "y": 1.0, "z": 0.75},
        "camera": {"eye": {"x": 1.35, "y": -1.45, "z": 0.95}, "center": {"x": 0.0, "y": 0.0, "z": -0.12}},
        "xaxis": {**bare, "title": {"text": "α"}, "range": list(fields.x_range), "nticks": 5},
        "yaxis": {**bare, "title": {"text": "β"}, "range": list(fields.y_range), "nticks": 5},
        "zaxis": {**bare, "title": {"text": "loss"}, "range": limits, "tickvals": values, "ticktext": texts},
    }
